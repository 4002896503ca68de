"""A web service that says how many time zones changed their clocks in a year.

    python service.py clock-changes.csv 8080

answers GET /years/1988 with {"year": 1988, "changing": 188}.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def count(rows: Iterable[Mapping[str, str]]) -> Counter[str]:
    """The zones that changed, by year, summed over the areas."""
    found: Counter[str] = Counter()
    for row in rows:
        found[row["year"]] += int(row["changing"])
    return found


def answer(path: str, years: Mapping[str, int]) -> tuple[HTTPStatus, dict[str, object]]:
    """The status and body for a GET of `path`."""
    match path.strip("/").split("/"):
        case ["years", year] if year in years:
            return HTTPStatus.OK, {"year": int(year), "changing": years[year]}
        case ["years", year]:
            return HTTPStatus.NOT_FOUND, {"error": f"no figures for {year}"}
        case _:
            return HTTPStatus.NOT_FOUND, {"error": "try /years/1988"}


def serve(years: Mapping[str, int], port: int) -> None:
    """Answer on this machine only, until interrupted."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, years)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        serve(count(csv.DictReader(file)), int(sys.argv[2]))
