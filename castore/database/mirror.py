"""Bringing a backup up to date: only what is new crosses over, content before what refers to it.

Blocks are never changed under their number, so a block with a number the backup has is not read
again, unless a row about it differs. First come new blocks, each with the rows of its members, in
transactions of some MiB: after a crash the backup is what it was, plus objects that nothing refers
to yet. Then one transaction makes every row what it is in one view of the store, refs included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

from castore.content.blocks import Block, Member, decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.sink import EncodedBlock
from castore.database import tables as tabling
from castore.database.copying import replace_file
from castore.database.derive import INDEXED
from castore.database.environment import CARRIED_FILES, Database
from castore.database.headslog import append_head
from castore.database.reading import Reading
from castore.database.tables import INTEGER_KEYED, NEXT_BLOCK_KEY, State, Tables
from castore.database.writing import Payload, Writing
from castore.errors import CastoreError, Conflict, CorruptObject, InvalidInput, ObjectNotFound
from castore.model.ids import Kind, object_id
from castore.model.limits import MIB

_SLICE_BYTES: Final = 16 * MIB
# What may come along in the last transaction, and how often that is tried to be kept small.
_LAST_BYTES: Final = 64 * MIB
_ROUNDS: Final = 16
# Caches of this machine, and blocks, which are compared by number.
_NOT_COMPARED: Final = frozenset({"blocks", "files", "located"})
COMPARED: Final = tuple(name for name in Tables._fields if name not in _NOT_COMPARED)
# stored, raw, then live, which alone changes while a block stays as it is.
_LIVE: Final = slice(8, 12)

Numbered = tuple[int, bytes]


@dataclass(slots=True)
class Mirrored:
    """What crossed over, or would: new blocks and their bytes, rows that changed, blocks gone."""

    blocks: int = 0
    bytes: int = 0
    rows: int = 0
    removed: int = 0
    sequence: int = 0


class _Change(NamedTuple):
    key: bytes
    new: bytes | None
    old: bytes | None


@dataclass(slots=True)
class _Difference:
    """How the backup differs from a view of the store: rows by table, numbers of blocks."""

    rows: dict[str, list[_Change]] = field(default_factory=dict)
    new: list[int] = field(default_factory=list)
    suspect: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    new_bytes: int = 0

    @property
    def changed(self) -> int:
        return sum(len(changes) for changes in self.rows.values())


def difference(source: Database, backup: Database) -> Mirrored:
    """What `mirror` would do, by reading both; raises Conflict as it does."""

    _check_same(source, backup)

    def compare(ours: Reading, theirs: Reading) -> Mirrored:
        _check_follows(ours, theirs, backup)
        found = _compare(ours, theirs)
        return Mirrored(
            len(found.new), found.new_bytes, found.changed, len(found.gone), ours.last_sequence()
        )

    return source.read(lambda ours: backup.read(lambda theirs: compare(ours, theirs)))


def mirror(source: Database, backup: Database) -> Mirrored:
    """Make `backup`, an older copy of the store `source`, what the store is now.

    Every block is decoded and compared with its ids before it is written. Raises Conflict for a
    backup that has what the store has not, CorruptObject for a damaged store, StoreFull.
    """
    _check_same(source, backup)
    source.read(lambda ours: backup.read(lambda theirs: _check_follows(ours, theirs, backup)))
    done = Mirrored()
    for _ in range(_ROUNDS):
        if source.read(partial(_bytes_from, start=backup.read(_next_block))) <= _LAST_BYTES:
            break
        _send_blocks(source, backup, done)
    before = Mirrored(done.blocks, done.bytes)

    def finish(ours: Reading, theirs: Writing) -> None:
        # It may be run again from the start.
        done.blocks, done.bytes, done.rows, done.removed = before.blocks, before.bytes, 0, 0
        _check_follows(ours, theirs, backup)
        _apply(ours, theirs, _compare(ours, theirs), done)
        done.sequence = theirs.last_sequence()

    source.read(
        lambda ours: backup.write(lambda theirs: finish(ours, theirs), room=_LAST_BYTES // 4)
    )
    last = backup.read(lambda theirs: theirs.last_operation())
    if last is not None:
        append_head(backup.folder, last.sequence, last.hash)
    for name in CARRIED_FILES:
        replace_file(source.folder / name, backup.folder / name)
    return done


def _check_same(source: Database, backup: Database) -> None:
    if (source.uuid, source.project) != (backup.uuid, backup.project):
        raise Conflict(
            f"{backup.folder} is a backup of another store, {backup.uuid.hex()}",
            fix="name another folder",
        )


def _check_follows(ours: Reading, theirs: Reading, backup: Database) -> None:
    """The log of the backup must be the beginning of the store's."""
    last = theirs.last_operation()
    if last is None:
        return
    same = ours.operation(last.sequence)
    if same is not None and same.hash == last.hash:
        return
    what = (
        f"its newest operation is {last.sequence}, the store's is {ours.last_sequence()}"
        if same is None
        else f"operation {last.sequence} is another one there"
    )
    raise Conflict(
        f"{backup.folder} is ahead of the store: {what}; writing over it would lose that",
        fix="name another folder",
        sequence=last.sequence,
    )


# New blocks, in transactions of their own.


def _send_blocks(source: Database, backup: Database, done: Mirrored) -> None:
    limit = source.read(_next_block)
    start = backup.read(_next_block)
    while start < limit:

        def take(
            ours: Reading, start: int = start
        ) -> list[tuple[int, EncodedBlock, list[Payload]]]:
            return [
                (number, *_proved(ours, number, data))
                for number, data in _slice(ours, start)
                if number < limit
            ]

        batch = source.read(take)
        if not batch:
            return
        size = sum(block.size for _, block, _ in batch)
        taken = backup.write(lambda theirs, batch=batch: _put(theirs, batch), room=size)  # type: ignore[misc]
        done.blocks += len(taken)
        done.bytes += sum(taken)
        start = batch[-1][0] + 1


def _bytes_from(reading: Reading, start: int) -> int:
    return sum(info.stored for _, info in reading.block_infos(start))


def _next_block(reading: Reading) -> int:
    return reading.integer(NEXT_BLOCK_KEY.decode())


def _slice(reading: Reading, start: int) -> Iterator[Numbered]:
    size = 0
    for number, data in reading.blocks(start):
        yield number, data
        size += len(data)
        if size >= _SLICE_BYTES:
            return


def _put(theirs: Writing, batch: list[tuple[int, EncodedBlock, list[Payload]]]) -> list[int]:
    """Store blocks under their own numbers; the sizes of those that were kept."""
    kept: list[int] = []
    for number, block, payloads in batch:
        if number < _next_block(theirs):
            continue
        theirs.set_integer(NEXT_BLOCK_KEY.decode(), number)
        try:
            if theirs.put_blocks([block], payloads):
                kept.append(block.size)
        except (ObjectNotFound, InvalidInput):
            # Its base lies in a later block, or the purge of a member is not known there yet:
            # it comes with all rows at the end.
            continue
    return kept


def _proved(ours: Reading, number: int, data: bytes) -> tuple[EncodedBlock, list[Payload]]:
    """A block and the payloads that are indexed, after all its bytes were compared with its ids."""
    where = block_place(number)
    block = decode_block(data, where)
    payloads = []
    for member, payload in _payloads(ours, block, where):
        # The root of a layout is stored under its file's digest; the block's check covers it.
        if member.kind is not Kind.LAYOUT and object_id(member.kind, payload) != member.id:
            raise CorruptObject(
                f"{where}: the bytes of {member.id.hex()} do not match it; nothing of it was "
                "backed up",
                id=member.id.hex(),
                where=where,
            )
        if member.kind in INDEXED:
            payloads.append((member.kind, member.id, payload))
    return EncodedBlock(data, block.members, block.raw_size, block.bases), payloads


def _payloads(ours: Reading, block: Block, where: str) -> Iterator[tuple[Member, bytes]]:
    raw = raw_bytes(block, ours.load, where)
    ends = [0]
    for member in block.members:
        ends.append(ends[-1] + member.size)
    for member, (start, end) in zip(block.members, pairwise(ends), strict=True):
        yield member, raw[start:end]


# Everything else, in one transaction.


def _compare(ours: Reading, theirs: Reading) -> _Difference:
    found = _Difference()
    for name in COMPARED:
        changes = list(_changes(ours, theirs, name))
        if changes:
            found.rows[name] = changes
    mine, yours = set(ours.block_numbers()), set(theirs.block_numbers())
    found.new = sorted(mine - yours)
    found.gone = sorted(yours - mine)
    found.new_bytes = sum(
        info.stored for number in found.new if (info := ours.block_info(number)) is not None
    )
    found.suspect = sorted((_touched(found.rows) & mine) - set(found.new))
    return found


def _changes(ours: Reading, theirs: Reading, table: str) -> Iterator[_Change]:
    """The rows that differ, by walking both tables in step."""
    numbered = table in INTEGER_KEYED
    mine, yours = ours.rows(table), theirs.rows(table)
    left, right = next(mine, None), next(yours, None)
    while left is not None or right is not None:
        if left == right:
            left, right = next(mine, None), next(yours, None)
        elif right is None or (left is not None and _before(left[0], right[0], numbered)):
            assert left is not None
            yield _Change(left[0], left[1], None)
            left = next(mine, None)
        elif left is None or _before(right[0], left[0], numbered):
            yield _Change(right[0], None, right[1])
            right = next(yours, None)
        else:
            yield _Change(left[0], left[1], right[1])
            left, right = next(mine, None), next(yours, None)


def _before(one: bytes, other: bytes, numbered: bool) -> bool:
    if numbered:
        return tabling.read_number(one) < tabling.read_number(other)
    return one < other


def _touched(rows: dict[str, list[_Change]]) -> set[int]:
    """The blocks that rows say something new about: their bytes may differ under one number.

    A store that was taken back to an older state gives numbers again that an interrupted backup
    has already written.
    """
    touched: set[int] = set()
    for change in rows.get("objects", ()):
        if change.new is not None:
            row = tabling.read_object(change.new, change.key)
            if row.state is State.STORED:
                touched.add(row.block)
    for change in rows.get("blockinfo", ()):
        if _but_live(change.new) != _but_live(change.old):
            touched.add(tabling.read_number(change.key))
    return touched


def _but_live(info: bytes | None) -> bytes:
    return b"" if info is None else info[: _LIVE.start] + info[_LIVE.stop :]


def _apply(ours: Reading, theirs: Writing, found: _Difference, done: Mirrored) -> None:
    theirs.replace_rows("blocks", (), [tabling.number_key(number) for number in found.gone])
    for number in sorted({*found.new, *found.suspect}):
        data = ours.block(number)
        if data is None:
            raise CorruptObject(f"{block_place(number)} is missing", where=block_place(number))
        if data != theirs.block(number):
            try:
                _proved(ours, number, data)
            except CorruptObject:
                raise
            except CastoreError as error:
                raise CorruptObject(error.message, where=block_place(number)) from None
            theirs.replace_rows("blocks", [(tabling.number_key(number), data)])
            done.blocks += 1
            done.bytes += len(data)
    for name, changes in found.rows.items():
        theirs.replace_rows(
            name,
            [(change.key, change.new) for change in changes if change.new is not None],
            [change.key for change in changes if change.new is None],
        )
    done.rows += found.changed
    done.removed += len(found.gone)
