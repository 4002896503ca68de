"""Moments: what people type, and what they read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import InvalidInput
from castore.store.moments import format_minute, format_moment, parse_moment, parse_period

NOW = 1_795_000_000_000_000
DAY = 86_400_000_000


@given(st.integers(0, 4_000_000_000_000_000))
def test_what_is_written_reads_back(at: int) -> None:
    assert parse_moment(format_moment(at), NOW) == at
    assert format_moment(at).startswith(format_minute(at)[:10])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2d", NOW - 2 * DAY),
        ("90s", NOW - 90_000_000),
        ("1w", NOW - 7 * DAY),
        ("999999w", 0),
        ("1970-01-02", DAY),
        ("1970-01-01T0100Z", 3_600_000_000),
        ("1970-01-01T01:00:00.5Z", 3_600_500_000),
        ("1970-01-01 01:00+01:00", 0),
        ("1970-01-01T0100-0100", 7_200_000_000),
    ],
)
def test_forms(text: str, expected: int) -> None:
    assert parse_moment(text, NOW) == expected


def test_a_date_alone_may_mean_its_end() -> None:
    assert parse_moment("1970-01-01", NOW, last=True) == DAY - 1


@pytest.mark.parametrize(
    "text", ["", "2", "d2", "2026-13-01", "2026-02-30", "2026-1-1", "5 fortnights"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a time"):
        parse_moment(text, NOW)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        # Thursday 2026-03-05, 12:30.
        ("2026-02", "2026-02-01", "2026-02-28"),
        ("2025", "2025-01-01", "2025-12-31"),
        ("today", "2026-03-05", "2026-03-05"),
        ("yesterday", "2026-03-04", "2026-03-04"),
        ("Thursday", "2026-02-26", "2026-02-26"),
        ("friday", "2026-02-27", "2026-02-27"),
        ("last wednesday", "2026-03-04", "2026-03-04"),
        ("this day", "2026-03-05", "2026-03-05"),
        ("last week", "2026-02-23", "2026-03-01"),
        ("this-week", "2026-03-02", "2026-03-08"),
        ("Last  Month", "2026-02-01", "2026-02-28"),
        ("this_month", "2026-03-01", "2026-03-31"),
        ("last quarter", "2025-10-01", "2025-12-31"),
        ("last year", "2025-01-01", "2025-12-31"),
        ("9999", "9999-01-01", "9999-12-31"),
    ],
)
def test_a_period_has_a_beginning_and_an_end(text: str, first: str, last: str) -> None:
    now = parse_moment("2026-03-05T1230Z", 0)
    begin, end = parse_period(text, now)
    assert (format_moment(begin), format_moment(end)[:10]) == (f"{first}T00:00:00.000000Z", last)
    assert parse_moment(text, now) == begin
    assert parse_moment(text, now, last=True) == end
    if text != "9999":
        assert format_moment(end).endswith("T23:59:59.999999Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 days ago", "2026-03-24T12:30"),
        ("7.days.ago", "2026-03-24T12:30"),
        ("a week", "2026-03-24T12:30"),
        ("an hour ago", "2026-03-31T11:30"),
        ("5 mins", "2026-03-31T12:25"),
        ("month", "2026-02-28T12:30"),
        ("1 month ago", "2026-02-28T12:30"),
        ("2 quarters", "2025-09-30T12:30"),
        ("25 months", "2024-02-29T12:30"),
        ("a year ago", "2025-03-31T12:30"),
        ("999999 years", "1970-01-01T00:00"),
        ("now", "2026-03-31T12:30"),
        ("1969-05-01", "1970-01-01T00:00"),
    ],
)
def test_words_back_from_now(text: str, expected: str) -> None:
    assert format_moment(parse_moment(text, parse_moment("2026-03-31T1230Z", 0)))[:16] == expected


@given(
    st.sampled_from(["last", "this"]),
    st.sampled_from(["day", "week", "month", "quarter", "year"]),
    st.integers(parse_moment("1972-01-01", 0), parse_moment("2999-01-01", 0)),
)
def test_periods_follow_each_other(which: str, unit: str, now: int) -> None:
    before, this = parse_period(f"last {unit}", now), parse_period(f"this {unit}", now)
    assert before[1] + 1 == this[0] <= now <= this[1]
    again = this if which == "this" else before
    assert parse_period(f"this {unit}", again[0]) == parse_period(f"this {unit}", again[1]) == again


def test_what_is_near_or_may_be_typed_is_told() -> None:
    with pytest.raises(InvalidInput, match="did you mean last month"):
        parse_moment("last moth", NOW)
    with pytest.raises(InvalidInput, match="did you mean yesterday"):
        parse_moment("yesterdy", NOW)
    with pytest.raises(InvalidInput, match=r'use 2d, "7 days ago", yesterday, "last month"'):
        parse_moment("soon", NOW)
    for moment in ("2d", "now", "2026-11-22T1000Z"):
        with pytest.raises(InvalidInput, match="use a period such as"):
            parse_period(moment, NOW)


def test_a_moment_is_utc() -> None:
    at = int(datetime(2026, 11, 22, 10, 0, tzinfo=UTC).timestamp()) * 1_000_000
    assert parse_moment("2026-11-22T1000Z", NOW) == at
    assert format_minute(at) == "2026-11-22 10:00"
