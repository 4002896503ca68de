"""Bundles: one file with sets, history, notes and signatures, between stores that share nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import castore
from castore.errors import (
    Conflict,
    InvalidInput,
    ObjectNotFound,
    RefMoved,
    RefNotFound,
    TagExists,
    WouldOverwrite,
)
from castore.remote.bundle import BundleFile, PartType
from castore.remote.memory import MemoryTransport
from castore.store.selectors import resolve_version
from castore.store.sync_push import push
from castore.store.tags import delete_tag
from tests.signing import know, needs_ssh, new_key
from tests.store.reviewing import put
from tests.store.syncing import NAME, commit, copy_of, members, refs, sound

TEXT = b"".join(b"row %d of a table that compresses\n" % row for row in range(9_000))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.bundle"


@pytest.fixture
def other(store: castore.Store, tmp_path: Path) -> Iterator[castore.Store]:
    """A store that has the first version of `out`."""
    commit(store, "out", a=b"one", big=TEXT)
    store.create_bundle(tmp_path / "first.bundle")
    with castore.from_bundle(tmp_path / "first.bundle", tmp_path / "other") as made:
        yield made


def said(store: castore.Store, rev: str) -> set[tuple[str, str]]:
    """Which notes a version has, and by whom."""
    notes = store.notes(resolve_version(store, rev))
    return {(note.subject, note.by) for note in notes.values()}


def whole(path: Path) -> None:
    """Nothing is wrong with a bundle."""
    assert list(castore.verify_bundle(path).report.lines()) == []


def test_a_store_made_of_a_bundle_has_all_and_the_same(
    store: castore.Store, file: Path, tmp_path: Path, out: Path
) -> None:
    commit(store, "out", a=b"one", big=TEXT, wide=Random(1).randbytes(400_000))
    commit(store, "out", a=b"two", big=TEXT[:70_000] + b"edit" + TEXT[70_000:])
    with store.session(name="folder") as session:
        session.add("all", out)
        session.commit()
    store.tag("first", "out~1")
    store.comment("out", "well", by="ana")
    store.approve("out@v2", by="bob")
    report = store.create_bundle(file, by="ana@example.org")
    assert (report.versions, report.notes, report.needs) == (3, 2, ())
    assert report.bytes == file.stat().st_size
    whole(file)
    with castore.from_bundle(file, tmp_path / "copy") as made:
        assert made.database.project == store.database.project
        assert made.database.uuid != store.database.uuid
        assert refs(made, "") == refs(store, "")
        assert made.read_bytes("out@v1:wide") == store.read_bytes("out@v1:wide")
        assert made.read_bytes("out:big") == store.read_bytes("out:big")
        assert made.read_bytes("folder:all/data/a.csv") == b"id,value\n1,2\n2,3\n"
        assert (
            said(made, "out@v2") == said(store, "out@v2") == {("review", "bob"), ("comment", "ana")}
        )
        sound(made)


def test_it_is_told_what_is_in_one(store: castore.Store, file: Path) -> None:
    version = commit(store, "out", a=b"one", big=TEXT)
    made = store.create_bundle(file, by="ana@example.org")
    found = castore.read_bundle(file)
    assert found.refs == {"heads/out": version.id}
    assert [(id, m.number) for id, m in found.versions] == [(version.id, 1)]
    assert (found.id, found.by, found.bytes) == (made.id, "ana@example.org", file.stat().st_size)
    assert found.project == store.database.project
    assert found.content_bytes > len(TEXT) > found.bytes


def test_only_what_the_refs_need_is_in_one(store: castore.Store, file: Path) -> None:
    commit(store, "open", a=b"shown to everybody " * 40, b=b"and this " * 40)
    commit(store, "secret", a=b"shown to nobody " * 40, b=b"nor this " * 40)
    store.comment("secret", "nor is this", by="ana")
    report = store.create_bundle(file, "open")
    assert report.refs == {"heads/open": refs(store)["heads/open"]}
    assert report.notes == 0
    bucket = MemoryTransport()
    push(store, NAME, bucket, ["open"])
    assert _members(file) == members(bucket)


def _members(path: Path) -> set[bytes]:
    with BundleFile(path) as bundle:
        return members(bundle)


def test_since_a_version_only_what_is_new_is_in_it_and_all_of_that_can_be_read(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    first = refs(store)["heads/out"]
    commit(store, "out", a=b"two", big=TEXT[:70_000] + b"edit" + TEXT[70_000:])
    store.approve("out@v1", by="bob")
    report = store.create_bundle(file, "out", since=["out@v1"])
    assert [(need.id, need.label) for need in report.needs] == [(first, "out@v1")]
    assert report.versions == 1
    assert report.notes == 1
    assert report.bytes < len(TEXT) / 2
    found = castore.verify_bundle(file)
    assert found.ok
    assert found.outside > 0
    took = other.import_bundle(file)
    assert [move.ref for move in took.moves] == ["heads/out"]
    assert other.read_bytes("out:big") == store.read_bytes("out:big")
    assert said(other, "out@v1") == {("review", "bob")}
    sound(other)
    again = other.import_bundle(file)
    assert not again.changed
    assert (again.moves, again.objects, again.notes) == ((), 0, 0)


def test_what_one_begins_after_must_be_here(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    second = commit(store, "out", a=b"two")
    commit(store, "out", a=b"three")
    store.create_bundle(file, since=["out@v2"])
    before = refs(other, "")
    with pytest.raises(ObjectNotFound, match=r"begins after out@v2") as caught:
        other.import_bundle(file)
    assert caught.value.attributes["needs"] == [{"id": second.id.hex(), "label": "out@v2"}]
    assert refs(other, "") == before


def test_what_it_begins_after_may_be_of_another_branch(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    commit(store, "else", big=TEXT, more=b"more")
    report = store.create_bundle(file, "else", since=["out"])
    assert report.bytes < 5_000
    assert castore.verify_bundle(file).ok
    other.import_bundle(file)
    assert other.read_bytes("else:big") == TEXT
    sound(other)


def test_branches_that_diverged_stay_and_nothing_moves(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    commit(store, "out", a=b"theirs")
    commit(store, "new", a=b"new")
    store.create_bundle(file)
    commit(other, "out", a=b"ours")
    before = refs(other, "")
    with pytest.raises(RefMoved, match="nothing was taken in") as caught:
        other.import_bundle(file)
    assert caught.value.attributes["branches"] == ["out"]
    with pytest.raises(RefMoved):
        other.import_bundle(file, dry_run=True)
    assert refs(other, "") == before
    assert other.import_bundle(file, "new").moves[0].ref == "heads/new"
    sound(other)


def test_a_rebase_makes_the_versions_of_here_anew(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    theirs = commit(store, "out", a=b"theirs")
    store.create_bundle(file)
    ours = commit(other, "out", a=b"ours")
    report = other.import_bundle(file, rebase=True)
    assert [(r.old, r.old_number, r.new_number) for r in report.rebased] == [(ours.id, 2, 3)]
    version = other.version(refs(other)["heads/out"])
    assert version.manifest.parents == (theirs.id,)
    assert version.manifest.set == ours.manifest.set
    sound(other)


def test_a_branch_that_is_further_here_stays(
    store: castore.Store, other: castore.Store, tmp_path: Path
) -> None:
    commit(other, "out", a=b"ours")
    before = refs(other)
    report = other.import_bundle(tmp_path / "first.bundle")
    assert report.ahead == ("out",)
    assert refs(other) == before


def test_tags_never_move(store: castore.Store, other: castore.Store, file: Path) -> None:
    commit(store, "out", a=b"two")
    store.tag("release", "out")
    store.create_bundle(file)
    other.tag("release", "out@v1")
    before = refs(other, "")
    with pytest.raises(TagExists, match="tags never"):
        other.import_bundle(file)
    assert refs(other, "") == before
    delete_tag(other, "release", by="ana")
    with pytest.raises(TagExists, match="deleted here"):
        other.import_bundle(file)
    other.import_bundle(file, "out")
    assert refs(other) == refs(store)


def test_a_branch_and_a_tag_may_not_share_a_name(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    store.tag("both", "out")
    store.create_bundle(file)
    commit(other, "both", a=b"1")
    with pytest.raises(Conflict, match="is a branch here"):
        other.import_bundle(file)


def test_notes_of_both_sides_are_added_up(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    store.approve("out@v1", by="ana")
    other.approve("out@v1", by="bob")
    store.create_bundle(file)
    report = other.import_bundle(file)
    assert (report.notes, report.moves) == (1, ())
    assert said(other, "out@v1") == {("review", "ana"), ("review", "bob")}
    sound(other)


def test_a_dry_run_writes_and_moves_nothing(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    commit(store, "out", a=b"two")
    planned = store.create_bundle(file, dry_run=True)
    assert not file.exists()
    made = store.create_bundle(file)
    assert (planned.objects, planned.versions) == (made.objects, made.versions)
    before = refs(other, "")
    would = other.import_bundle(file, dry_run=True)
    assert refs(other, "") == before
    done = other.import_bundle(file)
    assert (would.moves, would.objects, would.bytes) == (done.moves, done.objects, done.bytes)


def test_what_is_there_is_not_written_over(store: castore.Store, file: Path) -> None:
    commit(store, "out", a=b"one")
    file.write_bytes(b"mine")
    with pytest.raises(WouldOverwrite):
        store.create_bundle(file)
    assert file.read_bytes() == b"mine"
    store.create_bundle(file, force=True)
    whole(file)
    with pytest.raises(WouldOverwrite):
        store.create_bundle(file.parent, force=True)
    with pytest.raises(InvalidInput):
        store.create_bundle(file.parent / "absent" / "x.bundle")


def test_what_fails_leaves_no_file(
    store: castore.Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, "out", a=b"one")

    def broken(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(castore.CastoreError, match="No space left"):
        store.create_bundle(file)
    assert not [path for path in file.parent.iterdir() if "bundle" in path.name]


def test_refs_and_versions_that_are_not_there_are_told(store: castore.Store, file: Path) -> None:
    commit(store, "out", a=b"one")
    with pytest.raises(RefNotFound, match="did you mean"):
        store.create_bundle(file, "ouf")
    with pytest.raises(RefNotFound):
        store.create_bundle(file, since=["out@v9"])
    store.create_bundle(file)
    with pytest.raises(RefNotFound):
        store.import_bundle(file, "absent")


def test_a_bundle_of_another_project_is_refused(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    commit(store, "out", a=b"one")
    store.create_bundle(file)
    with (
        castore.init(_folder(tmp_path / "apart")) as apart,
        pytest.raises(InvalidInput, match="another project"),
    ):
        apart.import_bundle(file)
    with pytest.raises(WouldOverwrite):
        castore.from_bundle(file, tmp_path / "apart")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_store_cannot_begin_with_what_begins_after_others(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    commit(store, "out", a=b"one")
    commit(store, "out", a=b"two")
    store.create_bundle(file, since=["out~1"])
    with pytest.raises(ObjectNotFound, match="begins after"):
        castore.from_bundle(file, tmp_path / "made")
    assert not (tmp_path / "made" / ".cas").exists()


def test_what_was_forgotten_or_purged_is_told_of_in_it(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    commit(store, "out", a=b"forgotten", big=TEXT)
    commit(store, "out", a=b"kept", private=b"somebody's address")
    commit(store, "out", a=b"last")
    store.forget("out@v1", by="ana", why="old")
    store.purge("out@v2:private", reason="asked", by="ana")
    commit(store, "apart", a=b"1", gone=b"also purged")
    store.purge("apart:gone", reason="of another branch", by="ana")
    store.create_bundle(file, "out")
    assert castore.verify_bundle(file).ok
    assert b"of another branch" not in file.read_bytes()
    with castore.from_bundle(file, tmp_path / "made") as made:
        with pytest.raises(ObjectNotFound, match="forgotten"):
            made.read_bytes("out@v1:a")
        with pytest.raises(ObjectNotFound, match="purged"):
            made.read_bytes("out@v2:private")
        assert made.read_bytes("out@v2:a") == b"kept"
        sound(made)


def test_what_was_promised_is_fetched_for_one(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    commit(store, "out", a=b"one" * 999, big=TEXT)
    commit(store, "out", a=b"two" * 999, big=TEXT[9:])
    store.add_remote("origin", str(bucket))
    store.push("origin")
    with castore.clone(bucket, tmp_path / "thin", metadata_only=True) as thin:
        thin.create_bundle(file)
    assert castore.verify_bundle(file).ok
    with castore.from_bundle(file, tmp_path / "made") as made:
        assert made.read_bytes("out@v1:big") == TEXT
        sound(made)


def test_a_clone_without_files_takes_what_follows_in(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    """What the bundle leaves out is fetched: a file that stayed, and chunks of one that changed."""
    bucket = tmp_path / "bucket"
    commit(store, "out", a=b"one" * 999, big=TEXT, same=b"the same" * 99)
    store.add_remote("origin", str(bucket))
    store.push("origin")
    changed = TEXT + b"and more"
    commit(store, "out", a=b"two" * 999, big=changed, same=b"the same" * 99)
    store.create_bundle(file, since=["out@v1"])
    with castore.clone(bucket, tmp_path / "thin", metadata_only=True) as thin:
        assert thin.import_bundle(file).versions == 1
        assert thin.read_bytes("out@v2:big") == changed
        assert thin.read_bytes("out@v2:same") == b"the same" * 99
        sound(thin)


def test_a_bundle_of_history_that_was_cut(store: castore.Store, file: Path, tmp_path: Path) -> None:
    for number in range(4):
        commit(store, "out", a=b"%d" % number)
    bucket = tmp_path / "bucket"
    store.add_remote("origin", str(bucket))
    store.push("origin")
    with castore.clone(bucket, tmp_path / "short", depth=2) as short:
        made = commit(short, "out", a=b"new")
        with pytest.raises(Conflict, match="history here was cut") as caught:
            short.create_bundle(file)
        assert "--since" in caught.value.message
        assert not file.exists()
        short.create_bundle(file, since=["out@v4"])
    whole(file)
    assert store.import_bundle(file).versions == 1
    assert store.resolve("out").version.id == made.id
    sound(store)


def test_many_packs_and_indexes_make_one_bundle(
    store: castore.Store, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castore.remote.sending.PACK_FULL_BYTES", 100_000)
    monkeypatch.setattr("castore.store.bundle_write._INDEX_BYTES", 1_000)
    dice = Random(7)
    for number in range(4):
        commit(store, "out", **{f"f{n}": dice.randbytes(90_000 + number) for n in range(9)})
    store.create_bundle(file)
    with BundleFile(file) as bundle:
        kinds = [part.type for part in bundle.parts]
    assert kinds.count(PartType.PACK) > 15
    assert kinds.count(PartType.INDEX) > 3
    whole(file)
    with castore.from_bundle(file, tmp_path / "made") as made:
        assert refs(made) == refs(store)
        sound(made)


def test_many_refs_stand_in_pages(store: castore.Store, file: Path, tmp_path: Path) -> None:
    version = commit(store, "out", a=b"one")

    def transact(tables: object) -> None:
        for number in range(2_500):
            tables.set_if_equals(f"heads/b{number}", None, version.id)  # type: ignore[attr-defined]

    store.database.write(transact)
    store.create_bundle(file)
    with BundleFile(file) as bundle:
        assert [part.type for part in bundle.parts].count(PartType.LIST) > 1
    whole(file)
    with castore.from_bundle(file, tmp_path / "made") as made:
        assert len(refs(made)) == 2_501


def test_a_store_that_nothing_was_committed_to_makes_an_empty_one(
    store: castore.Store, file: Path
) -> None:
    report = store.create_bundle(file)
    assert (report.refs, report.objects) == ({}, 0)
    whole(file)
    assert castore.read_bundle(file).versions == ()


def test_a_chain_of_bundles_brings_a_store_along(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    dice = Random(5)
    data = bytearray(TEXT)
    for number in range(6):
        data[dice.randrange(len(data))] ^= 1
        commit(store, "out", big=bytes(data), n=b"%d" % number)
        store.create_bundle(file, since=["out~1"], force=True)
        other.import_bundle(file)
        assert refs(other) == refs(store)
    assert other.read_bytes("out:big") == bytes(data)
    sound(other)


def test_the_operation_log_tells_of_it(
    store: castore.Store, other: castore.Store, file: Path
) -> None:
    commit(store, "out", a=b"two")
    made = store.create_bundle(file)
    other.import_bundle(file, by="ana")
    operation = next(iter(other.operations()))
    assert (operation.op, operation.by) == ("import", "ana")
    assert operation.detail["bundle"] == made.id
    assert [name for name, _, _ in operation.refs] == ["heads/out"]


def test_a_copy_by_bundle_and_one_by_bucket_are_the_same(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    commit(store, "out", a=b"one", big=TEXT)
    commit(store, "out", a=b"two", big=TEXT[5:])
    store.approve("out", by="ana")
    bucket = MemoryTransport()
    push(store, NAME, bucket)
    store.create_bundle(file)
    with (
        copy_of(bucket, tmp_path / "bucket") as one,
        castore.from_bundle(file, tmp_path / "bundle") as two,
    ):
        ids = [set(s.database.read(lambda t: [i for i, _ in t.object_rows()])) for s in (one, two)]
        assert ids[0] == ids[1]


@needs_ssh
def test_signatures_are_verified_without_a_store(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "key")
    know(store.folder / "config.toml", {"ana@example.org": key})
    version = commit(store, "out", a=b"one")
    store.sign("out", by="ana@example.org", key=key)
    store.create_bundle(file)
    (found,) = castore.verify_bundle(file).signatures
    assert (found.verdict, found.note.target) == ("unknown", version.id)
    (found,) = castore.verify_bundle(file, store.config().identities).signatures
    assert (found.verdict, found.signers) == ("valid", ("ana@example.org",))


@needs_ssh
def test_an_invalid_signature_is_a_finding(
    store: castore.Store, file: Path, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "key")
    know(store.folder / "config.toml", {"ana@example.org": key})
    version = commit(store, "out", a=b"one")
    store.sign("out", by="ana@example.org", key=key)
    other = commit(store, "out", a=b"two")
    note = next(iter(store.notes(version).values()))
    put(store, replace(note, target=other.id))
    store.create_bundle(file)
    found = castore.verify_bundle(file, store.config().identities)
    assert [signature.verdict for signature in found.signatures].count("invalid") == 1
    assert not found.ok
    assert "no valid signature" in next(iter(found.report.lines()))
