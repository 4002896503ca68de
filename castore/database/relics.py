"""What is still readable in the files of a damaged store, found without opening it.

Nothing here is proved: blocks are to be compared with ids, entries of the log with each other and
with `heads.log`, refs with the log.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from castore.content.blocks import block_shape
from castore.content.extents import block_length
from castore.database.datafile import DATA_FILE, RESTORE
from castore.database.failures import using_files
from castore.database.headslog import is_spoilt, read_heads
from castore.database.identity import STORE_FILE, Identity, read_identity, was_store
from castore.database.leaves import Leaves, Place, Trees
from castore.database.operations import OPERATION_BYTES, Operation, decode_operation
from castore.database.pages import check_pages
from castore.database.tables import (
    PROJECT_KEY,
    UUID_BYTES,
    UUID_KEY,
    ObjectRow,
    Removal,
    State,
    read_number,
    read_object,
    read_removal,
)
from castore.errors import CastoreError, CorruptObject, Locked, StoreNotFound
from castore.model.ids import Id
from castore.model.limits import BLOCK_RAW_BYTES, ID_BYTES, MIB
from castore.model.refs import HEADS, LOST, PARTIALS, REMOTES, TAGS

_NUMBER_BYTES: Final = 8
_OBJECT_BYTES: Final = 12
_HEADER_BYTES: Final = 20
_BLOCK_BYTES: Final = BLOCK_RAW_BYTES + MIB
_REF_ROOMS: Final = tuple(room.encode() for room in (HEADS, TAGS, PARTIALS, LOST, REMOTES))
_IDENTITY_KEYS: Final = (UUID_KEY, PROJECT_KEY)
_META_BYTES: Final = 2 * 65536
# Rows that say nothing which cannot be made again: their pages count as seen, no more.
_DERIVED: Final = ("blockinfo", "lookup", "files", "located", "uploads")


class Entry(NamedTuple):
    """An entry of the operation log: its place, its hash and that of the entry before."""

    sequence: int
    place: Place
    hash: Id
    prev: bytes


class Relics:
    """The rows of a store's data file as they were found; a context manager.

    `damage` says what is wrong with its pages. If there is any, or after `look_closer`, rows of
    pages that nothing leads to are found as well: those of refs and of the log apart from the
    others, since they may be of an older time. Nobody may write meanwhile: see `check_unchanged`.
    Memory: some 30 bytes a block, 250 an operation, and the rows of refs, pins, sessions and
    removals. Raises StoreNotFound, CorruptObject where there is no data file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / DATA_FILE
        if not self._path.is_file():
            raise _nothing(folder)
        self.heads = _heads(folder)
        self.damage = tuple(check_pages(str(self._path)).problems)
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._before = self._state()
        self._leaves = Leaves(self._descriptor)
        self._numbers, self._offsets, self._sizes = array("Q"), array("Q"), array("Q")
        self.entries: dict[int, Entry] = {}
        self.stray_entries: list[Entry] = []
        self.refs: dict[str, Id] = {}
        self.stray_refs: dict[str, set[Id]] = {}
        self.removals: dict[str, dict[Id, Removal]] = {"forgotten": {}, "purged": {}}
        self.states: dict[Id, ObjectRow] = {}
        self.rows: dict[str, list[tuple[bytes, bytes]]] = {"pins": [], "stage": []}
        self.unreadable: list[tuple[str, str]] = []
        self._meta: dict[bytes, bytes] = {}
        self._close = False
        self._collect()
        self.heads = _mended(self.heads, self.entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    @property
    def blocks(self) -> int:
        """How many blocks were found; some may be there twice."""
        return len(self._offsets)

    def block(self, at: int) -> bytes:
        """The bytes of block `at` of those that were found."""
        return self._leaves.read(Place(b"", self._offsets[at], self._sizes[at]))

    def block_number(self, at: int) -> int | None:
        """The number that block `at` had, None where that is lost."""
        number = self._numbers[at]
        return number - 1 if number else None

    def operation(self, entry: Entry) -> Operation:
        """An entry of the log, decoded."""
        return decode_operation(entry.sequence, self._leaves.read(entry.place))

    def identity(self, entropy: Callable[[int], bytes]) -> Identity:
        """The uuids of the store and its project, from wherever they can be read; else new ones."""
        try:
            with using_files(self.folder):
                return read_identity(self.folder)
        except CastoreError as error:
            self.unreadable.append(("store.json", error.message))
        uuid, project = (self._meta.get(key, b"") for key in _IDENTITY_KEYS)
        return Identity(uuid or entropy(UUID_BYTES), project or entropy(UUID_BYTES))

    def look_closer(self) -> None:
        """Look at the pages that nothing leads to, too, unless that is done already."""
        if self._close:
            return
        self._close = True
        for place in self._leaves.strays():
            if len(place.key) == _NUMBER_BYTES:
                head = self._leaves.read(place._replace(size=min(place.size, _HEADER_BYTES)))
                entry = None if block_shape(head) else self._entry(place, stray=True)
                if entry is not None:
                    self.stray_entries.append(entry)
                elif block_shape(head):
                    self._add_block(place)
            elif place.key.startswith(_REF_ROOMS):
                self._add_ref(place, stray=True)
            elif len(place.key) == ID_BYTES and place.size == _OBJECT_BYTES:
                self._add_state(place)
            else:
                self._add_meta(place)
        for place in self._leaves.values():
            data = self._leaves.read(place._replace(size=min(place.size, _BLOCK_BYTES)))
            if length := block_length(data):
                self._add_block(place._replace(size=length))

    def check_unchanged(self) -> None:
        """Raise Locked if somebody wrote to the data file since it was opened."""
        if self._state() != self._before:
            raise Locked(
                f"{self._path} was written to while it was read",
                fix="end every program that uses this store, then try again",
            )

    def _state(self) -> tuple[bytes, int]:
        return os.pread(self._descriptor, _META_BYTES, 0), os.fstat(self._descriptor).st_size

    def _collect(self) -> None:
        # A damaged meta page may make the older one look newer: the log tells.
        roots = self._leaves.roots()
        found = [(self._last_sequence(trees), -at) for at, trees in enumerate(roots)]
        self._leaves.choose(roots[-max(found)[1]] if found else {})
        for place in self._leaves.rows("blocks"):
            self._add_block(place)
        for place in self._leaves.rows("ops"):
            entry = self._entry(place)
            if entry is not None:
                self.entries[entry.sequence] = entry
        for place in self._leaves.rows("refs"):
            self._add_ref(place, stray=False)
        for place in self._leaves.rows("objects"):
            self._add_state(place)
        for table in self.removals:
            for place in self._leaves.rows(table):
                self._add_removal(table, place)
        for place in self._leaves.rows("meta"):
            self._add_meta(place)
        for table, kept in self.rows.items():
            kept += [(place.key, self._leaves.read(place)) for place in self._leaves.rows(table)]
        for table in _DERIVED:
            for _ in self._leaves.rows(table):
                pass
        if self.damage or self.unreadable:
            self.look_closer()

    def _last_sequence(self, trees: Trees) -> int:
        key = self._leaves.last_key(trees, "ops")
        return read_number(key) if len(key) == _NUMBER_BYTES else 0

    def _add_block(self, place: Place) -> None:
        number = read_number(place.key) if len(place.key) == _NUMBER_BYTES else -1
        if place.size > _BLOCK_BYTES:
            self.unreadable.append((f"block {number}", f"{place.size} bytes are too many"))
            return
        self._numbers.append(min(number + 1, (1 << 64) - 1))
        self._offsets.append(place.at)
        self._sizes.append(place.size)

    def _entry(self, place: Place, *, stray: bool = False) -> Entry | None:
        sequence = read_number(place.key) if len(place.key) == _NUMBER_BYTES else 0
        try:
            if place.size > OPERATION_BYTES:
                raise CorruptObject(f"operation {sequence}: {place.size} bytes are too many")
            found = decode_operation(sequence, self._leaves.read(place))
        except CastoreError as error:
            if not stray:
                self.unreadable.append((f"operation {sequence}", error.message))
            return None
        return Entry(sequence, place, found.hash, found.prev)

    def _add_ref(self, place: Place, *, stray: bool) -> None:
        value = self._leaves.read(place) if place.size in (0, ID_BYTES) else b"?"
        name = place.key.decode("utf-8", "replace")
        if len(value) not in (0, ID_BYTES) or name.encode() != place.key:
            if not stray:
                self.unreadable.append((f"ref {name}", "its row is damaged"))
        elif stray:
            self.stray_refs.setdefault(name, set()).add(value)
        else:
            self.refs[name] = value

    def _add_state(self, place: Place) -> None:
        """Take the row of an object that is not stored on purpose: the others are made again."""
        if len(place.key) != ID_BYTES:
            return
        try:
            row = read_object(self._leaves.read(place), place.key)
        except CastoreError:
            return
        if row.state in (State.PURGED, State.PROMISED):
            self.states.setdefault(place.key, row)

    def _add_removal(self, table: str, place: Place) -> None:
        try:
            self.removals[table][place.key] = read_removal(self._leaves.read(place), table)
        except CastoreError as error:
            self.unreadable.append((f"{table} {place.key.hex()}", error.message))

    def _add_meta(self, place: Place) -> None:
        if place.key in _IDENTITY_KEYS and place.size == UUID_BYTES:
            self._meta.setdefault(place.key, self._leaves.read(place))


def _nothing(folder: Path) -> CastoreError:
    if not (folder / STORE_FILE).exists() and not was_store(folder):
        return StoreNotFound(f"no store at {folder}", fix="cas init")
    return CorruptObject(
        f"{folder / DATA_FILE} is missing: there is nothing to read",
        where=str(folder / DATA_FILE),
        fix=RESTORE,
    )


def _heads(folder: Path) -> dict[int, Id]:
    try:
        return dict(read_heads(folder))
    except OSError:
        return {}


def _mended(heads: Mapping[int, Id], entries: Mapping[int, Entry]) -> dict[int, Id]:
    """What `heads.log` notes, were it not for lines of which a few bits changed."""
    known = {entry.hash: sequence for sequence, entry in entries.items()}
    mended = {}
    for sequence, hash in heads.items():
        entry = entries.get(sequence)
        if entry is not None and is_spoilt(hash, entry.hash):
            mended[sequence] = entry.hash
        elif known.get(hash, sequence) == sequence:
            mended[sequence] = hash
    return mended
