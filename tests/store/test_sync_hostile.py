"""Buckets that lie: each is refused by name, moves no ref, and leaves a whole store."""

from __future__ import annotations

import copy
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

import castore
from castore.content.blocks import Codec, Member
from castore.errors import CastoreError, CorruptObject, InvalidInput, RefMoved, UnsupportedFormat
from castore.model.encoding import decode, encode
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import BLOCK_RAW_BYTES, MIB, ROOT_BYTES
from castore.remote.keys import IDENTITY, ROOT, list_key
from castore.remote.memory import MemoryTransport
from castore.remote.root import IndexName, list_id, seal_notes
from castore.store.sync_clone import clone
from castore.store.sync_fetch import fetch
from castore.store.sync_pull import pull
from castore.store.sync_push import push
from tests.store.conftest import ticking
from tests.store.forging import UPLOAD, Forge, changed, closure, identity, packed
from tests.store.syncing import NAME, commit, copy_of, refs, sound

MEMORY = 80 * MIB
CHUNK = b"a line of text that is in one chunk\n" * 40


class Scene:
    """A store that has the first of two versions, and all that the second needs."""

    def __init__(self, store: castore.Store, folder: Path) -> None:
        between = MemoryTransport()
        commit(store, "out", text=b"the first")
        push(store, "earlier", between)
        self.project = store.database.project
        self.before = refs(store, "")
        self.store = store
        donor = copy_of(between, folder / "donor")
        inner = folder / "inner"
        inner.mkdir()
        (inner / "a").write_bytes(CHUNK)
        with donor.session(name="out") as session:
            session.add("text", CHUNK)
            session.add("wide", Random(1).randbytes(600_000))
            session.add("other", Random(2).randbytes(600_000))
            session.add("folder", inner)
            self.version = session.commit()
        self.id = self.version.id
        self.objects = closure(donor, self.id)
        self.chunk = object_id(Kind.CHUNK, CHUNK)
        kinds: dict[Kind, list[Id]] = {}
        for id, (kind, _) in sorted(self.objects.items()):
            kinds.setdefault(kind, []).append(id)
        self.kinds = kinds
        self.set = self.version.manifest.set
        self.files = kinds[Kind.LAYOUT]
        donor.close()

    def forge(self, *without: Id) -> Forge:
        """A bucket of what the second version needs, but for this."""
        made = Forge(self.project)
        made.objects({id: item for id, item in self.objects.items() if id not in without})
        return made

    def refs(self, id: Id = b"") -> dict[str, Id]:
        return {"heads/out": id or self.id}

    def payload(self, id: Id) -> bytes:
        return self.objects[id][1]

    def revised(self, forge: Forge, set_payload: bytes) -> dict[str, Id]:
        """A version whose set is this one; the refs that name it."""
        made = forge.object(Kind.SET, set_payload)
        return self.refs(forge.object(Kind.MANIFEST, changed(self.payload(self.id), set=made)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    """A scene, and the folder of its store, closed."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "store").mkdir()
    with castore.init(folder / "store", now=ticking()) as store:
        return Scene(store, folder), folder / "store"


@pytest.fixture
def scene(made: tuple[Scene, Path], tmp_path: Path) -> Iterator[Scene]:
    """The same with a store of its own."""
    shutil.copytree(made[1], tmp_path / "store")
    with castore.open(tmp_path / "store") as store:
        found = copy.copy(made[0])
        found.store = store
        yield found


def test_the_bucket_by_hand_is_one_that_can_be_fetched(scene: Scene) -> None:
    fetch(scene.store, NAME, scene.forge().bucket(scene.refs()))
    assert refs(scene.store, "remotes/")[f"remotes/{NAME}/out"] == scene.id
    assert scene.store.read_bytes(f"{scene.id.hex()}:text") == CHUNK
    sound(scene.store)


Lie = Callable[[Scene], MemoryTransport]
LIES: dict[str, tuple[Lie, type[CastoreError]]] = {}


def lie(error: type[CastoreError] = CorruptObject) -> Callable[[Lie], Lie]:
    def keep(made: Lie) -> Lie:
        LIES[made.__name__] = made, error
        return made

    return keep


# What root names


@lie()
def an_object_that_is_nowhere(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(b"x" * 32))


@lie()
def a_set_in_the_place_of_a_version(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(scene.set))


@lie()
def a_file_in_the_place_of_a_version(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(scene.chunk))


@lie()
def a_file_of_many_chunks_in_the_place_of_a_version(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(scene.files[0]))


@lie()
def an_incomplete_set_under_a_branch(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    incomplete = changed(scene.payload(scene.id), state="partial")
    return forge.bucket(scene.refs(forge.object(Kind.MANIFEST, incomplete)))


@lie()
def an_index_that_is_not_there(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(), indexes=(IndexName(UPLOAD, b"i" * 32, 1, 1, 1),))


@lie()
def no_index(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(), indexes=())


@lie()
def notes_that_are_withheld(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(), notes=seal_notes([b"n" * 32]))


@lie()
def what_a_set_needs_is_nowhere(scene: Scene) -> MemoryTransport:
    return scene.forge(scene.chunk).bucket(scene.refs())


@lie()
def a_page_of_a_file_is_nowhere(scene: Scene) -> MemoryTransport:
    return scene.forge(scene.files[0]).bucket(scene.refs())


@lie()
def a_branch_that_leads_out(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket({"heads/../../outside": scene.id})


@lie()
def a_branch_with_control_characters(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket({"heads/a\x1b[2Jb": scene.id})


# Objects that are not what they are said to be


def _instead(scene: Scene, id: Id, kind: Kind, payload: bytes) -> MemoryTransport:
    forge = scene.forge(id)
    forge.object(kind, payload, id)
    return forge.bucket(scene.refs())


@lie()
def other_bytes_under_the_id_of_a_version(scene: Scene) -> MemoryTransport:
    other = changed(scene.payload(scene.id), message="another")
    return _instead(scene, scene.id, Kind.MANIFEST, other)


@lie()
def other_bytes_under_the_id_of_a_set(scene: Scene) -> MemoryTransport:
    return _instead(scene, scene.set, Kind.SET, encode({"artifacts": [], "ext": {}}))


@lie()
def other_bytes_under_the_id_of_a_chunk(scene: Scene) -> MemoryTransport:
    return _instead(scene, scene.chunk, Kind.CHUNK, CHUNK[::-1])


@lie()
def a_set_that_is_said_to_be_a_chunk(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    forge.object(Kind.SET, CHUNK, scene.chunk, each_kind=Kind.CHUNK)
    return forge.bucket(scene.refs())


@lie()
def a_version_that_is_said_to_be_a_note(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.id)
    forge.object(Kind.MANIFEST, scene.payload(scene.id), scene.id, each_kind=Kind.NOTE)
    return forge.bucket(scene.refs(), notes=seal_notes([scene.id]))


@lie()
def a_tree_where_a_file_is_named(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    forge.object(Kind.TREE, scene.payload(scene.kinds[Kind.TREE][0]), scene.chunk)
    return forge.bucket(scene.refs())


@lie()
def the_chunk_list_of_another_file(scene: Scene) -> MemoryTransport:
    one, other = scene.files[:2]
    return _instead(scene, one, Kind.LAYOUT, scene.payload(other))


@lie()
def a_chunk_list_that_names_itself(scene: Scene) -> MemoryTransport:
    one = scene.files[0]
    payload = scene.payload(one)
    rows = decode(payload, limit=MIB)
    looped = encode({**rows, "level": 1, "parts": [[one, row[1]] for row in rows["parts"][:1]]}) \
        if "parts" in rows else payload[:-1] + b"\0"  # fmt: skip
    return _instead(scene, one, Kind.LAYOUT, looped)


@lie()
def a_name_that_leads_out(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    said = decode(scene.payload(scene.set), limit=MIB)
    said["artifacts"][0]["path"] = "../../outside"
    return forge.bucket(scene.revised(forge, encode(said)))


@lie()
def an_object_that_nests_without_end(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    nested = b"\x82\xa9artifacts" + b"\x91" * 100_000 + b"\x90\xa3ext\x80"
    return forge.bucket(scene.revised(forge, nested))


@lie()
def an_object_that_declares_billions_of_rows(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    return forge.bucket(scene.revised(forge, b"\x82\xa9artifacts\xdd\xff\xff\xff\xff\xa3ext\x80"))


# What an index tells


def _said(scene: Scene, id: Id, **said: object) -> MemoryTransport:
    forge = scene.forge(id)
    kind, payload = scene.objects[id]
    forge.object(kind, payload, id, **said)
    return forge.bucket(scene.refs())


@lie()
def a_block_behind_the_end_of_its_pack(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.chunk, offset=60 * MIB)


@lie()
def a_block_behind_the_end_of_any_pack(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.set, offset=1 << 63)


@lie()
def a_block_that_ends_behind_its_pack(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.chunk, stored=BLOCK_RAW_BYTES)


@lie()
def a_block_of_no_bytes(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.set, stored=0)


@lie()
def a_block_of_four_gigabytes(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.chunk, stored=(1 << 32) - 1)


@lie(CastoreError)
def a_block_that_begins_within_another(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.set, offset=40)


@lie()
def a_slot_that_a_block_has_not(scene: Scene) -> MemoryTransport:
    return _said(scene, scene.set, each_slot=9)


@lie()
def a_pack_that_is_not_there(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    bucket = forge.bucket(scene.refs())
    bucket.delete([item.key for item in bucket.list("packs/")])
    return bucket


# Blocks


@lie()
def a_bomb_that_tells_its_size(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    member = Member(scene.chunk, Kind.CHUNK, len(CHUNK))
    forge.block(Codec.ZSTD, [member], packed(bytes(1 << 28)))
    return forge.bucket(scene.refs())


@lie()
def a_bomb_that_does_not_tell_its_size(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    member = Member(scene.chunk, Kind.CHUNK, len(CHUNK))
    forge.block(Codec.ZSTD, [member], packed(bytes(1 << 28), sized=False))
    return forge.bucket(scene.refs())


@lie()
def a_frame_that_declares_a_terabyte(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.set)
    frame = bytearray(packed(bytes(1 << 20)))
    declared = bytes.fromhex("28b52ffd e0") + (1 << 40).to_bytes(8, "little") + bytes(frame[9:])
    forge.block(Codec.ZSTD, [Member(scene.set, Kind.SET, 200)], declared)
    return forge.bucket(scene.refs())


@lie()
def a_block_that_is_larger_than_any(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.set)
    size = 4 * BLOCK_RAW_BYTES
    forge.block(Codec.ZSTD, [Member(scene.set, Kind.SET, size)], packed(bytes(size)))
    return forge.bucket(scene.refs())


@lie()
def many_bombs(scene: Scene) -> MemoryTransport:
    """Each is as large as may be, of the right size and of wrong bytes; 2 GiB in all."""
    forge = scene.forge(scene.chunk)
    zeros = packed(bytes(BLOCK_RAW_BYTES))
    ids = [object_id(Kind.CHUNK, b"%d" % n) for n in range(32 * 256)]
    for at in range(0, len(ids), 32):
        members = [Member(id, Kind.CHUNK, BLOCK_RAW_BYTES // 32) for id in ids[at : at + 32]]
        forge.block(Codec.ZSTD, members, zeros)
    said = decode(scene.payload(scene.set), limit=MIB)
    content = {"digest": b"", "kind": "file", "mode": 0, "size": BLOCK_RAW_BYTES // 32}
    said["artifacts"] = [
        {
            "content": {**content, "digest": id},
            "format": "text", "name": f"n{n:05d}", "path": f"n{n:05d}", "type": "document",
        }
        for n, id in enumerate(ids)
    ]  # fmt: skip
    return forge.bucket(scene.revised(forge, encode(said)))


def _with_sizes(scene: Scene, more: int, kind: str) -> MemoryTransport:
    """A version whose set tells of another size of what it has of this kind."""
    forge = scene.forge()
    said = decode(scene.payload(scene.set), limit=MIB)
    for artifact in said["artifacts"]:
        if artifact["content"]["kind"] == kind:
            artifact["content"]["size"] += more
    return forge.bucket(scene.revised(forge, encode(said)))


@lie()
def a_file_that_is_said_to_be_longer(scene: Scene) -> MemoryTransport:
    return _with_sizes(scene, 1, "file")


@lie()
def a_file_that_is_said_to_be_shorter(scene: Scene) -> MemoryTransport:
    return _with_sizes(scene, -1, "file")


@lie()
def a_folder_that_is_said_to_be_bigger(scene: Scene) -> MemoryTransport:
    return _with_sizes(scene, 1, "tree")


@lie()
def deltas_that_rest_on_each_other(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    other = object_id(Kind.CHUNK, b"other")
    for id, base in ((scene.chunk, other), (other, scene.chunk)):
        member = Member(id, Kind.CHUNK, len(CHUNK))
        forge.block(Codec.DELTA, [member], packed(CHUNK), bases=(base,), depth=1)
    return forge.bucket(scene.refs())


@lie()
def a_delta_that_rests_on_itself(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    member = Member(scene.chunk, Kind.CHUNK, len(CHUNK))
    bases = (scene.chunk,)
    forge.block(Codec.DELTA, [member], packed(CHUNK), bases=bases, depth=1)
    return forge.bucket(scene.refs())


@lie()
def a_set_that_rests_on_itself(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.set)
    payload = scene.payload(scene.set)
    member = Member(scene.set, Kind.SET, len(payload))
    forge.block(Codec.DELTA, [member], packed(payload), bases=(scene.set,), depth=1)
    return forge.bucket(scene.refs())


@lie()
def a_chain_of_deltas_that_is_too_long(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    before = forge.object(Kind.CHUNK, b"the first of many")
    for depth in range(1, 200):
        last = depth == 199
        id = scene.chunk if last else object_id(Kind.CHUNK, b"%d" % depth)
        member = Member(id, Kind.CHUNK, len(CHUNK))
        forge.block(Codec.DELTA, [member], packed(CHUNK), bases=(before,), depth=depth)
        before = id
    return forge.bucket(scene.refs())


@lie()
def a_delta_whose_base_is_nowhere(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    member = Member(scene.chunk, Kind.CHUNK, len(CHUNK))
    forge.block(Codec.DELTA, [member], packed(CHUNK), bases=(b"x" * 32,), depth=1)
    return forge.bucket(scene.refs())


@lie()
def a_delta_of_content_that_rests_on_a_version(scene: Scene) -> MemoryTransport:
    forge = scene.forge(scene.chunk)
    member = Member(scene.chunk, Kind.CHUNK, len(CHUNK))
    forge.block(Codec.DELTA, [member], packed(CHUNK), bases=(scene.id,), depth=1)
    return forge.bucket(scene.refs())


# Root itself, and who the bucket says it is


@lie()
def a_root_that_nests_without_end(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    forge.put_root(b"\x81\xa8features" + b"\x91" * 1_000_000 + b"\x90")
    return forge.transport


@lie()
def a_root_that_declares_billions_of_refs(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    data = forge.bucket(scene.refs()).get(ROOT).data
    forge.put_root(data.replace(b"rows\x91\x92\xa9heads/out", b"rows\xdd\xff\xff\xff\xff"))
    return forge.transport


@lie()
def a_root_that_is_too_long(scene: Scene) -> MemoryTransport:
    forge = scene.forge()
    forge.put_root(bytes(ROOT_BYTES * 20))
    return forge.transport


def _paged(scene: Scene, key: str, rows: list[object], times: int) -> MemoryTransport:
    """A root with one page, many times."""
    bucket = scene.forge().bucket(scene.refs())
    page = encode({"rows": rows})
    bucket.put(list_key(UPLOAD, list_id(page)), page)
    value = decode(bucket.get(ROOT).data, limit=MIB)
    value[key] = {"lists": [[list_id(page), UPLOAD, len(rows)]] * times, "rows": []}
    bucket.put(ROOT, encode(value))
    return bucket


@lie()
def millions_of_refs(scene: Scene) -> MemoryTransport:
    rows: list[object] = [[f"heads/b{n:04d}", scene.id] for n in range(2000)]
    return _paged(scene, "refs", rows, 5000)


@lie()
def millions_of_tags_that_went(scene: Scene) -> MemoryTransport:
    return _paged(scene, "tombs", [f"tags/{'t' * 90}{n:04d}" for n in range(2000)], 5000)


@lie()
def millions_of_versions_that_were_forgotten(scene: Scene) -> MemoryTransport:
    rows: list[object] = [[b"%032d" % n, 1, "", "", ""] for n in range(2000)]
    return _paged(scene, "forgotten", rows, 5000)


@lie(InvalidInput)
def another_project(scene: Scene) -> MemoryTransport:
    return Forge(b"q" * 16).bucket({})


@lie()
def another_bucket_in_root(scene: Scene) -> MemoryTransport:
    return scene.forge().bucket(scene.refs(), uuid=b"z" * 16)


@lie(UnsupportedFormat)
def a_bucket_that_says_it_is_encrypted(scene: Scene) -> MemoryTransport:
    bucket = scene.forge().bucket(scene.refs())
    bucket.put(IDENTITY, identity(scene.project, encryption="age"))
    return bucket


@lie(UnsupportedFormat)
def a_bucket_of_a_later_format(scene: Scene) -> MemoryTransport:
    bucket = scene.forge().bucket(scene.refs())
    bucket.put(IDENTITY, identity(scene.project, castore=2))
    return bucket


@lie()
def who_it_is_nests_without_end(scene: Scene) -> MemoryTransport:
    bucket = scene.forge().bucket(scene.refs())
    bucket.put(IDENTITY, b"[" * 4000)
    return bucket


@lie(UnsupportedFormat)
def what_must_be_understood_and_is_not(scene: Scene) -> MemoryTransport:
    bucket = scene.forge().bucket(scene.refs())
    value = decode(bucket.get(ROOT).data, limit=MIB)
    value["features"] = {"optional": [], "read": ["lasers"], "write": []}
    bucket.put(ROOT, encode(value))
    return bucket


@pytest.mark.parametrize("what", LIES)
def test_a_bucket_that_lies_is_refused(scene: Scene, what: str) -> None:
    made, error = LIES[what]
    bucket = made(scene)
    tracemalloc.start()
    try:
        with pytest.raises(error) as caught:
            fetch(scene.store, NAME, bucket)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code in (2, 7, 8)
    assert caught.value.message.isprintable()
    assert refs(scene.store, "") == scene.before
    sound(scene.store)
    assert peak < MEMORY
    # What was stored before it was refused makes it no better.
    with pytest.raises(error):
        fetch(scene.store, NAME, bucket)
    assert refs(scene.store, "") == scene.before


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_said_of_a_folder_that_lies_here_is_compared(scene: Scene, more: int) -> None:
    fetch(scene.store, NAME, scene.forge().bucket(scene.refs()))
    forge = scene.forge()
    said = decode(scene.payload(scene.set), limit=MIB)
    for artifact in said["artifacts"]:
        artifact["name"] += "2"
        if artifact["content"]["kind"] == "tree":
            artifact["content"]["size"] += more
    made = forge.object(Kind.SET, encode(said))
    number = scene.version.manifest.number + 1
    later = changed(scene.payload(scene.id), set=made, parents=[scene.id], number=number)
    bucket = forge.bucket(scene.refs(forge.object(Kind.MANIFEST, later)))
    if more:
        with pytest.raises(CorruptObject, match="not what is said of it"):
            fetch(scene.store, "other", bucket)
    else:
        fetch(scene.store, "other", bucket)
    sound(scene.store)


@pytest.mark.parametrize("kind", [Kind.SET, Kind.CHUNK, Kind.NOTE])
@pytest.mark.parametrize("what", [Kind.SET, Kind.MANIFEST])
def test_a_kind_that_only_a_block_tells_wrongly_changes_nothing(
    scene: Scene, what: Kind, kind: Kind
) -> None:
    id = scene.set if what is Kind.SET else scene.id
    forge = scene.forge(id)
    forge.object(kind, scene.payload(id), id, each_kind=what)
    fetch(scene.store, NAME, forge.bucket(scene.refs()))
    assert scene.store.read_bytes(f"{scene.id.hex()}:text") == CHUNK
    sound(scene.store)


def test_a_clone_of_a_bucket_that_lies_has_no_branch(scene: Scene, tmp_path: Path) -> None:
    for what in ("other_bytes_under_the_id_of_a_chunk", "the_chunk_list_of_another_file"):
        folder = tmp_path / what
        with pytest.raises(CorruptObject):
            clone(
                LIES[what][0](scene), folder, now=ticking(), entropy=os.urandom,
                configure=lambda _: None,
            )  # fmt: skip
        with castore.open(folder) as made:
            assert refs(made, "") == {}
            sound(made)


def test_a_branch_that_was_replaced_by_another_line_stays_here(scene: Scene) -> None:
    """A bucket may say that a branch is elsewhere; here it goes on only where it comes after."""
    forge = scene.forge()
    parentless = changed(scene.payload(scene.id), parents=[], number=1)
    other = forge.object(Kind.MANIFEST, parentless)
    bucket = forge.bucket(scene.refs(other))
    with pytest.raises(RefMoved):
        pull(scene.store, NAME, bucket)
    assert refs(scene.store) == {"heads/out": scene.before["heads/out"]}
    sound(scene.store)


def test_a_root_that_goes_back_is_refused_by_a_fetch(scene: Scene) -> None:
    bucket = scene.forge().bucket(scene.refs())
    fetch(scene.store, NAME, bucket)
    before = refs(scene.store, "")
    bucket = scene.forge().bucket(scene.refs(), serial=6)
    with pytest.raises(CorruptObject, match="older"):
        fetch(scene.store, NAME, bucket)
    assert refs(scene.store, "") == before


def test_what_must_be_understood_to_write_stops_writers_only(scene: Scene) -> None:
    bucket = scene.forge().bucket(scene.refs(), features=("lasers",))
    fetch(scene.store, NAME, bucket)
    commit(scene.store, "mine", text=b"something")
    with pytest.raises(UnsupportedFormat, match="lasers"):
        push(scene.store, NAME, bucket, ["mine"])
