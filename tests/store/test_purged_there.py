"""What was purged in a bucket, where files lie there only, and what a cache owes the bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import castore
from castore.database.datafile import DATA_FILE
from castore.errors import Conflict, InvalidInput, ObjectNotFound, RemoteUnavailable
from castore.remote.files import FileTransport
from castore.store.cache_listing import cache_info
from castore.store.cache_pruning import remove_cache
from tests.store.syncing import commit, sound

SECRET = Random(3).randbytes(5_000)


@pytest.fixture
def thin(store: castore.Store, tmp_path: Path) -> Iterator[castore.Store]:
    """A clone without files of a bucket in which something was purged after that."""
    commit(store, "out", a=SECRET, b=b"nothing special" * 100)
    store.add_remote("origin", str(tmp_path / "bucket"))
    store.push()
    with castore.clone(tmp_path / "bucket", tmp_path / "thin", metadata_only=True) as made:
        store.purge("out@v1:a", reason="a password", by="ann@example.org")
        store.push()
        yield made


@pytest.mark.parametrize("how", ["fetched", "read"])
def test_a_file_that_was_purged_there_is_not_promised_any_more(
    thin: castore.Store, how: str
) -> None:
    if how == "fetched":
        thin.fetch()
    for _ in range(2):
        with pytest.raises(ObjectNotFound, match=r"purged by ann@example\.org"):
            thin.read_bytes("out:a")
    assert thin.read_bytes("out:b") == b"nothing special" * 100
    with pytest.raises(InvalidInput, match="was purged"):
        commit(thin, "out", a=SECRET)
    sound(thin)


def test_a_cache_is_not_removed_with_a_purge_that_did_not_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = (tmp_path / "bucket").as_uri()
    with castore.open(url, caches=tmp_path / "caches") as made:
        commit(made, "out", a=SECRET)

        def replace(*_: object) -> str:
            raise RemoteUnavailable("no connection")

        with monkeypatch.context() as broken:
            broken.setattr(FileTransport, "replace", replace)
            with pytest.raises(RemoteUnavailable) as caught:
                made.purge("out@v1:a", reason="a password", by="ann@example.org")
        assert caught.value.message.endswith("goes with the next write")
        assert SECRET not in (made.folder / DATA_FILE).read_bytes()
    info = cache_info(tmp_path / "caches", url)
    with pytest.raises(Conflict, match="forgotten, purged or deleted"):
        remove_cache(info)
    with castore.open(url, caches=tmp_path / "caches") as made:
        assert made.behind.owing
        assert made.purge("out@v1:a", reason="a password").already is not None
        made.push()
    remove_cache(info)
    with (
        castore.open(url, caches=tmp_path / "caches") as made,
        pytest.raises(ObjectNotFound, match=r"purged by ann@example\.org"),
    ):
        made.read_bytes("out:a")


PART = Random(7).randbytes(600_000)


@pytest.fixture
def shared(store: castore.Store, tmp_path: Path) -> bytes:
    """A bucket with a big file, and another that has the same bytes and more; what that has."""
    more = PART + Random(8).randbytes(300_000)
    commit(store, "out", a=PART)
    commit(store, "other", b=more, c=Random(9).randbytes(500_000))
    store.add_remote("origin", str(tmp_path / "bucket"))
    store.push()
    return more


@pytest.mark.parametrize("how", ["clone", "cache"])
@pytest.mark.parametrize("read", [False, True])
def test_what_shares_bytes_with_a_purged_file_is_found_where_it_was_not_fetched(
    shared: bytes, tmp_path: Path, how: str, *, read: bool
) -> None:
    url = (tmp_path / "bucket").as_uri()
    if how == "clone":
        castore.clone(url, tmp_path / "thin", metadata_only=True).close()
        made = castore.open(tmp_path / "thin")
    else:
        made = castore.open(url, caches=tmp_path / "caches")
    with made:
        if read:
            made.read_bytes("out:a")
        with pytest.raises(Conflict, match="also in other@v1:b"):
            made.purge("out@v1:a", reason="a name", by="ann@example.org")
        assert made.read_bytes("out:a") == PART
        assert made.read_bytes("other:b") == shared
        # What shares nothing with it was not fetched for that.
        made.bring, bring = None, made.bring
        with pytest.raises(ObjectNotFound, match="promised"):
            made.read_bytes("other:c")
        made.bring = bring
        gone = made.purge("out@v1:a", reason="a name", include=["all"], by="ann@example.org")
        assert {place.label for place in gone.places} == {"out@v1:a", "other@v1:b"}
        sound(made)


def test_where_history_was_cut_nothing_is_purged(store: castore.Store, tmp_path: Path) -> None:
    """Versions before the cut may have the same bytes: nobody knows here."""
    commit(store, "out", a=PART)
    commit(store, "out", a=PART[1000:] + b"changed")
    store.add_remote("origin", str(tmp_path / "bucket"))
    store.push()
    with castore.clone(tmp_path / "bucket", tmp_path / "short", depth=1) as short:
        with pytest.raises(Conflict, match="history here was cut") as caught:
            short.purge("out@v2:a", reason="a name")
        assert caught.value.fix == "cas fetch --unshallow"
        short.fetch(depth=0)
        with pytest.raises(Conflict, match="also in out@v1:a"):
            short.purge("out@v2:a", reason="a name")


@pytest.fixture
def late(store: castore.Store, tmp_path: Path) -> castore.Store:
    """A store that purges what a version in the bucket, not fetched yet, has bytes of too."""
    commit(store, "out", a=PART)
    store.add_remote("origin", str(tmp_path / "bucket"))
    store.push()
    with castore.clone(tmp_path / "bucket", tmp_path / "two") as other:
        commit(other, "other", b=PART + Random(8).randbytes(300_000), c=b"more")
        other.push()
    store.purge("out@v1:a", reason="a name", by="ann@example.org")
    return store


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_purge_is_not_told_where_versions_that_were_not_fetched_need_it(
    late: castore.Store, tmp_path: Path, *, dry_run: bool
) -> None:
    with pytest.raises(
        Conflict, match=r"other of file://.* was not fetched, and has some"
    ) as caught:
        late.push(dry_run=dry_run)
    assert caught.value.attributes["refs"] == ["other"]
    with castore.clone(tmp_path / "bucket", tmp_path / "three") as third:
        assert third.read_bytes("other:b").startswith(PART)
        assert third.read_bytes("out:a") == PART


def test_a_fetch_names_what_it_brought_that_needs_purged_bytes(
    late: castore.Store, tmp_path: Path
) -> None:
    fetched = late.fetch()
    (place,) = fetched.reliant
    assert place.endswith(":b")
    assert late.fetch().reliant == ()
    late.purge(place, reason="a name, too", include=("all",))
    sound(late)
    late.push()
    with castore.clone(tmp_path / "bucket", tmp_path / "three") as third:
        assert third.read_bytes("other:c") == b"more"
        with pytest.raises(ObjectNotFound, match="was purged"):
            third.read_bytes("other:b")
        sound(third)


def test_a_purge_is_looked_at_again_where_somebody_pushes_meanwhile(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, "out", a=PART)
    store.add_remote("origin", str(tmp_path / "bucket"))
    store.push()
    store.purge("out@v1:a", reason="a name", by="ann@example.org")
    replaced = FileTransport.replace

    def replace(self: FileTransport, key: str, data: bytes, etag: str) -> str:
        if key == "root":
            monkeypatch.setattr(FileTransport, "replace", replaced)
            with castore.clone(tmp_path / "bucket", tmp_path / "two") as other:
                commit(other, "other", b=PART + b"more")
                other.push()
        return replaced(self, key, data, etag)

    with castore.clone(tmp_path / "bucket", tmp_path / "three"):
        pass
    monkeypatch.setattr(FileTransport, "replace", replace)
    with pytest.raises(Conflict, match="other of"):
        store.push()
