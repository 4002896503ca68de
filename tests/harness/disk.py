"""What a disk may hold after a power cut: the calls a process made, and every state they allow.

The model is that of POSIX, with a journal for names as ext4, XFS and btrfs keep one: the bytes of a
file are there once it was synced, and until then any part of each write may be, in sectors of 512
bytes, in any order; a change of length is one more such write; names in a folder change in the
order they were changed, and surely up to the last sync of the folder. A write of less than a sector
is whole or absent.
"""

from __future__ import annotations

import enum
import itertools
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

SECTOR: Final = 512
_HEAD: Final = struct.Struct("<BBHQQ")


class Kind(enum.IntEnum):
    """What was done, as in shim.c."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 3
    CREATE = 4
    RENAME = 5
    MKDIR = 6
    UNLINK = 7
    MARK = 8


class Call(NamedTuple):
    """One call: `through` of a file that is written through; a rename has a second name."""

    kind: Kind
    through: bool
    name: str
    offset: int
    data: bytes
    target: str = ""


def read_calls(log: Path) -> Iterator[Call]:
    """Every call that was recorded."""
    data = log.read_bytes()
    at = 0
    while at < len(data):
        kind, through, named, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name, _, target = data[at : at + named].decode().partition("\0")
        at += named
        yield Call(Kind(kind), bool(through), name, offset, data[at : at + length], target[:-1])
        at += length


class Write(NamedTuple):
    """Bytes at an offset, or with None for them a new length."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class File:
    """The bytes that are surely there, and what may be on top of them."""

    sure: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def sync(self) -> None:
        """All of it is there."""
        for write in self.pending:
            _apply(self.sure, write)
        self.pending.clear()

    def state(self, dice: random.Random) -> bytes:
        """One of the states it may be in."""
        found = bytearray(self.sure)
        # How much gets through differs from one cut to the next.
        share = dice.choice((0.0, 0.2, 0.5, 0.9, 1.0))
        order = list(self.pending)
        if dice.random() < 0.5:
            dice.shuffle(order)
        for write in order:
            if dice.random() < share:
                if write.data is not None and len(write.data) > SECTOR and dice.random() < 0.3:
                    for torn in _torn(write.offset, write.data, dice):
                        _apply(found, torn)
                else:
                    _apply(found, write)
        return bytes(found)


def _apply(data: bytearray, write: Write) -> None:
    if write.data is None:
        del data[write.offset :]
        data.extend(bytes(write.offset - len(data)))
        return
    if len(data) < write.offset:
        data.extend(bytes(write.offset - len(data)))
    data[write.offset : write.offset + len(write.data)] = write.data


def _torn(offset: int, data: bytes, dice: random.Random) -> Iterator[Write]:
    for at in range(0, len(data), SECTOR):
        if dice.random() < 0.5:
            yield Write(offset + at, data[at : at + SECTOR])


Entry: TypeAlias = "File | int"
Names: TypeAlias = "dict[str, Entry]"


class Disk:
    """A folder of a disk, on which calls are made one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        # Each folder by a number, so that one renamed stays the same.
        self._numbers = itertools.count(1)
        self._folders: dict[int, Names] = {0: {}}
        self._sure: dict[int, Names] = {0: {}}
        self._pending: list[list[tuple[int, str, Entry | None]]] = []

    def make(self, call: Call) -> None:
        """Let a call happen."""
        if call.kind is Kind.MARK or not self._inside(call.name):
            return
        if call.kind is Kind.RENAME:
            self._rename(call.name, call.target)
            return
        if call.name == self.root:
            self._flush(0)
            return
        folder, name = self._parent(call.name)
        if call.kind is Kind.MKDIR:
            number = next(self._numbers)
            self._folders[number], self._sure[number] = {}, {}
            self._change([(folder, name, number)])
        elif call.kind is Kind.CREATE:
            self._change([(folder, name, File())])
        elif call.kind is Kind.UNLINK:
            self._change([(folder, name, None)])
        else:
            self._to_file(call, self._folders[folder].get(name))

    def _to_file(self, call: Call, found: Entry | None) -> None:
        if isinstance(found, int):
            self._flush(found)
        elif found is None:
            # A file that has no name any more: nobody will read it.
            return
        elif call.kind is Kind.SYNC:
            found.sync()
        elif call.kind is Kind.TRUNCATE:
            found.pending.append(Write(call.offset, None))
        else:
            assert call.kind is Kind.WRITE
            if call.through:
                # As fdatasync right after it would; of no other write it tells anything.
                _apply(found.sure, Write(call.offset, call.data))
            else:
                found.pending.append(Write(call.offset, call.data))

    def image(self, place: Path, dice: random.Random) -> None:
        """Write one of the states the folder may be in to `place`."""
        folders = {number: dict(names) for number, names in self._sure.items()}
        share = dice.randint(0, len(self._pending)) if dice.random() < 0.5 else len(self._pending)
        for change in self._pending[:share]:
            for folder, name, value in change:
                _set(folders[folder], name, value)
        self._put(folders, 0, place, dice)

    def _put(
        self,
        folders: dict[int, Names],
        number: int,
        place: Path,
        dice: random.Random,
    ) -> None:
        place.mkdir()
        for name, value in folders[number].items():
            if isinstance(value, int):
                self._put(folders, value, place / name, dice)
            elif name != "lock.mdb":
                (place / name).write_bytes(value.state(dice))

    def _inside(self, name: str) -> bool:
        return name == self.root or name.startswith(f"{self.root}/")

    def _parent(self, path: str) -> tuple[int, str]:
        number = 0
        *folders, name = path[len(self.root) + 1 :].split("/")
        for folder in folders:
            found = self._folders[number][folder]
            assert isinstance(found, int), path
            number = found
        return number, name

    def _rename(self, old: str, new: str) -> None:
        source, target = self._parent(old), self._parent(new)
        moved = self._folders[source[0]][source[1]]
        self._change([(*source, None), (*target, moved)])

    def _change(self, parts: list[tuple[int, str, Entry | None]]) -> None:
        for folder, name, value in parts:
            _set(self._folders[folder], name, value)
        self._pending.append(parts)

    def _flush(self, number: int) -> None:
        """A folder was synced: its names, and all that changed before them."""
        last = max(
            (at for at, change in enumerate(self._pending) if number in {c[0] for c in change}),
            default=-1,
        )
        for change in self._pending[: last + 1]:
            for folder, name, value in change:
                _set(self._sure[folder], name, value)
        del self._pending[: last + 1]


def _set(names: Names, name: str, value: Entry | None) -> None:
    if value is None:
        names.pop(name, None)
    else:
        names[name] = value
