"""Moments: what people type, and what they read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import InvalidInput
from castore.store.moments import format_minute, format_moment, parse_moment

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
    assert parse_moment("1970-01-01", NOW, end_of_day=True) == DAY - 1


@pytest.mark.parametrize("text", ["", "2", "d2", "2026-13-01", "2026-02-30", "soon", "2026-1-1"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a time"):
        parse_moment(text, NOW)


def test_a_moment_is_utc() -> None:
    at = int(datetime(2026, 11, 22, 10, 0, tzinfo=UTC).timestamp()) * 1_000_000
    assert parse_moment("2026-11-22T1000Z", NOW) == at
    assert format_minute(at) == "2026-11-22 10:00"
