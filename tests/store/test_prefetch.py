"""What is fetched ahead is what the reader gives, and is compared with its digest as well."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

import castore
from castore.content.layouts import build_layout, iter_parts
from castore.errors import CorruptObject, ObjectNotFound
from castore.model.ids import Id, Kind, content_id
from castore.store.prefetch import BATCH_FILES, Prefetch
from tests.store.damage import alter_block_of, raw_block


@pytest.fixture
def files(store: castore.Store, tmp_path: Path) -> dict[str, bytes]:
    """Empty, small, equal, one-chunk and big files, more than one batch of them, committed."""
    dice = random.Random(4)
    same = dice.randbytes(500)
    made = {f"{n:04}": same if n % 7 == 0 else dice.randbytes(20) for n in range(BATCH_FILES + 40)}
    made |= {f"{100 + n:04}-big": dice.randbytes(n * 40_000) for n in range(20)}
    # Bigger than what is held as a whole, of chunks that repeat and chunks of their own.
    made["0200-bigger"] = (dice.randbytes(700_000) + b"the same line\n" * 30_000) * 6
    made |= {"0000-empty": b"", "0300-text": b"a line of text\n" * 100_000}
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, data in made.items():
        (folder / name).write_bytes(data)
    store.commit("all=mixed", name="mixed", cwd=tmp_path)
    return dict(sorted(made.items()))


def fetched(store: castore.Store, wanted: list[tuple[Id, int]]) -> list[bytes]:
    with closing(Prefetch(store.database, store.reader)) as prefetch:
        return [b"".join(pieces) for pieces in prefetch.read(wanted)]


def test_every_file_comes_in_order(store: castore.Store, files: dict[str, bytes]) -> None:
    wanted = [(content_id(data), len(data)) for data in files.values()]
    assert fetched(store, wanted) == list(files.values())
    assert fetched(store, wanted[::-1]) == list(files.values())[::-1]
    assert fetched(store, []) == []


def test_a_file_of_another_size_than_said_is_refused(
    store: castore.Store, files: dict[str, bytes]
) -> None:
    good = (content_id(files["0001"]), 20)
    for size in (0, 19, 21):
        with pytest.raises(CorruptObject, match=f"not {size}"):
            fetched(store, [good, (good[0], size)])


def test_a_file_that_is_not_there_is_said_to_be(
    store: castore.Store, files: dict[str, bytes]
) -> None:
    good = (content_id(files["0001"]), 20)
    with pytest.raises(ObjectNotFound):
        fetched(store, [good, (content_id(b"never stored"), 12)])


def test_an_altered_neighbour_is_noticed(
    store: castore.Store, files: dict[str, bytes], tmp_path: Path
) -> None:
    id = content_id(files["0001"])
    store.close()
    alter_block_of(store.folder, id)
    wanted = [(content_id(data), len(data)) for data in files.values()]
    with castore.open(tmp_path) as again, pytest.raises(CorruptObject):
        fetched(again, wanted)


@pytest.mark.parametrize("name", ["0115-big", "0200-bigger"])
def test_an_altered_chunk_of_a_big_file_is_told_of(
    store: castore.Store, files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    root = store.reader.layout_root(content_id(files[name]))
    assert root is not None
    parts = list(iter_parts(store.reader.layout_page, root))
    store.close()
    alter_block_of(store.folder, parts[len(parts) // 2].id)
    wanted = [(content_id(data), len(data)) for data in files.values()]
    with castore.open(tmp_path) as again, pytest.raises(CorruptObject) as raised:
        fetched(again, wanted)
    assert raised.value.where.startswith("block")


@pytest.mark.parametrize("size", [1_500_000, 6_000_000])
def test_a_layout_of_other_chunks_is_no_proof(
    store: castore.Store, tmp_path: Path, size: int
) -> None:
    data = random.Random(5).randbytes(size)
    (tmp_path / "big").write_bytes(data)
    store.commit("file=big", name="mixed", cwd=tmp_path)
    root = store.reader.layout_root(content_id(data))
    assert root is not None
    parts = list(iter_parts(store.reader.layout_page, root))
    other = content_id(b"what these chunks turned round are not")
    turned = raw_block(Kind.LAYOUT, [(other, build_layout(parts[::-1])[0])])
    store.database.write(lambda tables: tables.put_blocks([turned]))
    given: list[bytes] = []
    with closing(Prefetch(store.database, store.reader)) as prefetch:
        for pieces in prefetch.read([(content_id(data), size)]):
            given += map(bytes, pieces)
        assert b"".join(given) == data
        (pieces,) = prefetch.read([(other, size)])
        with pytest.raises(CorruptObject, match="are not its bytes"):
            list(pieces)
