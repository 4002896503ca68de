"""What a worker was told, line by line, and whether a store still holds it.

A worker says what it is about to do and, once castore has acknowledged it, that it is done. Each
worker has branches of its own, so what it said tells exactly what they must hold; of what was under
way when it ended, all or nothing may be there.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import castore
from castore.errors import NotFound
from tests.harness.frame import Lost

Line: TypeAlias = "dict[str, Any]"
FORGOTTEN = "forgotten"
PURGED = "purged"
EDITION = 1 << 32
_TOLD = 10


@dataclass(slots=True)
class Made:
    """A version: its id, "" while nobody was told, and its artifacts as (seed, size)."""

    id: str
    files: dict[str, tuple[int, int]]
    gone: str = ""
    erased: set[str] = field(default_factory=set)


Branches: TypeAlias = "dict[str, list[Made]]"


@dataclass(slots=True)
class Ledger:
    """What one worker's branches and tags must be: as `now`, or as `later` if that was under way.

    `copied` and `copying` are the same of its backup.
    """

    now: Branches = field(default_factory=dict)
    later: Branches | None = None
    tags: dict[str, str] = field(default_factory=dict)
    copied: Branches | None = None
    copying: bool = False
    torn: dict[str, tuple[list[Made], list[Made]]] = field(default_factory=dict)
    """Branches that are one or the other, and not used since."""
    acknowledged: int = 0

    def hear(self, line: Line) -> None:
        """Take in what the worker said next."""
        if line["says"] == "begin":
            self.later = copy.deepcopy(self.now)
            _CHANGES.get(line["verb"], _nothing)(self.later, line)
            self.copying = line["verb"] == "backup"
        elif line["says"] == "done":
            assert self.later is not None
            self.now, self.later = self.later, None
            self.acknowledged += 1
            if line["verb"] == "commit":
                self.now[line["branch"]][-1].id = line["id"]
            elif line["verb"] == "tag":
                self.tags[line["tag"]] = line["id"]
            elif self.copying:
                self.copied = copy.deepcopy(self.now)
            self.copying = False
        elif line["says"] == "settled":
            self.torn.pop(line["branch"], None)
        elif self.later is not None:
            self._tear(line)

    def _tear(self, line: Line) -> None:
        """What failed with an error may have happened or not, unless the error tells."""
        later, self.later = self.now if line.get("undone") else self.later, None
        assert later is not None
        for name in {*self.now, *later}:
            before, after = self.now.get(name, []), later.get(name, [])
            if before != after:
                self.torn[name] = before, after
                self.now.pop(name, None)
                if self.copied:
                    self.copied.pop(name, None)
        if self.copying:
            self.copied, self.copying = None, False


def ledger(lines: Iterable[str]) -> Ledger:
    """All that was said; a line that was not ended was not said."""
    heard = Ledger()
    for line in lines:
        if line.endswith("\n"):
            heard.hear(json.loads(line))
    return heard


@lru_cache(maxsize=64)
def content(seed: int, size: int) -> bytes:
    """The bytes of an artifact: text that packs well for an even seed, noise for an odd one.

    A seed of EDITION or more is what so many edits made of that of the rest.
    """
    if seed >= EDITION:
        return _edited(content(seed - EDITION, size), random.Random(seed))
    dice = random.Random(seed)
    if seed % 2:
        return dice.randbytes(size)
    words = [b"%d" % dice.getrandbits(20) for _ in range(40)]
    return b" ".join(dice.choice(words) for _ in range(size // 6 + 1))


def _edited(data: bytes, dice: random.Random) -> bytes:
    new = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(new))
        new[at : at + dice.choice((0, 5, 500))] = dice.randbytes(dice.choice((0, 20, 700)))
    return bytes(new)


def judge(store: castore.Store, heard: Ledger) -> None:
    """Raises Lost unless all of it is there, and nothing else on the same branches."""
    _match(store, heard.now, heard.later)
    for name, (before, after) in heard.torn.items():
        wrong = _differs(store, name, before)
        if wrong and _differs(store, name, after):
            raise Lost(wrong)
    for name, id in heard.tags.items():
        found = store.resolve(name).version.id.hex()
        if found != id:
            raise Lost(f"tag {name} names {found}, not {id}")


def judge_copy(store: castore.Store, heard: Ledger) -> None:
    """Raises Lost unless a backup holds what it was told to hold when last acknowledged."""
    if heard.copied is not None:
        _match(store, heard.copied, heard.now if heard.copying else None)


def erased(data_file: Path, heard: Ledger) -> None:
    """Raises Lost if bytes whose purge was acknowledged are anywhere in the data file.

    Noise alone can be found: all else is packed.
    """
    held = data_file.read_bytes()
    for name, made in heard.now.items():
        for number, one in enumerate(made, 1):
            for file in one.erased:
                seed, size = one.files[file]
                data = content(seed, size)
                if seed % 2 and size > 100 and (data[:64] in held or data[-64:] in held):
                    raise Lost(f"the bytes of {name}@v{number}:{file} were purged, and are there")


def whole(store: castore.Store, what: str = "") -> None:
    """Raises Lost unless a full check finds nothing."""
    report = store.fsck(full=True)
    if not report.ok:
        found = list(report.lines())
        raise Lost(f"{what}fsck: {len(found)} lines: " + "; ".join(found[:_TOLD]))


def _match(store: castore.Store, now: Branches, later: Branches | None) -> None:
    names = {*now, *(later or ())}
    for name in sorted(names):
        before, after = now.get(name, []), (now if later is None else later).get(name, [])
        wrong = _differs(store, name, before)
        if wrong and before != after:
            wrong = _differs(store, name, after) and wrong
        if wrong:
            raise Lost(wrong)


def _differs(store: castore.Store, name: str, made: list[Made]) -> str:
    """How a branch is not what it should be; "" if it is."""
    tips = {tip.branch for tip in store.branches()}
    history = [version.id.hex() for version in store.log(name)][::-1] if name in tips else []
    if len(history) != len(made):
        return f"branch {name} has {len(history)} versions, not {len(made)}"
    for number, (id, one) in enumerate(zip(history, made, strict=True), 1):
        if one.id and id != one.id:
            return f"{name}@v{number} is {id}, not {one.id}"
        for file, (seed, size) in one.files.items():
            wrong = _unread(
                store, f"{id}:{file}", content(seed, size), one.gone or file in one.erased
            )
            if wrong:
                return wrong
    return ""


def _unread(store: castore.Store, selector: str, data: bytes, gone: object) -> str:
    try:
        found = store.read_bytes(selector)
    except NotFound:
        return "" if gone else f"{selector} is not there"
    if gone:
        return f"{selector} was let go of, and is there"
    return "" if found == data else f"{selector} has other bytes"


def _nothing(later: Branches, line: Line) -> None:
    """It changes nothing that can be read."""


def _commit(later: Branches, line: Line) -> None:
    files = {name: (seed, size) for name, seed, size in line["files"]}
    later.setdefault(line["branch"], []).append(Made("", files))


def _undo(later: Branches, line: Line) -> None:
    later[line["branch"]].pop()


def _forget(later: Branches, line: Line) -> None:
    later[line["branch"]][line["number"] - 1].gone = FORGOTTEN


def _purge(later: Branches, line: Line) -> None:
    later[line["branch"]][line["number"] - 1].erased.add(line["file"])


def _delete(later: Branches, line: Line) -> None:
    del later[line["branch"]]


_CHANGES = {
    "commit": _commit,
    "undo": _undo,
    "forget": _forget,
    "purge": _purge,
    "delete": _delete,
}
