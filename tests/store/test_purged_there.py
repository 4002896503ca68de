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
        assert made.owing
        assert made.purge("out@v1:a", reason="a password").already is not None
        made.push()
    remove_cache(info)
    with (
        castore.open(url, caches=tmp_path / "caches") as made,
        pytest.raises(ObjectNotFound, match=r"purged by ann@example\.org"),
    ):
        made.read_bytes("out:a")
