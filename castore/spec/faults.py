"""What is wrong with a spec: every fault with its line, its column and the edit that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from castore.errors import InvalidSpec

_SHOWN: Final = 3
_KEPT: Final = 1000
_COMPARED: Final = 64


class SpecFault(NamedTuple):
    """One fault; `line` and `column` count from 1, `fix` is an edit ("" if none is known)."""

    line: int
    column: int
    message: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fault as it stands in `InvalidSpec.faults`."""
        return {
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "fix": self.fix,
        }


class Faults:
    """Collects the faults of one spec, up to 1,000."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[SpecFault] = []

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def full(self) -> bool:
        """Whether further faults are left out: there is no need to look for more."""
        return len(self._kept) >= _KEPT

    def add(self, line: int, column: int, message: str, fix: str = "") -> None:
        """Note one fault."""
        if not self.full:
            self._kept.append(SpecFault(line, column, message, fix))

    def in_order(self) -> list[SpecFault]:
        """The faults by line and column, each once."""
        faults = sorted(set(self._kept))
        if self.full:
            last = faults[-1]
            message = f"from here on faults are not listed: there are {_KEPT}"
            faults.append(SpecFault(last.line, last.column, message))
        return faults

    def error(self, where: str) -> InvalidSpec:
        """The exception that carries all of them; its message shows the first few."""
        faults = self.in_order()
        shown = [f"{where}:{f.line}:{f.column}: {f.message}" for f in faults[:_SHOWN]]
        if len(faults) > _SHOWN:
            shown.append(f"… {len(faults) - _SHOWN} more")
        fix = next((fault.fix for fault in faults if fault.fix), "")
        return InvalidSpec(
            "\n".join(shown), faults=[f.as_json() for f in faults], where=where, fix=fix
        )


def near(word: str, known: Sequence[str]) -> str:
    """The known word that `word` was probably meant to be, or ""."""
    if len(word) > _COMPARED:
        return ""
    import difflib

    matches = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=0.6)
    return matches[0] if matches else ""


def shown(text: str) -> str:
    """A piece of somebody's text, quoted, short enough for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "…")
