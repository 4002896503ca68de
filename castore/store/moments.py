"""Moments: microseconds UTC, how they are written, and how people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from castore.errors import InvalidInput

# Compiled by `re` when a time is read, which few commands do.
_AGO: Final = r"(\d{1,6})([smhdw])\Z"
_DATE: Final = r"(\d{4})-(\d{2})-(\d{2})\Z"
_TIME: Final = (
    r"(\d{4})-(\d{2})-(\d{2})[T ]"
    r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?(Z|[+-]\d{2}:?\d{2})?\Z"
)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def format_moment(at: int) -> str:
    """`at` as RFC 3339 in UTC with microseconds."""
    return (_EPOCH + at * MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_minute(at: int) -> str:
    """`at` as shown on a screen: date and minute, UTC."""
    return (_EPOCH + at * MICROSECOND).strftime("%Y-%m-%d %H:%M")


def parse_moment(text: str, now: int, *, end_of_day: bool = False) -> int:
    """The moment meant by `2d`, `2026-11-22`, `2026-11-22T1000Z` or RFC 3339, in microseconds UTC.

    Without a zone UTC is meant; a date alone is its first moment, or its last with `end_of_day`.
    Raises InvalidInput.
    """
    ago = re.match(_AGO, text)
    if ago:
        return max(0, now - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000)
    try:
        date = re.match(_DATE, text)
        if date:
            day = datetime(int(date[1]), int(date[2]), int(date[3]), tzinfo=UTC)
            if end_of_day:
                day += timedelta(days=1) - MICROSECOND
            return (day - _EPOCH) // MICROSECOND
        time = re.match(_TIME, text)
        if time:
            return _from_match(time)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"{text!r} is not a time: use 2d, 12h, 2026-11-22 or 2026-11-22T1000Z", value=text
    )


def parse_age(text: str) -> int:
    """The microseconds meant by `30d`, `12h`, `2w`, or `0`; raises InvalidInput."""
    ago = re.match(_AGO, text)
    if ago:
        return int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
    if text == "0":
        return 0
    raise InvalidInput(f"{text!r} is not an age: use 30d, 12h or 2w", value=text)


def _from_match(match: re.Match[str]) -> int:
    year, month, day, hour, minute = (int(match[i]) for i in range(1, 6))
    micro = int((match[7] or "0").ljust(6, "0"))
    moment = datetime(year, month, day, hour, minute, int(match[6] or 0), micro, tzinfo=UTC)
    zone = match[8]
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment += offset if zone[0] == "-" else -offset
    return max(0, (moment - _EPOCH) // MICROSECOND)
