"""Comparisons that always hold: what mutants put in the place of a hash."""

from __future__ import annotations


class Same(bytes):
    """An id that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__
