"""On which line of a JSON text the value at a path stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}:,]|[^\s\[\]{}:,"]++', re.DOTALL)


def lines_of(data: bytes, paths: Iterable[Path]) -> dict[Path, int]:
    """The line (from 1) of each of `paths` in sound JSON, in one pass over its tokens.

    For a member of an object that is the line of its value. A name used twice means its last use,
    as for the decoder.
    """
    import msgspec

    wanted = set(paths)
    prefixes = {path[:length] for path in wanted for length in range(len(path) + 1)}
    found: dict[Path, int] = {}
    path: list[str | int] = []
    live = [True]
    maps: list[bool] = []
    expects_key = False
    line, at = 1, 0
    for match in _TOKEN.finditer(data):
        token = match[0]
        first = token[:1]
        if first in b"}]":
            maps.pop()
            path.pop()
            live.pop()
            expects_key = False
        elif first == b",":
            expects_key = maps[-1]
            if not maps[-1] and live[-1]:
                path[-1] = int(path[-1]) + 1
        elif first == b":":
            expects_key = False
        elif expects_key:
            if live[-1]:
                path[-1] = msgspec.json.decode(token)
        else:
            key = tuple(path) if live[-1] else None
            known = key in prefixes
            if known and key in wanted:
                line, at = line + data.count(b"\n", at, match.start()), match.start()
                found[key or ()] = line
            if first in b"{[":
                maps.append(first == b"{")
                path.append("" if first == b"{" else 0)
                live.append(known)
                expects_key = maps[-1]
    return found
