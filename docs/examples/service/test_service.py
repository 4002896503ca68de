"""Tests of the service: python -m unittest."""

from __future__ import annotations

import unittest

from service import answer, count

ROWS = [
    {"area": "Asia", "year": "1988", "changing": "46"},
    {"area": "Europe", "year": "1988", "changing": "38"},
    {"area": "Europe", "year": "2025", "changing": "27"},
]


class Service(unittest.TestCase):
    def test_areas_are_summed(self) -> None:
        assert count(ROWS) == {"1988": 84, "2025": 27}

    def test_a_year_is_found(self) -> None:
        assert answer("/years/1988", count(ROWS)) == (200, {"year": 1988, "changing": 84})

    def test_other_paths_are_not_found(self) -> None:
        for path in ("/", "/years/1066", "/zones/1988"):
            assert answer(path, count(ROWS))[0] == 404


if __name__ == "__main__":
    unittest.main()
