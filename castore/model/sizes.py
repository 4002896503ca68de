"""Sizes as people write them: 5MB, 1.5 GiB, 512."""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))? ?([KMGT]i?B|B)?\Z", re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base ** (index + 1)
    for index, letter in enumerate("kmgt")
    for suffix, base in (("b", 1000), ("ib", 1024))
}


def parse_size(text: str) -> int | None:
    """The bytes that a text means (5MB = 5,000,000; 5MiB = 5,242,880); None for no size."""
    match = _SIZE.match(text)
    if match is None:
        return None
    whole, fraction, unit = match[1], match[2] or "", (match[3] or "").casefold()
    factor: int = _UNITS[unit]
    if fraction and factor == 1:
        return None
    value = int(whole) * factor
    value += int(fraction) * factor // 10 ** len(fraction) if fraction else 0
    return value if value < 1 << 62 else None
