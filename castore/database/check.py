"""Structural checks of a store: rows against blocks, derived tables against a rebuild, the log.

Each slice is a view of its own, so that a check never keeps a reader for long. Writers may add
meanwhile: only blocks and operations that were there at the beginning are judged. A collector that
removed something meanwhile would confuse the counts; then the passes over the whole are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from castore.content.blocks import Block, decode_block
from castore.content.deltas import block_place
from castore.database import ancestry, derive, folded, indexes, relations
from castore.database.check_run import OnBlock, Pass, Problem, begin, in_view
from castore.database.datafile import HEADS_LOG
from castore.database.environment import Database
from castore.database.headslog import LINE_DAMAGED, is_spoilt
from castore.database.indexes import BRIEF, Index
from castore.database.operations import Operation
from castore.database.reading import Reading
from castore.database.rebuild import block_info, live_payloads, lying_here
from castore.database.tables import BlockInfo, ObjectRow, State
from castore.errors import CastoreError, CorruptObject
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import ID_BYTES, MIB
from castore.model.manifest import decode_manifest

_SLICE_BYTES: Final = 16 * MIB
_SLICE_ROWS: Final = 20_000
_SHOWN: Final = 100


def check_structure(
    database: Database,
    *,
    progress: Callable[[int], None] | None = None,
    on_block: OnBlock | None = None,
) -> Iterator[Problem]:
    """Everything wrong with the tables of a store; `progress` is told bytes of blocks done.

    Payloads of metadata are compared with their ids; content is not decoded, and no object is
    followed to what it needs: that is for `on_block`, and the store's to check.
    """
    run = database.read(begin)
    run.on_block = on_block
    yield from _check_blocks(database, run, progress)
    yield from _check_operations(database, run)
    yield from _check_heads(database, run)
    yield from in_view(database, run, _check_refs)
    if database.read(lambda reading: reading.gc_epoch()) == run.gc_epoch:
        yield from _check_objects(database, run)
        yield from _check_lookup(database, run)
        yield from in_view(database, run, _check_counts)


# Blocks, and everything that follows from them.


def _check_blocks(
    database: Database, run: Pass, progress: Callable[[int], None] | None
) -> Iterator[Problem]:
    start: int | None = 0
    while start is not None:
        begin = start

        def check(reading: Reading, begin: int = begin) -> tuple[int | None, int]:
            return _block_slice(reading, run, begin)

        start, done = database.read(check)
        if progress is not None:
            progress(done)
        yield from run.drain()


def _block_slice(reading: Reading, run: Pass, start: int) -> tuple[int | None, int]:
    done = 0
    for number, data in reading.blocks(start):
        if number >= run.next_block:
            break
        done += len(data)
        where = block_place(number)
        try:
            block = decode_block(data, where)
            if run.on_block is not None:
                run.on_block(number, block, reading.load)
            _check_block(reading, run, number, block, len(data))
        except CastoreError as error:
            run.add(where, error.message)
        if done >= _SLICE_BYTES:
            return number + 1, done
    return None, done


def _check_block(reading: Reading, run: Pass, number: int, block: Block, stored: int) -> None:
    where = block_place(number)
    rows = reading.object_numbers([member.id for member in block.members])
    run.live += len(lying_here(number, block, rows))
    own = reading.block_info(number)
    for slot, (member, row) in enumerate(zip(block.members, rows, strict=True)):
        if row is None or (row[3] == State.STORED and not _known(reading, row[0], number, own)):
            run.add("objects", f"no row for member {slot} of {where}, or a wrong one", member.id)
    for base in block.bases:
        if not reading.present((base,)):
            run.add(where, f"its base {base.hex()} is not stored", base)
    if own != block_info(reading, number, block, stored, rows):
        run.add("blockinfo", f"the row of {where} is not what a rebuild gives")
    for kind, id, payload in live_payloads(reading, number, block, run.kept):
        if object_id(kind, payload) != id:
            run.add(where, f"the bytes of {kind.name.lower()} {id.hex()} do not match it", id)
            continue
        _check_derived(reading, run, kind, id, payload)


def _known(reading: Reading, number: int, here: int, own: BlockInfo | None) -> bool:
    """Whether there is a row about a block; `own` is that of the block that is looked at."""
    return (own if number == here else reading.block_info(number)) is not None


def _check_derived(reading: Reading, run: Pass, kind: Kind, id: Id, payload: bytes) -> None:
    _check_rows(reading, run, kind, id, _derived(reading, kind, id, payload))
    if kind is Kind.MANIFEST:
        run.keys += 1
        manifest = decode_manifest(payload)
        _check_folded(reading, run, id, manifest.at)
        parent = manifest.parents[0] if manifest.parents else None
        above = reading.step(parent) if parent else None
        if above is not None and above.number != manifest.number - 1:
            run.add("manifest", f"number {manifest.number}, its parent has {above.number}", id)
        if reading.step(id) != ancestry.make_step(manifest.number, parent, reading.step):
            run.add("lookup", f"the jump pointer of {id.hex()} is not what a rebuild gives", id)


def _derived(reading: Reading, kind: Kind, id: Id, payload: bytes) -> set[bytes]:
    """Every key but JUMP that must be there because of an object."""
    keys = derive.lookup_keys(kind, id, payload, reading.indexes())
    if kind is Kind.MANIFEST:
        keys |= relations.rows_of_version(reading, id, decode_manifest(payload))
    return keys


def _check_folded(reading: Reading, run: Pass, id: Id, at: int) -> None:
    _check_rows(reading, run, Kind.MANIFEST, id, _folded_keys(reading, id, at))


def _check_rows(reading: Reading, run: Pass, kind: Kind, id: Id, keys: set[bytes]) -> None:
    run.keys += len(keys)
    for key in keys:
        if not reading.has_lookup(key):
            name = Index(key[0]).name.lower()
            run.add("lookup", f"a row {name} of {kind.name.lower()} {id.hex()} is missing", id)


def _folded_keys(reading: Reading, id: Id, at: int) -> set[bytes]:
    if reading.indexes() < folded.SINCE:
        return set()
    try:
        return folded.folded_keys(reading, id, at)
    except CastoreError:
        return set()  # A damaged note is reported with its block.


# Rows that lead to what is not there.


def _slices(
    database: Database, judge: Callable[[Reading, bytes], tuple[bytes, int]]
) -> Iterator[int]:
    """Run `judge` from key to key until it returns b"" for the next; yields what it counted."""
    start = b""
    while True:
        begin = start
        start, count = database.read(lambda reading, begin=begin: judge(reading, begin))  # type: ignore[misc]
        yield count
        if not start:
            return


def _check_objects(database: Database, run: Pass) -> Iterator[Problem]:
    def count(reading: Reading, start: bytes) -> tuple[bytes, int]:
        places, after = reading.places(start, _SLICE_ROWS)
        return after, sum(block < run.next_block for block, _ in places)

    def find(reading: Reading, start: bytes) -> tuple[bytes, int]:
        for seen, (id, row) in enumerate(reading.object_rows(start)):
            if seen == _SHOWN or len(run.problems) >= _SHOWN:
                return (b"" if len(run.problems) >= _SHOWN else id), 0
            if row.state is State.STORED and row.block < run.next_block:
                _check_place(reading, run, id, row)
        return b"", 0

    try:
        if sum(_slices(database, count)) != run.live:
            list(_slices(database, find))
    except CorruptObject as error:
        run.add("objects", error.message)
    yield from run.drain()


def _check_place(reading: Reading, run: Pass, id: Id, row: ObjectRow) -> None:
    where = block_place(row.block)
    data = reading.block(row.block)
    if data is None:
        run.add("objects", f"{id.hex()} should lie in {where}, which is missing", id)
        return
    try:
        members = decode_block(data, where).members
    except CastoreError as error:
        run.add("objects", f"{id.hex()} lies in a damaged block: {error.message}", id)
        return
    if row.slot >= len(members) or members[row.slot][:2] != (id, row.kind):
        run.add("objects", f"{id.hex()} is not member {row.slot} of {where}", id)


def _check_lookup(database: Database, run: Pass) -> Iterator[Problem]:
    def count(reading: Reading, start: bytes) -> tuple[bytes, int]:
        rows = 0
        for seen, (key, _) in enumerate(reading.lookup_rows(start)):
            if seen == _SLICE_ROWS:
                return key, rows
            rows += _is_judged(reading, run, key)
        return b"", rows

    def find(reading: Reading, start: bytes) -> tuple[bytes, int]:
        for seen, (key, _) in enumerate(reading.lookup_rows(start)):
            if seen == _SHOWN or len(run.problems) >= _SHOWN:
                return (b"" if len(run.problems) >= _SHOWN else key), 0
            if _is_judged(reading, run, key) and not _is_derived(reading, key):
                run.add("lookup", f"row {key.hex()} follows from nothing stored", _subject(key))
        return b"", 0

    try:
        rows = database.read(lambda reading: _all_rows(reading, run))
        if (sum(_slices(database, count)) if rows is None else rows) != run.keys:
            list(_slices(database, find))
    except CorruptObject as error:
        run.add("lookup", error.message)
    yield from run.drain()


def _all_rows(reading: Reading, run: Pass) -> int | None:
    """How many rows of `lookup` there are, where nothing was written since the check began."""
    now = begin(reading)
    quiet = (now.next_block, now.last_sequence) == (run.next_block, run.last_sequence)
    return reading.counts()["lookup"] if quiet else None


def _subject(key: bytes) -> Id:
    """The id a row leads to, if it is there in full."""
    return key[-ID_BYTES:] if len(key) > ID_BYTES else b""


def _objects_of(reading: Reading, key: bytes) -> list[Id]:
    """The objects a row may be about: one, but for those that tell only how the id begins."""
    if len(key) != indexes.BRIEF_BYTES or key[0] not in BRIEF:
        return [key[-ID_BYTES:]]
    return list(reading.alike(key[-indexes.BRIEF_ID_BYTES :], BRIEF[Index(key[0])]))


def _is_judged(reading: Reading, run: Pass, key: bytes) -> bool:
    """Whether a row is about something that was there when the check began."""
    if key[0] == Index.LOGGED:
        return indexes.read_sequence(key[-8:]) <= run.last_sequence
    found = [reading.object_row(id) for id in _objects_of(reading, key)]
    return not found or any(
        row is None or row.state is not State.STORED or row.block < run.next_block for row in found
    )


def _is_derived(reading: Reading, key: bytes) -> bool:
    if key[0] == Index.LOGGED:
        operation = reading.operation(indexes.read_sequence(key[-8:]))
        return operation is not None and key == _operation_key(operation)
    return any(_gives_rise(reading, id, key) for id in _objects_of(reading, key))


def _gives_rise(reading: Reading, id: Id, key: bytes) -> bool:
    row = reading.object_row(id)
    if row is None or row.state is not State.STORED:
        return False
    try:
        stored = reading.load(id)
        block = decode_block(stored.block, block_place(row.block))
        for kind, member, payload in live_payloads(reading, row.block, block):
            if member == id:
                if kind is Kind.MANIFEST and key[0] in folded.STATES:
                    return key in _folded_keys(reading, id, decode_manifest(payload).at)
                jump = kind is Kind.MANIFEST and key == indexes.lookup_jump(id)
                return jump or key in _derived(reading, kind, id, payload)
    except CastoreError:
        return True  # Reported with its block already.
    return False


# The operation log, refs and counts.


def _operation_key(operation: Operation) -> bytes:
    return indexes.operation_key(operation.op_id, operation.at, operation.sequence)


def _check_operations(database: Database, run: Pass) -> Iterator[Problem]:
    last: tuple[int, bytes] = (0, b"")
    while last[0] < run.last_sequence and not run.problems:
        begin = last

        def check(reading: Reading, begin: tuple[int, bytes] = begin) -> tuple[int, bytes]:
            return _operation_slice(reading, run, begin)

        try:
            last = database.read(check)
        except CorruptObject as error:
            run.add("ops", error.message)
    yield from run.drain()


def _operation_slice(reading: Reading, run: Pass, last: tuple[int, bytes]) -> tuple[int, bytes]:
    sequence, hash = last
    for seen, operation in enumerate(reading.operations_from(sequence + 1)):
        if seen == _SLICE_ROWS or operation.sequence > run.last_sequence:
            break
        if operation.sequence != sequence + 1:
            run.add("ops", f"operation {sequence + 1} is missing")
        elif operation.prev != hash:
            run.add(
                "ops",
                f"operation {operation.sequence} does not follow {sequence}: one was altered",
            )
        sequence, hash = operation.sequence, operation.hash
        if operation.op_id:
            run.keys += 1
            if not reading.has_lookup(_operation_key(operation)):
                run.add("lookup", f"the row of operation {operation.sequence} is missing")
    return sequence, hash


def _check_heads(database: Database, run: Pass) -> Iterator[Problem]:
    known: set[Id] = set()

    def every(reading: Reading) -> set[Id]:
        """The hashes of all operations, to know a line by whose number was damaged."""
        if not known:
            with suppress(CorruptObject):
                for one in reading.operations_from(1):
                    known.add(one.hash)
        return known

    def check(reading: Reading) -> None:
        for sequence, hash in heads:
            try:
                found = reading.operation(sequence)
            except CorruptObject:
                continue  # Reported with the chain.
            if found is not None and found.hash == hash:
                continue
            if (found is not None and is_spoilt(hash, found.hash)) or hash in every(reading):
                run.add(HEADS_LOG, f"the line of operation {sequence} {LINE_DAMAGED}")
            elif found is None:
                run.add(
                    HEADS_LOG,
                    f"operation {sequence} was acknowledged and is not in the database, which was "
                    "rolled back",
                )
            else:
                run.add(HEADS_LOG, f"operation {sequence} is not the one that was acknowledged")

    # Before the view: whatever is in the log then is in the database.
    heads = database.heads_log()
    database.read(check)
    yield from run.drain()


def _check_refs(reading: Reading, run: Pass) -> None:
    for name, id in reading.refs():
        if len(id) != ID_BYTES:
            run.add("refs", f"{name}: {len(id)} bytes are no id")
        elif reading.object_row(id) is None:
            run.add("refs", f"{name} names {id.hex()}, which is not known here", id)


def _check_counts(reading: Reading, run: Pass) -> None:
    counts = reading.counts()
    if counts["blocks"] != counts["blockinfo"]:
        run.add("blockinfo", f"{counts['blockinfo']} rows for {counts['blocks']} blocks")
