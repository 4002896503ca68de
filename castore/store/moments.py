"""Moments: microseconds UTC, how they are written, and how people type them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from castore.errors import InvalidInput
from castore.model.names import near_names

# Compiled by `re` when a time is read, which few commands do.
_AGO: Final = r"(\d{1,6})([smhdw])\Z"
_DATE: Final = r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?\Z"
_TIME: Final = (
    r"(\d{4})-(\d{2})-(\d{2})[T ]"
    r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?(Z|[+-]\d{2}:?\d{2})?\Z"
)
_COUNTED: Final = r"(?:(\d{1,6}|an?) ?)?([a-z]+?)s?(?: ago)?\Z"
_BETWEEN: Final = r"[\s._-]+"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNITS: Final = {
    "second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400, "week": 604800,
}  # fmt: skip
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS: Final = {"today": 0, "yesterday": 1}
"""Words for a day, and how many days ago it was."""
_WORDS: Final = (
    "now", *DAYS, *_WEEKDAYS,
    *(f"{which} {unit}" for which in ("this", "last") for unit in ("day", "week", *_MONTHS)),
)  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_DAY: Final = timedelta(days=1)
MICROSECOND: Final = timedelta(microseconds=1)
FORMS: Final = '2d, "7 days ago", yesterday, "last month", 2026-11, 2026-11-22 or 2026-11-22T1000Z'
"""What people may type for a time, for words about it."""


def format_moment(at: int) -> str:
    """`at` as RFC 3339 in UTC with microseconds."""
    return (_EPOCH + at * MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def format_minute(at: int) -> str:
    """`at` as shown on a screen: date and minute, UTC."""
    return (_EPOCH + at * MICROSECOND).strftime("%Y-%m-%d %H:%M")


def parse_moment(text: str, now: int, *, last: bool = False) -> int:
    """The moment that people mean by `text`, in microseconds UTC and never before 1970.

    Back from `now`: `2d` (also s, m, h, w), `7 days ago`, `3 months`, `a week`, `month`. A time:
    `now`, `2026-11-22T1000Z`, RFC 3339; without a zone UTC is meant. A period, of which the first
    moment is meant, or with `last` the last: `2026-11-22`, `2026-11`, `2026`, `today`, `yesterday`,
    `monday` (the one before today), and `this` or `last` with day, week (from Monday), month,
    quarter, year or the name of a day. Dots, hyphens and underscores separate words as spaces do.
    Raises InvalidInput, with the near ones.
    """
    try:
        found = _read(text, _EPOCH + now * MICROSECOND)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        near = near_names(_words(text), _WORDS)
        said, fix = (near, f"use {FORMS}") if near else (f": use {FORMS}", "")
        raise InvalidInput(f"{text!r} is not a time{said}", value=text, fix=fix)
    first, end = found
    return max(0, ((end - MICROSECOND if last else first) - _EPOCH) // MICROSECOND)


def parse_period(text: str, now: int) -> tuple[int, int]:
    """The first and the last moment of a period as `parse_moment` knows them; InvalidInput."""
    first, last = parse_moment(text, now), parse_moment(text, now, last=True)
    if last == first:
        raise InvalidInput(
            f'{text!r} is a moment: use a period such as yesterday, "last month" or 2026-11',
            value=text,
        )
    return first, last


def parse_age(text: str) -> int:
    """The microseconds meant by `30d`, `12h`, `2w`, or `0`; raises InvalidInput."""
    ago = re.match(_AGO, text)
    if ago:
        return int(ago[1]) * _SECONDS[ago[2]] * 1_000_000
    if text == "0":
        return 0
    raise InvalidInput(f"{text!r} is not an age: use 30d, 12h or 2w", value=text)


_Period = tuple[datetime, datetime]


def _read(text: str, now: datetime) -> _Period | None:
    """The period meant, its end left out; a moment as one that ends a microsecond later."""
    ago = re.match(_AGO, text)
    if ago:
        return _at(_back(now, seconds=int(ago[1]) * _SECONDS[ago[2]]))
    date = re.match(_DATE, text)
    if date:
        day = datetime(int(date[1]), int(date[2] or 1), int(date[3] or 1), tzinfo=UTC)
        if date[3]:
            return day, _later(day, _DAY)
        return day, _months(day, 1 if date[2] else 12)
    time = re.match(_TIME, text)
    return _at(_from_match(time)) if time else _in_words(_words(text), now)


def _at(moment: datetime) -> _Period:
    return moment, _later(moment, MICROSECOND)


def _words(text: str) -> str:
    return re.sub(_BETWEEN, " ", text).strip().lower()


def _in_words(words: str, now: datetime) -> _Period | None:
    if words == "now":
        return _at(now)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if words in DAYS:
        day = today - DAYS[words] * _DAY
        return day, _later(day, _DAY)
    which, _, unit = words.rpartition(" ")
    if which in ("", "last") and unit in _WEEKDAYS:
        day = today - ((today.weekday() - _WEEKDAYS.index(unit) - 1) % 7 + 1) * _DAY
        return day, _later(day, _DAY)
    if which in ("this", "last"):
        return _period(unit, today, earlier=which == "last")
    counted = re.match(_COUNTED, words)
    if counted is None or counted[2] not in (*_UNITS, *_MONTHS):
        return None
    count, unit = counted[1] or "1", counted[2]
    number = 1 if count in ("a", "an") else int(count)
    if unit in _MONTHS:
        return _at(_months(now, -number * _MONTHS[unit]))
    return _at(_back(now, seconds=number * _UNITS[unit]))


def _period(unit: str, today: datetime, *, earlier: bool) -> _Period | None:
    """The day, week, month, quarter or year that today is in, or the one before."""
    if unit in _MONTHS:
        size = _MONTHS[unit]
        month = (today.month - 1) // size * size + 1
        first = _months(today.replace(month=month, day=1), -size if earlier else 0)
        return first, _months(first, size)
    if unit not in ("day", "week"):
        return None
    length = _DAY if unit == "day" else 7 * _DAY
    first = today if unit == "day" else today - today.weekday() * _DAY
    first -= length if earlier else timedelta()
    return first, _later(first, length)


def _months(moment: datetime, count: int) -> datetime:
    """So many months later, on the same day or the last of a shorter month."""
    year, month = divmod(12 * moment.year + moment.month - 1 + count, 12)
    if not _EPOCH.year <= year <= _LAST.year:
        return _EPOCH if year < _EPOCH.year else _LAST
    for day in range(moment.day, 28, -1):
        with suppress(ValueError):
            return moment.replace(year=year, month=month + 1, day=day)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, 28))


def _later(moment: datetime, length: timedelta) -> datetime:
    return moment + min(length, _LAST - moment)


def _back(now: datetime, *, seconds: int) -> datetime:
    """So long before, at most back to 1970."""
    return now - min(timedelta(seconds=seconds), now - _EPOCH)


def _from_match(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute = (int(match[i]) for i in range(1, 6))
    micro = int((match[7] or "0").ljust(6, "0"))
    moment = datetime(year, month, day, hour, minute, int(match[6] or 0), micro, tzinfo=UTC)
    zone = match[8]
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        moment += offset if zone[0] == "-" else -offset
    return moment
