"""A repack hears of what others move: what rests on a chunk must never lie below it."""

from __future__ import annotations

import random
from functools import partial

import pytest

import castore
from castore.content.delta_encoder import Base, encode_delta
from castore.database.reading import ObjectRow, Reading
from castore.model.ids import Id, Kind, content_id
from castore.store.branches import delete_branch
from castore.store.repack_pending import Unit
from castore.store.repack_relations import Relations
from castore.store.repack_write import _TRIES, RepackWriter
from castore.store.verify import fsck
from tests.store.repackscene import text, without_deltas

BASE, CHANGED = text(0, 400), text(3, 400)
JUNK = random.Random(2).randbytes(40_000)


def row_of(store: castore.Store, id: Id) -> ObjectRow:
    row = store.database.read(lambda tables: tables.object_row(id))
    assert row is not None
    return row


@pytest.fixture
def moving(store: castore.Store) -> castore.Store:
    """A chunk that a delta rests on, in a block of which the most is dead."""
    with without_deltas(), store.session("one") as session:
        session.write("base", BASE)
        session.write("junk", JUNK)
        session.commit()
    for data in (BASE, CHANGED):
        with store.session("two") as session:
            session.write("base", data)
            session.commit()
    delete_branch(store, "one", by="test")
    return store


def related(store: castore.Store, relations: Relations) -> None:
    while store.database.read(relations.extend):
        pass


def test_what_rests_on_a_chunk_is_known_where_a_collection_moved_it(moving: castore.Store) -> None:
    base, changed = content_id(BASE), content_id(CHANGED)
    delta, before = row_of(moving, changed).block, row_of(moving, base).block
    relations = Relations()
    related(moving, relations)
    assert relations.above(before) == [delta]
    moving.gc(grace=0)
    after = row_of(moving, base).block
    assert after != before
    assert not moving.database.read(relations.holds)
    related(moving, relations)
    assert relations.above(after) == [delta]
    least = partial(Relations.least_above, relations, number=after, id=base)
    assert moving.database.read(least) == 1


@pytest.mark.parametrize("deaf", [False, True])
def test_a_chunk_is_not_put_below_what_rests_on_it(moving: castore.Store, deaf: bool) -> None:
    """As it was planned for the block that a collection gave the chunk meanwhile."""
    base, other = content_id(BASE), text(5, 400)
    relations = Relations()
    related(moving, relations)
    with without_deltas(), moving.session("three") as session:
        session.write("other", other)
        session.commit()
    moving.gc(grace=0)
    below = Base(content_id(other), other, 0)
    deeper = encode_delta([(Kind.CHUNK, base, BASE)], [below])
    assert deeper is not None
    stored = moving.database.load(base)
    unit = Unit((stored.block_number,), (deeper._replace(again=b""),), len(stored.block))
    if deaf:
        # What it knew before is taken to hold still: the test can tell.
        relations.moved(moving.database.read(Reading.gc_epoch))
    written = RepackWriter(moving.database, relations).write([unit])
    assert len(written) == deaf
    assert fsck(moving, full=True).ok is not deaf


def test_a_repack_gives_up_beside_what_always_moves(moving: castore.Store) -> None:
    class Restless(Relations):
        asked = 0

        def holds(self, tables: Reading) -> bool:
            self.asked += 1
            return False

    relations = Restless()
    unit = Unit((row_of(moving, content_id(BASE)).block,), (), 0)
    assert RepackWriter(moving.database, relations).write([unit]) == []
    assert relations.asked >= _TRIES
    assert fsck(moving, full=True).ok
