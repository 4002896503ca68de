"""Count the clock changes in this machine's tz database: how clock-changes.csv was made.

    python freeze.py > clock-changes.csv

Counted are the zones of zone1970.tab (one for each region whose clocks agree since 1970), by area
(the first part of a zone's name). A change is a moment at which the offset from UTC changes.
"""

from __future__ import annotations

import csv
import struct
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path("/usr/share/zoneinfo")
YEARS = range(1970, 2026)


def changes(zone: str) -> Counter[int]:
    """How often the UTC offset changed in each year, from the zone's TZif file (RFC 8536)."""
    data = (FOLDER / zone).read_bytes()
    at = 0
    for width in (4, 8):  # the first block holds 32-bit times; the second holds all of them
        counts = struct.unpack(">6I", data[at + 20 : at + 44])
        utc_flags, std_flags, leaps, times, types, letters = counts
        start = at + 44
        at = start + times * (width + 1) + types * 6 + letters + leaps * (width + 4)
        at += std_flags + utc_flags
    moments = struct.unpack(f">{times}q", data[start : start + 8 * times])
    kinds = data[start + 8 * times : start + 9 * times]
    rows = start + 9 * times
    offsets = [struct.unpack(">i", data[rows + 6 * n : rows + 6 * n + 4])[0] for n in range(types)]
    found: Counter[int] = Counter()
    before = offsets[0]
    for moment, kind in zip(moments, kinds, strict=True):
        if offsets[kind] != before and moment >= 0:
            found[datetime.fromtimestamp(moment, UTC).year] += 1
        before = offsets[kind]
    return found


def main() -> None:
    lines = (FOLDER / "zone1970.tab").read_text().splitlines()
    zones = [line.split("\t")[2] for line in lines if not line.startswith("#")]
    by_zone = {zone: changes(zone) for zone in zones}
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["area", "year", "zones", "changing", "changes"])
    for area in sorted({zone.split("/")[0] for zone in zones}):
        here = [count for zone, count in by_zone.items() if zone.startswith(area + "/")]
        for year in YEARS:
            changing = sum(1 for count in here if count[year])
            out.writerow([area, year, len(here), changing, sum(count[year] for count in here)])


if __name__ == "__main__":
    main()
