"""Deltas: blocks written by hand over one base, several, and chains of them; and hostile ones."""

from __future__ import annotations

import pytest
import zstandard

from castore.content import deltas
from castore.content.blocks import Block, Codec, Member, decode_block, encode_block
from castore.content.codecs import compress
from castore.content.encoder import encode_chunks, encode_metadata, encode_solid
from castore.content.reader import ObjectReader
from castore.errors import CorruptObject, InvalidInput, ObjectNotFound
from castore.model.artifact_set import Artifact, FileContent, encode_set, make_set
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.limits import CHUNK_MAX, KIB
from tests.content.memory_sink import MemorySink
from tests.content.samples import chunk, noise, prose


def put_plain(store: MemorySink, *datas: bytes) -> list[Id]:
    for block in encode_chunks([(content_id(data), data) for data in datas]):
        store.put(block.data)
    return [content_id(data) for data in datas]


def delta(bases: list[bytes], news: list[bytes], *, depth: int = 1) -> bytes:
    """A delta block of the new chunks against the old ones."""
    old, raw = b"".join(bases), b"".join(news)
    dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)
    return encode_block(
        Block(
            Codec.DELTA,
            False,
            depth,
            len(raw),
            tuple(content_id(base) for base in bases),
            tuple(chunk(new) for new in news),
            compressor.compress(raw),
        )
    )


def read(store: MemorySink, data: bytes) -> bytes:
    """A chunk as it is read in one go; with every base compared it is the same, or no error."""
    found = store.reader.payload(content_id(data), Kind.CHUNK)
    assert carefully(store, data) == found
    return found


def carefully(store: MemorySink, data: bytes) -> bytes:
    return ObjectReader(store.load).payload(content_id(data), Kind.CHUNK)


def test_a_delta_over_one_base() -> None:
    store = MemorySink()
    old = noise(100 * KIB)
    new = old[:50_000] + b"edited" + old[50_000:]
    put_plain(store, old)
    stored = delta([old], [new])
    assert len(stored) < 1000
    store.put(stored)
    assert read(store, new) == new


def test_a_delta_over_several_bases_with_several_members() -> None:
    store = MemorySink()
    olds = [noise(60 * KIB, str(seed)) for seed in range(7)]
    text = b"".join(olds)
    news = [text[300_000:400_000], b"x" + text[:200_000], text[100_000:150_000][::-1]]
    put_plain(store, *olds[:3])
    for block in encode_solid([(content_id(old), old) for old in olds[3:]]):
        store.put(block.data)
    store.put(delta(olds, news))
    for new in reversed(news):
        assert read(store, new) == new


def test_the_order_of_bases_counts() -> None:
    store = MemorySink()
    olds = [noise(40 * KIB, str(seed)) for seed in range(2)]
    put_plain(store, *olds)
    new = olds[1][1000:] + olds[0]
    good = decode_block(delta(olds, [new]), "")
    swapped = Block(good.codec, False, 1, good.raw_size, good.bases[::-1], good.members, good.frame)
    store.put(encode_block(swapped))
    with pytest.raises(CorruptObject):
        read(store, new)


@pytest.mark.parametrize("length", [1, 5, 128])
def test_a_chain(length: int) -> None:
    store = MemorySink()
    versions = [prose(50_000)]
    put_plain(store, versions[0])
    for depth in range(1, length + 1):
        old = versions[-1]
        new = old[: 300 * depth] + b"<%d>" % depth + old[300 * depth :]
        store.put(delta([old], [new], depth=depth))
        versions.append(new)
    for version in (versions[-1], versions[length // 2], versions[0]):
        assert read(store, version) == version


def test_a_chain_whose_links_have_bases_at_many_depths() -> None:
    store = MemorySink()
    chunks = [noise(20 * KIB, str(seed)) for seed in range(6)]
    put_plain(store, *chunks)
    current = list(chunks)
    for depth in range(1, 13):
        place = depth % 6
        new = current[place][:9000] + b"%d" % depth + current[place][9000:]
        store.put(delta(current, [new], depth=depth))
        current[place] = new
    for data in current:
        assert read(store, data) == data


def test_every_base_is_loaded_a_bounded_number_of_times() -> None:
    store = MemorySink()
    loads: list[Id] = []
    whole_load = store.load

    def load(id: Id) -> deltas.StoredObject:
        loads.append(id)
        return whole_load(id)

    data = noise(30 * KIB)
    put_plain(store, data)
    for depth in range(1, 60):
        new = data + b"%d" % depth
        store.put(delta([data, data], [new], depth=depth))
        data = new
    stored = store.load(content_id(data))
    block = decode_block(stored.block, "top")
    assert deltas.raw_bytes(block, load, "top") == data
    assert len(loads) < 200


def test_a_missing_base_says_so() -> None:
    store = MemorySink()
    old, new = noise(30 * KIB), noise(30 * KIB)[5:]
    store.put(delta([old], [new]))
    with pytest.raises(ObjectNotFound):
        read(store, new)


def test_a_damaged_base_is_named() -> None:
    store = MemorySink()
    old = noise(30 * KIB)
    new = old[5:]
    [block] = encode_chunks([(content_id(old), old)])
    damaged = bytearray(block.data)
    damaged[-1] ^= 1
    number = store.put(bytes(damaged))
    store.put(delta([old], [new]))
    with pytest.raises(CorruptObject) as caught:
        read(store, new)
    assert caught.value.where == f"block {number}"
    assert caught.value.id == content_id(old).hex()


def test_depth_must_fall_so_loops_end() -> None:
    store = MemorySink()
    one, two = noise(30 * KIB, "1"), noise(30 * KIB, "2")
    store.put(delta([two], [one], depth=3))
    store.put(delta([one], [two], depth=3))
    with pytest.raises(CorruptObject, match="shallower"):
        read(store, one)


def test_a_delta_over_itself_is_refused() -> None:
    store = MemorySink()
    data = noise(30 * KIB)
    store.put(delta([data], [data]))
    with pytest.raises(CorruptObject, match="shallower"):
        read(store, data)


def test_a_base_that_is_no_chunk_is_refused() -> None:
    store = MemorySink()
    old, new = noise(30 * KIB), noise(30 * KIB)[9:]
    put_plain(store, old)
    store.put(delta([old], [new]))
    kind, number, slot = store.rows[content_id(old)]
    assert kind is Kind.CHUNK
    store.rows[content_id(old)] = (Kind.TREE, number, slot)
    with pytest.raises(CorruptObject, match="is a tree"):
        read(store, new)


def test_a_base_row_that_points_elsewhere_is_found() -> None:
    store = MemorySink()
    old, other, new = noise(30 * KIB), noise(30 * KIB, "o"), noise(30 * KIB)[9:]
    put_plain(store, old, other)
    store.put(delta([old], [new]))
    store.rows[content_id(old)] = store.rows[content_id(other)]
    with pytest.raises(CorruptObject, match="is not"):
        read(store, new)


def test_a_dictionary_has_a_bound() -> None:
    store = MemorySink()
    olds = [bytes([seed]) * CHUNK_MAX for seed in range(33)]
    put_plain(store, *olds)
    new = olds[0][:-1]
    store.put(delta(olds, [new]))
    with pytest.raises(CorruptObject, match="dictionary"):
        read(store, new)


def test_the_work_for_one_object_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "CHAIN_WORK_BYTES", 1 << 20)
    store = MemorySink()
    data = noise(100 * KIB)
    put_plain(store, data)
    for depth in range(1, 20):
        new = data[:-1] + b"%d" % depth
        store.put(delta([data], [new], depth=depth))
        data = new
    with pytest.raises(CorruptObject, match="work"):
        carefully(store, data)


def test_bases_in_all_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "CHAIN_BLOCKS", 1000)
    store = MemorySink()
    small = [b"%d" % n for n in range(1000)]
    for block in encode_solid([(content_id(data), data) for data in small]):
        store.put(block.data)
    middle = [b"one", b"two"]
    store.put(delta(small[:500], middle[:1]))
    store.put(delta(small[500:], middle[1:]))
    top = b"top"
    store.put(delta(middle, [top], depth=2))
    assert read(store, middle[0]) == middle[0]
    with pytest.raises(CorruptObject, match="bases in all"):
        # Another reader: what is kept is not counted.
        ObjectReader(store.load).payload(content_id(top), Kind.CHUNK)


def test_a_frame_written_without_its_dictionary_is_not_believed() -> None:
    store = MemorySink()
    old, new = noise(30 * KIB), prose(30 * KIB)
    put_plain(store, old)
    block = Block(
        Codec.DELTA, False, 1, len(new), (content_id(old),), (chunk(new),), compress(new)[:-3]
    )
    store.put(encode_block(block))
    with pytest.raises(CorruptObject):
        read(store, new)


def some_set(count: int, changed: int = -1) -> bytes:
    """An encoded set of `count` files; the one at place `changed` differs."""
    files = [content_id(b"%d%d" % (at, at == changed)) for at in range(count)]
    return encode_set(
        make_set(
            Artifact(f"file {at}", "document", "text", f"f{at}", FileContent(digest, 9))
            for at, digest in enumerate(files)
        )
    )


def set_delta(base: bytes, base_id: Id, new: bytes) -> bytes:
    """A metadata delta of one set against another object."""
    dictionary = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame = zstandard.ZstdCompressor(dict_data=dictionary).compress(new)
    member = Member(object_id(Kind.SET, new), Kind.SET, len(new))
    return encode_block(Block(Codec.DELTA, True, 1, len(new), (base_id,), (member,), frame))


def test_a_set_may_be_a_delta_against_the_set_before() -> None:
    store = MemorySink()
    old, new = some_set(100), some_set(100, changed=50)
    for block in encode_metadata([(Kind.SET, object_id(Kind.SET, old), old)]):
        store.put(block.data)
    stored = set_delta(old, object_id(Kind.SET, old), new)
    assert len(stored) < 300
    store.put(stored)
    assert store.reader.payload(object_id(Kind.SET, new), Kind.SET) == new


def test_a_metadata_delta_against_content_is_refused() -> None:
    store = MemorySink()
    old, new = some_set(100), some_set(100, changed=50)
    store.put(encode_chunks([(content_id(old), old)])[0].data)
    store.put(set_delta(old, content_id(old), new))
    with pytest.raises(CorruptObject, match="is a chunk"):
        store.reader.payload(object_id(Kind.SET, new), Kind.SET)


@pytest.mark.parametrize("kind", [Kind.MANIFEST, Kind.NOTE])
def test_history_is_never_compressed(kind: Kind) -> None:
    member = Member(content_id(b""), kind, 0)
    with pytest.raises(InvalidInput, match="under codec"):
        encode_block(Block(Codec.ZSTD, True, 0, 0, (), (member,), compress(b"")))


@pytest.mark.parametrize(("depth", "readable"), [(4, True), (5, False)])
def test_a_base_that_was_plain_when_it_was_found_may_be_a_delta(depth: int, readable: bool) -> None:
    """Repacking moved it between two look-ups: less deep than what rests on it, or it is damage."""
    store = MemorySink()
    bottom, moved, top = (noise(40 * KIB) + b"edit" * edit for edit in range(3))
    put_plain(store, bottom, moved)
    store.put(delta([moved], [top], depth=5))
    looked: list[Id] = []

    def load(id: Id) -> deltas.StoredObject:
        looked.append(id)
        if looked.count(content_id(moved)) == 2:
            del store.rows[content_id(moved)]
            store.put(delta([bottom], [moved], depth=depth))
        return store.load(id)

    reader = ObjectReader(load)
    if readable:
        assert reader.payload(content_id(top), Kind.CHUNK) == top
    else:
        with pytest.raises(CorruptObject, match="not shallower"):
            reader.payload(content_id(top), Kind.CHUNK)
    assert looked.count(content_id(moved)) >= 2
