"""Blocks, the rows of their members, states of objects, and prefixes of ids."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.content.blocks import block_head, decode_block
from castore.content.reader import ObjectReader
from castore.database import tables
from castore.database.environment import Database
from castore.database.rebuild import rebuild
from castore.database.tables import BlockInfo, ObjectRow, Removal, State
from castore.errors import CorruptObject, InvalidInput, ObjectNotFound
from castore.model.ids import Kind, content_id, object_id
from tests.database.material import (
    block_of,
    chunks,
    edit,
    manifest,
    payload_of,
    put,
    put_objects,
    tree,
)


def test_objects_come_back_as_they_were_put(database: Database) -> None:
    page = tree("a", "b")
    put(database, chunks(b"one", b"two"), block_of((Kind.TREE, page)))
    reader = ObjectReader(database.load)
    assert reader.payload(content_id(b"two"), Kind.CHUNK) == b"two"
    assert reader.tree_page(object_id(Kind.TREE, page)) == page
    row = database.read(lambda reading: reading.object_row(content_id(b"two")))
    assert row == ObjectRow(0, 1, Kind.CHUNK, State.STORED)


def test_members_that_are_stored_keep_their_place(database: Database) -> None:
    assert put(database, chunks(b"one", b"two"), chunks(b"two", b"three")) == 2
    assert put(database, chunks(b"one"), chunks(b"three", b"one")) == 0
    info = database.read(lambda reading: [info for _, info in reading.block_infos()])
    assert [(one.raw, one.live) for one in info] == [(6, 6), (8, 5)]
    row = database.read(lambda reading: reading.object_row(content_id(b"two")))
    assert row is not None
    assert row.block == 0


def test_block_numbers_are_never_used_again(database: Database) -> None:
    put(database, chunks(b"one"), chunks(b"two"))
    database.write(lambda writing: writing.drop_block(1))
    put(database, chunks(b"three"))
    assert database.read(lambda reading: list(reading.block_numbers())) == [0, 2]
    assert database.read(lambda reading: list(reading.block_numbers(1))) == [2]


def test_bases_are_noted_by_their_blocks(database: Database) -> None:
    put(database, chunks(b"one"), chunks(b"two"))
    bases = [content_id(b"two"), content_id(b"one")]
    put(database, block_of((Kind.CHUNK, b"three"), bases=bases))
    info = database.read(lambda reading: reading.block_info(2))
    assert info is not None
    assert info.bases == (0, 1)
    with pytest.raises(ObjectNotFound, match="base"):
        put(database, block_of((Kind.CHUNK, b"four"), bases=[content_id(b"absent")]))
    assert database.read(lambda reading: reading.counts())["blocks"] == 3


def test_absent_objects_say_why(database: Database) -> None:
    (id,) = put_objects(database, (Kind.CHUNK, b"one"))
    with pytest.raises(ObjectNotFound, match="no object"):
        database.load(b"\0" * 32)
    for state, words in [
        (State.PROMISED, "promised by a remote"),
        (State.LOST, "lost"),
        (State.PURGED, "purged"),
    ]:
        database.write(lambda writing, state=state: writing.set_state(id, Kind.CHUNK, state))
        with pytest.raises(ObjectNotFound, match=words):
            database.load(id)
        assert database.read(lambda reading: reading.present([id])) == set()
        infos = database.read(lambda reading: [info.live for _, info in reading.block_infos()])
        assert infos == [0] * len(infos)
        if state is not State.PURGED:
            put(database, chunks(b"one"))
            assert database.read(lambda reading: reading.present([id])) == {id}
    with pytest.raises(InvalidInput, match="purged"):
        put(database, chunks(b"one"))
    with pytest.raises(ValueError, match="put_blocks"):
        database.write(lambda writing: writing.set_state(id, Kind.CHUNK, State.STORED))


def test_a_purged_version_leaves_the_look_ups(database: Database) -> None:
    first = manifest()
    ids = put_objects(database, (Kind.MANIFEST, first))
    ids += put_objects(database, (Kind.MANIFEST, manifest(2, ids)))
    database.write(lambda writing: writing.set_state(ids[1], Kind.MANIFEST, State.PURGED))
    database.write(lambda writing: writing.set_state(ids[0], Kind.MANIFEST, State.PURGED))
    assert database.read(lambda reading: list(reading.lookup_rows())) == []


def test_a_row_without_its_block_is_corruption(database: Database) -> None:
    (id,) = put_objects(database, (Kind.CHUNK, b"one"))
    edit(database, "blocks", dict.clear)
    with pytest.raises(CorruptObject, match="which is missing") as caught:
        database.load(id)
    assert caught.value.id == id.hex()
    edit(database, "objects", lambda rows: rows.update({id: b"short"}))
    with pytest.raises(CorruptObject, match="malformed"):
        database.load(id)


def test_compressed_metadata_must_come_with_its_payload(database: Database) -> None:
    from castore.content.blocks import Block, Codec, Member, encode_block
    from castore.content.codecs import compress
    from castore.content.sink import EncodedBlock

    page = tree(*(f"name{n}" for n in range(300)))
    id = object_id(Kind.TREE, page)
    members = (Member(id, Kind.TREE, len(page)),)
    block = Block(Codec.ZSTD, True, 0, len(page), (), members, compress(page))
    encoded = EncodedBlock(encode_block(block), members, len(page), ())
    with pytest.raises(InvalidInput, match="must be given"):
        put(database, encoded)
    database.write(lambda writing: writing.put_blocks([encoded], [payload_of(Kind.TREE, page)]))
    held = database.read(lambda reading: list(reading.containers(content_id(b"0name7"))))
    assert held == [(id, Kind.TREE)]


@given(st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=40), st.data())
def test_prefixes_find_what_a_list_finds(datas: list[bytes], data: st.DataObject) -> None:
    import tempfile
    from pathlib import Path

    from tests.database.material import make_database

    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / ".cas")
        put(database, *(chunks(item) for item in datas))
        ids = sorted({content_id(item) for item in datas})
        prefix = data.draw(st.sampled_from(ids)).hex()[: data.draw(st.integers(1, 64))]
        limit = data.draw(st.integers(1, 5))
        expected = [(id, Kind.CHUNK) for id in ids if id.hex().startswith(prefix)][:limit]
        found = database.read(lambda reading: reading.ids_with_prefix(prefix, limit))
        assert found == expected
        assert database.read(lambda r: r.ids_with_prefix(prefix.upper(), limit)) == expected
        database.close()


@pytest.mark.parametrize("prefix", ["", "xyz", "ab cd", "0" * 65])
def test_prefixes_that_are_none_are_refused(database: Database, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="beginning of an id"):
        database.read(lambda reading: reading.ids_with_prefix(prefix, 5))


def test_counters_pins_uploads_and_removals(database: Database) -> None:
    id, removal = b"i" * 32, Removal(at=5, by="someone", why="asked", op="op-1")

    def transact(writing: tables.Any) -> None:
        assert writing.bump_generation() == 1
        assert writing.bump_generation() == 2
        assert writing.bump_gc_epoch() == 1
        writing.pin(id, "kept")
        writing.forget(id, removal)
        writing.record_purged(b"j" * 32, removal)
        writing.put_upload("origin", b"state")

    database.write(transact)
    with_read = database.read
    assert with_read(lambda reading: (reading.generation(), reading.gc_epoch())) == (3, 1)
    assert with_read(lambda reading: reading.pins()) == [(id, "kept")]
    assert with_read(lambda reading: reading.forgotten(id)) == removal
    assert with_read(lambda reading: reading.purged(id)) is None
    assert with_read(lambda reading: list(reading.removals("purged"))) == [(b"j" * 32, removal)]
    assert with_read(lambda reading: reading.upload("origin")) == b"state"
    assert database.write(lambda writing: writing.unpin(id))
    assert not database.write(lambda writing: writing.unpin(id))
    assert database.write(lambda writing: writing.drop_upload("origin"))
    with pytest.raises(ValueError, match="cannot be made again"):
        database.write(lambda writing: writing.clear("refs"))


def test_rows_survive_packing() -> None:
    dice = random.Random(1)
    for _ in range(200):
        kind, state = dice.choice(list(Kind)), dice.choice(list(State))
        row = ObjectRow(dice.getrandbits(64), dice.getrandbits(12), kind, state)
        assert tables.read_object(tables.pack_object(row), b"") == row
        bases = tuple(sorted(dice.getrandbits(64) for _ in range(dice.randrange(5))))
        info = BlockInfo(*(dice.getrandbits(32) for _ in range(3)), dice.random() < 0.5, bases)
        assert tables.read_block_info(tables.pack_block_info(info), 1) == info
    with pytest.raises(CorruptObject):
        tables.read_block_info(b"x" * 14, 1)
    with pytest.raises(CorruptObject):
        tables.read_integer(b"x", "generation")
    with pytest.raises(ValueError, match="16 bytes"):
        tables.stage_key(b"h", b"short")


def test_a_malformed_row_among_many_is_named(database: Database) -> None:
    put(database, chunks(b"one", b"two"), chunks(b"three"))
    id = content_id(b"two")
    edit(database, "objects", lambda rows: rows.update({id: b"\1\2\3"}))
    ids = [content_id(data) for data in (b"one", b"two", b"three")]
    for ask in (lambda r: r.object_numbers(ids), lambda r: r.places(b"", 10)):
        with pytest.raises(CorruptObject, match=id.hex()):
            database.read(ask)


def test_a_rebuild_names_an_object_that_is_not_what_its_id_says(database: Database) -> None:
    payload = tree("a", "b")
    put_objects(database, (Kind.TREE, payload))
    id = object_id(Kind.TREE, payload)

    def damage(rows: dict[bytes, bytes]) -> None:
        key = next(iter(rows))
        block = decode_block(rows[key], "")
        frame = block.frame.replace(b"a", b"b", 1)
        head = block_head(block.codec, True, 0, (), block.members, frame)
        rows[key] = head + frame

    edit(database, "blocks", damage)
    with pytest.raises(CorruptObject, match=id.hex()):
        database.write(rebuild)
