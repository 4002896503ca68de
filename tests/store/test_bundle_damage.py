"""Bundles that are damaged or made to harm: refused by name, no ref moved, the store sound."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import castore
from castore.content.blocks import Block, Codec, Member, encode_block
from castore.content.codecs import compress
from castore.errors import CastoreError, CorruptObject, UnsupportedFormat
from castore.model.artifact_set import FileContent, TreeContent
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.manifest import Manifest
from castore.model.pages import Part, encode_layout
from castore.remote.bundle import HEADER, PART, BundleFile, Needed, PartType, head_id
from castore.remote.root import Removed, Seal
from tests.store.bundling import UUID, Object, chunk, like, set_of, write
from tests.store.syncing import commit, refs, sound

FLIPS = 600


@pytest.fixture
def scene(store: castore.Store, tmp_path: Path) -> tuple[bytes, Path, dict[str, bytes]]:
    """The bytes of a bundle, a store that lacks what is in it, and where its branches are."""
    dice = Random(3)
    text = b" ".join(bytes(dice.choices(b"abcdefgh", k=9)) for _ in range(400))
    commit(store, "out", text=text)
    store.create_bundle(tmp_path / "first")
    castore.from_bundle(tmp_path / "first", tmp_path / "copy").close()
    commit(store, "out", text=text[:50] + b"edited" + text[60:], more=b"m" * 3000)
    commit(store, "two", wide=dice.randbytes(300_000))
    store.approve("out", by="ana")
    store.create_bundle(tmp_path / "whole")
    return (tmp_path / "whole").read_bytes(), tmp_path / "copy" / ".cas", refs(store)


def fresh(home: Path) -> Path:
    """A copy of a store."""
    folder = home.parent.with_name("tried")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home, folder / ".cas")
    return folder


def imported(data: bytes, folder: Path, wanted: dict[str, bytes]) -> bool:
    """Whether a store takes a bundle in; else it is refused and no ref has moved."""
    path = folder.with_name("tried.bundle")
    path.write_bytes(data)
    with castore.open(folder) as store:
        before = refs(store, "")
        try:
            store.import_bundle(path)
        except (CorruptObject, UnsupportedFormat):
            assert refs(store, "") == before
            return False
        assert refs(store) == wanted
        sound(store)
        return True


def refused(data: bytes, path: Path) -> bool:
    """Whether verification finds something wrong."""
    path.write_bytes(data)
    try:
        return not castore.verify_bundle(path).ok
    except UnsupportedFormat:
        return True


def test_a_flipped_bit_anywhere_is_refused(
    scene: tuple[bytes, Path, dict[str, bytes]], tmp_path: Path
) -> None:
    whole, home, wanted = scene
    assert imported(whole, fresh(home), wanted)
    assert not refused(whole, tmp_path / "x")
    folder = fresh(home)
    dice = Random(1)
    ends = [*range(HEADER.size + PART.size), *range(len(whole) - 300, len(whole))]
    places = [*ends, *(dice.randrange(len(whole)) for _ in range(FLIPS - len(ends)))]
    assert len(places) >= 500
    for at in places:
        data = bytearray(whole)
        data[at] ^= 1 << dice.randrange(8)
        assert not imported(bytes(data), folder, wanted), at
        assert refused(bytes(data), tmp_path / "x"), at
    with castore.open(folder) as store:
        sound(store)
    assert imported(whole, folder, wanted)


def test_findings_say_once_what_they_are_about(
    scene: tuple[bytes, Path, dict[str, bytes]], tmp_path: Path
) -> None:
    whole, lines = scene[0], []
    for at in range(600, len(whole), len(whole) // 20):
        data = bytearray(whole)
        data[at] ^= 1
        (tmp_path / "x").write_bytes(data)
        lines += castore.verify_bundle(tmp_path / "x").report.lines()
    assert any(line.startswith("pack ") for line in lines)
    for line in lines:
        words = re.findall(r"[0-9a-f]{64}", line)
        assert len(words) == len(set(words)), line
        assert not re.search(r"\b[0-9]{9,}\b", line), line


def test_one_that_was_cut_or_goes_on_is_refused(
    scene: tuple[bytes, Path, dict[str, bytes]], tmp_path: Path
) -> None:
    whole, home, wanted = scene
    folder = fresh(home)
    dice = Random(2)
    cuts = [0, 1, 31, 32, 33, 79, 80, len(whole) - 1]
    cuts += [dice.randrange(len(whole)) for _ in range(60)]
    for at in cuts:
        assert not imported(whole[:at], folder, wanted), at
        assert refused(whole[:at], tmp_path / "x"), at
    for more in (b"\0", whole, bytes(100)):
        assert not imported(whole + more, folder, wanted)
        assert refused(whole + more, tmp_path / "x")


def test_parts_that_are_left_out_moved_or_doubled_are_refused_or_harmless(
    scene: tuple[bytes, Path, dict[str, bytes]], tmp_path: Path
) -> None:
    whole, home, wanted = scene
    (tmp_path / "x").write_bytes(whole)
    with BundleFile(tmp_path / "x") as bundle:
        spans = [whole[p.offset - PART.size : p.offset + p.size] for p in bundle.parts]
    head, *_ = spans[-1:]
    begin, parts = whole[: HEADER.size], spans[:-1]
    folder = fresh(home)
    for at, part in enumerate(parts):
        rest = parts[:at] + parts[at + 1 :]
        assert not imported(begin + b"".join([*rest, head]), folder, wanted)
        doubled = begin + b"".join([*parts, part, head])
        assert not imported(doubled, folder, wanted)
        assert refused(doubled, tmp_path / "x")
        odd = PART.pack(PartType.PACK, bytes(7), 4, content_id(b"else")) + b"else"
        assert not imported(begin + b"".join([*parts, odd, head]), folder, wanted)
    assert not imported(begin + b"".join([*parts, head, head]), folder, wanted)
    assert imported(begin + b"".join([*reversed(parts), head]), folder, wanted)


def test_a_bundle_of_a_newer_format_says_so(
    scene: tuple[bytes, Path, dict[str, bytes]], tmp_path: Path
) -> None:
    whole, _, _ = scene
    for at in (8, 10):
        data = bytearray(whole)
        data[at] = 2
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(UnsupportedFormat):
            castore.read_bundle(tmp_path / "x")


def test_sizes_that_are_claimed_take_no_memory(tmp_path: Path) -> None:
    begin = HEADER.pack(bytes.fromhex("89434153 42440d0a"), 1, 0, 0, 0, UUID)
    for type in PartType:
        for size in (0, 1, 1 << 20, 1 << 40, (1 << 64) - 1):
            part = PART.pack(type, bytes(7), size, bytes(32))
            (tmp_path / "x").write_bytes(begin + part)
            with pytest.raises(CorruptObject):
                castore.read_bundle(tmp_path / "x")
    data = b"\xdd\xff\xff\xff\xff" * 9
    part = PART.pack(PartType.HEAD, bytes(7), len(data), head_id(data))
    (tmp_path / "x").write_bytes(begin + part + data)
    with pytest.raises(CorruptObject):
        castore.read_bundle(tmp_path / "x")


@pytest.fixture
def forged(store: castore.Store, tmp_path: Path) -> Callable[..., CastoreError]:
    """Makes a bundle of some objects; the error that taking it in ends with."""
    commit(store, "base", a=b"x")

    def forge(objects: list[Object], refs_: dict[str, Id], **more: object) -> CastoreError:
        path = tmp_path / "forged"
        write(path, store.database.project, objects, refs_, **more)  # type: ignore[arg-type]
        before = refs(store, "")
        with pytest.raises(CastoreError) as caught:
            store.import_bundle(path)
        assert refs(store, "") == before
        sound(store)
        return caught.value

    return forge


def base(store: castore.Store) -> Manifest:
    return store.version(refs(store)["heads/base"]).manifest


def version(store: castore.Store, content: FileContent | TreeContent) -> list[Object]:
    """A set of this content and a version of it."""
    made = set_of(content)
    return [made, like(base(store), made[1], branch="out")]


def file_of(data: bytes, size: int = -1) -> FileContent:
    return FileContent(content_id(data), len(data) if size < 0 else size, 0)


Forged = Callable[..., CastoreError]


def test_a_forged_bundle_that_is_right_is_taken_in(store: castore.Store, tmp_path: Path) -> None:
    commit(store, "base", a=b"x")
    objects = [chunk(b"hello"), *version(store, file_of(b"hello"))]
    tip = objects[-1][1]
    path = write(tmp_path / "x", store.database.project, objects, {"heads/out": tip})
    assert castore.verify_bundle(path).ok
    store.import_bundle(path)
    assert store.read_bytes("out:a") == b"hello"
    sound(store)


def test_what_a_version_needs_must_be_there(store: castore.Store, forged: Forged) -> None:
    objects = version(store, file_of(b"hello"))
    assert "lacks" in forged(objects, {"heads/out": objects[-1][1]}).message
    made, tip = version(store, file_of(b"hello"))
    assert "lacks" in forged([chunk(b"hello"), tip], {"heads/out": tip[1]}).message
    assert "lacks" in forged([chunk(b"hello"), made], {"heads/out": tip[1]}).message


def test_sizes_must_be_those_of_files(store: castore.Store, forged: Forged, tmp_path: Path) -> None:
    part = Random(1).randbytes(20_000)
    digest = content_id(part + part)
    twice = _layout([(content_id(part), len(part))] * 2)
    objects = [chunk(part), (Kind.LAYOUT, digest, twice)]
    more = version(store, FileContent(digest, 7, 0))
    error = forged([*objects, *more], {"heads/out": more[-1][1]})
    assert "40000 bytes, not 7" in error.message
    assert not castore.verify_bundle(tmp_path / "forged").ok


def _layout(parts: list[tuple[Id, int]]) -> bytes:
    return encode_layout(0, [Part(*part) for part in parts])


def test_a_chunk_list_of_another_file_is_refused(
    store: castore.Store, forged: Forged, tmp_path: Path
) -> None:
    one, two = Random(1).randbytes(20_000), Random(2).randbytes(20_000)
    wrong = _layout([(content_id(one), len(one)), (content_id(one), len(one))])
    digest = content_id(one + two)
    more = version(store, FileContent(digest, 40_000, 0))
    objects = [chunk(one), chunk(two), (Kind.LAYOUT, digest, wrong), *more]
    assert "of another file" in forged(objects, {"heads/out": more[-1][1]}).message
    assert not castore.verify_bundle(tmp_path / "forged").ok


def test_numbers_follow_those_of_parents(
    store: castore.Store, forged: Forged, tmp_path: Path
) -> None:
    first = version(store, file_of(b"hello"))
    tip = like(base(store), first[0][1], branch="out", number=9, parents=(first[-1][1],))
    error = forged([chunk(b"hello"), *first, tip], {"heads/out": tip[1]})
    assert "has number 9" in error.message
    assert not castore.verify_bundle(tmp_path / "forged").ok


def test_a_ref_names_a_complete_version(store: castore.Store, forged: Forged) -> None:
    made = set_of(file_of(b"hello"))
    tip = like(base(store), made[1], branch="out", missing=("b",), state="partial", run="r")
    error = forged([chunk(b"hello"), made, tip], {"heads/out": tip[1]})
    assert "incomplete" in error.message
    error = forged([chunk(b"hello"), made, *version(store, file_of(b"hello"))], {
        "heads/out": made[1]
    })  # fmt: skip
    assert error.code == CorruptObject.code


def test_an_object_is_what_its_id_says(store: castore.Store, forged: Forged) -> None:
    tip = version(store, file_of(b"hello"))
    wrong = (Kind.CHUNK, content_id(b"hello"), b"HELLO")
    error = forged([wrong, *tip], {"heads/out": tip[-1][1]})
    assert "are wrong" in error.message
    bad = (Kind.MANIFEST, object_id(Kind.MANIFEST, b"\x81\xa1a\x01"), b"\x81\xa1a\x01")
    assert forged([bad], {"heads/out": bad[1]}).code == CorruptObject.code


@pytest.mark.parametrize("claimed", [1, 200_000, 8 << 20])
def test_blocks_that_claim_other_sizes_than_theirs_are_refused(
    store: castore.Store, forged: Forged, tmp_path: Path, claimed: int
) -> None:
    frame = compress(bytes(64 << 20))
    member = Member(content_id(b"hello"), Kind.CHUNK, claimed)
    block = Block(Codec.ZSTD, False, 0, claimed, (), (member,), frame)
    tip = version(store, file_of(b"hello"))
    try:
        data = encode_block(block)
    except CastoreError:
        data = b""
    if data:
        error = forged(tip, {"heads/out": tip[-1][1]}, blocks=[data])
        assert error.code == CorruptObject.code
        assert not castore.verify_bundle(tmp_path / "forged").ok


def test_the_same_part_twice_is_refused(store: castore.Store, forged: Forged) -> None:
    objects = [chunk(b"hello"), *version(store, file_of(b"hello"))]
    assert "twice" in forged(objects, {"heads/out": objects[-1][1]}, twice=True).message


def test_notes_must_be_those_that_are_told_of(store: castore.Store, forged: Forged) -> None:
    objects = [chunk(b"hello"), *version(store, file_of(b"hello"))]
    seal = Seal(3, bytes(32))
    error = forged(
        objects, {"heads/out": objects[-1][1]}, change=lambda root: replace(root, notes=seal)
    )
    assert "notes" in error.message


def test_a_removal_makes_nothing_go_that_is_here(store: castore.Store, tmp_path: Path) -> None:
    made = commit(store, "base", a=b"x")
    digest = content_id(b"x")
    removed = Removed(1, "eve", "", "gone")
    objects = [chunk(b"hello"), *version(store, file_of(b"hello"))]
    path = write(
        tmp_path / "x",
        store.database.project,
        objects,
        {"heads/out": objects[-1][1]},
        change=lambda root: replace(root, forgotten={made.id: removed}, purged={digest: removed}),
    )
    store.import_bundle(path)
    assert store.read_bytes("base:a") == b"x"
    sound(store)


def test_needs_that_are_no_versions_are_not_here(store: castore.Store, forged: Forged) -> None:
    tip = version(store, file_of(b"hello"))
    needs = [Needed(bytes(32), "out@v1\x1b[31m")]
    error = forged(tip, {"heads/out": tip[-1][1]}, needs=needs)
    assert "begins after" in error.message


def test_an_incomplete_one_after_something_is_refused_when_it_is_taken_in(
    store: castore.Store, forged: Forged, tmp_path: Path
) -> None:
    tip = version(store, file_of(b"hello"))
    needs = [Needed(refs(store)["heads/base"], "base@v1")]
    assert "lacks" in forged(tip, {"heads/out": tip[-1][1]}, needs=needs).message
    assert castore.verify_bundle(tmp_path / "forged").outside == 1


def test_a_file_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(CorruptObject, match="no bundle"):
        castore.read_bundle(tmp_path / "x")
    with pytest.raises(CastoreError, match="cannot be read"):
        castore.read_bundle(tmp_path / "absent")
    with pytest.raises(CastoreError, match="cannot be read"):
        castore.read_bundle(tmp_path)
