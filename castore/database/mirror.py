"""Bringing a backup up to date: only what is new crosses over, content before what refers to it.

Blocks are never changed under their number, so a block with a number the backup has is not read
again, unless a row about it differs. First come new blocks, each with the rows of its members, in
transactions of some MiB: after a crash the backup is what it was, plus objects that nothing refers
to yet, and blocks that nothing lies in yet. Then one transaction makes every row what it is in one
view of the store, refs included.

That one cannot be cut: what is taken away (rows of `objects`, `blockinfo` and `lookup`) follows
from refs that are as yet in the backup, and each of these rows from the others. Of it, this program
holds some thousands of rows at a time, and a bit for each block that a row says something new
about; what LMDB keeps of it until the end are the pages that change, for some 128,000 of them
before it writes the first ones, and a table of the pages that become free, 8 bytes each. Blocks
come in it as well: up to 64 MiB of the newest, and those whose base is new and lies in a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Final, TypeVar

from castore.content.blocks import Block, Member, decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.sink import EncodedBlock
from castore.database import tables as tabling
from castore.database.copying import replace_file
from castore.database.datafile import DATA_FILE
from castore.database.derive import INDEXED
from castore.database.differences import COMPARED, Change, Fate, Touched, changes, fates
from castore.database.environment import CARRIED_FILES, Database
from castore.database.failures import room_fix, writing_copy
from castore.database.headslog import append_head
from castore.database.reading import Reading
from castore.database.rebuild import block_info
from castore.database.tables import NEXT_BLOCK_KEY
from castore.database.writing import Payload, Writing
from castore.errors import (
    CastoreError,
    Conflict,
    CorruptObject,
    InvalidInput,
    ObjectNotFound,
    StoreFull,
)
from castore.model.ids import Kind, object_id
from castore.model.limits import MIB

Result = TypeVar("Result")

_SLICE_BYTES: Final = 16 * MIB
# Of rows that differ, and of block numbers, that are held in memory.
_STEP_ROWS: Final = 10_000
_STEP_BYTES: Final = 4 * MIB
# What may come along in the last transaction, and how often that is tried to be kept small.
_LAST_BYTES: Final = 64 * MIB
_ROUNDS: Final = 16

Numbered = tuple[int, bytes]


@dataclass(slots=True)
class Mirrored:
    """What crossed over, or would: new blocks and their bytes, rows that changed, blocks gone."""

    blocks: int = 0
    bytes: int = 0
    rows: int = 0
    removed: int = 0
    sequence: int = 0


def difference(source: Database, backup: Database) -> Mirrored:
    """What `mirror` would do, by reading both; raises Conflict as it does."""

    _check_same(source, backup)

    def compare(ours: Reading, theirs: Reading) -> Mirrored:
        _check_follows(ours, theirs, backup)
        done = Mirrored(sequence=ours.last_sequence())
        for table in COMPARED:
            done.rows += sum(1 for _ in changes(ours, theirs, table))
        for number, fate in fates(ours, theirs, Touched()):
            if fate is Fate.GONE:
                done.removed += 1
            else:
                info = ours.block_info(number)
                done.blocks += 1
                done.bytes += info.stored if info is not None else 0
        return done

    return source.read(lambda ours: backup.read(lambda theirs: compare(ours, theirs)))


def mirror(source: Database, backup: Database) -> Mirrored:
    """Make `backup`, an older copy of the store `source`, what the store is now.

    Every block is decoded and compared with its ids before it is written. Memory does not grow
    with what is new; with the pages of rows that changed it does, to some 600 MiB (see above).
    Raises Conflict for a backup that has what the store has not, CorruptObject for a damaged
    store, StoreFull for the disk of the backup.
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
        _apply(ours, theirs, done)
        done.sequence = theirs.last_sequence()

    source.read(
        lambda ours: _write(backup, lambda theirs: finish(ours, theirs), room=_LAST_BYTES // 4)
    )
    last = backup.read(lambda theirs: theirs.last_operation())
    with writing_copy(backup.folder, f"{DATA_FILE} is up to date, not all files beside it are"):
        if last is not None:
            append_head(backup.folder, last.sequence, last.hash)
        for name in CARRIED_FILES:
            replace_file(source.folder / name, backup.folder / name)
    return done


def _write(backup: Database, fn: Callable[[Writing], Result], *, room: int) -> Result:
    try:
        return backup.write(fn, room=room)
    except StoreFull as error:
        raise StoreFull(
            f"{error.message}; the backup is whole, and older than the store",
            fix=f"{room_fix(backup.folder, 'free space on that disk')}, then try again",
        ) from None


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
        taken = _write(backup, lambda theirs, batch=batch: _put(theirs, batch), room=size)  # type: ignore[misc]
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
            if theirs.put_blocks([block], payloads) or _put_apart(theirs, number, block):
                kept.append(block.size)
        except (ObjectNotFound, InvalidInput):
            # Its base lies in a later block, or the purge of a member is not known there yet:
            # it comes with all rows at the end.
            continue
    return kept


def _put_apart(theirs: Writing, number: int, block: EncodedBlock) -> bool:
    """Store a block whose members all lie elsewhere as yet; False if one of its bases is absent.

    A store that was packed anew has many: they are not to come all in the last transaction.
    """
    if len(theirs.present(block.bases)) < len(set(block.bases)):
        return False
    key = tabling.number_key(number)
    theirs.replace_rows("blocks", [(key, block.data)])
    found = decode_block(block.data, block_place(number))
    theirs.put_block_info(number, block_info(theirs, number, found, len(block.data)))
    theirs.set_integer(NEXT_BLOCK_KEY.decode(), number + 1)
    return True


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


def _apply(ours: Reading, theirs: Writing, done: Mirrored) -> None:
    touched = Touched()
    for table in COMPARED:
        _apply_rows(ours, theirs, table, touched, done)
    start = 0
    # No walk goes on over what was written: each begins anew behind the last.
    while found := list(islice(fates(ours, theirs, touched, start), _STEP_ROWS)):
        start = found[-1][0] + 1
        for number, fate in found:
            if fate is Fate.GONE:
                theirs.replace_rows("blocks", (), [tabling.number_key(number)])
                done.removed += 1
            else:
                _apply_block(ours, theirs, number, done)


def _apply_rows(
    ours: Reading, theirs: Writing, table: str, touched: Touched, done: Mirrored
) -> None:
    start = b""
    while found := _some(changes(ours, theirs, table, start)):
        for change in found:
            touched.note(table, change)
        theirs.replace_rows(
            table,
            [(change.key, change.new) for change in found if change.new is not None],
            [change.key for change in found if change.new is None],
        )
        done.rows += len(found)
        start = found[-1].key


def _some(unlike: Iterator[Change]) -> list[Change]:
    """The first of these, as many as may be held in memory."""
    found, size = [], 0
    for change in unlike:
        found.append(change)
        size += len(change.new or b"")
        if len(found) == _STEP_ROWS or size >= _STEP_BYTES:
            break
    return found


def _apply_block(ours: Reading, theirs: Writing, number: int, done: Mirrored) -> None:
    data = ours.block(number)
    if data is None:
        raise CorruptObject(f"{block_place(number)} is missing", where=block_place(number))
    if data == theirs.block(number):
        return
    try:
        _proved(ours, number, data)
    except CorruptObject:
        raise
    except CastoreError as error:
        raise CorruptObject(error.message, where=block_place(number)) from None
    theirs.replace_rows("blocks", [(tabling.number_key(number), data)])
    done.blocks += 1
    done.bytes += len(data)
