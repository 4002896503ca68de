"""Remotes: what is written down of a bucket, what is refused, and what goes with its name."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import castore
from castore.errors import Conflict, InvalidInput, InvalidName, RefNotFound, RemoteError
from castore.store.config import Config, KnownRemote, parse_config
from castore.store.opening import open_store
from castore.store.remotes import open_remote, write_remote
from castore.store.store import Store as OpenStore

_COMMENTED = """\
# ours
[gc] # how long
grace = "2w"

[remote."old.one"]
url = "s3://bucket/old"   # until spring
# the end
"""


def config_file(store: OpenStore) -> Path:
    return store.folder / "config.toml"


def test_a_remote_is_written_down_and_found(store: castore.Store, tmp_path: Path) -> None:
    assert store.remotes() == {}
    found = store.add_remote("origin", str(tmp_path / "bucket"))
    assert found == KnownRemote((tmp_path / "bucket").as_uri())
    assert store.remotes() == {"origin": found}
    assert store.remote("origin") == found
    with castore.open(store.folder) as again:
        assert again.remote("origin") == found
    transport = open_remote(found)
    assert list(transport.list("")) == []
    assert tomllib.loads(config_file(store).read_text())["remote"] == {"origin": {"url": found.url}}


def test_comments_and_permissions_stay(store: castore.Store, tmp_path: Path) -> None:
    config_file(store).write_text(_COMMENTED)
    config_file(store).chmod(0o640)
    write_remote(store, "a.b", KnownRemote("s3://bucket/x", "https://host:9000", "eu-west-1"))
    text = config_file(store).read_text()
    assert all(line in text for line in _COMMENTED.splitlines())
    assert stat.S_IMODE(config_file(store).stat().st_mode) == 0o640
    assert store.config().grace
    assert store.remotes() == {
        "a.b": KnownRemote("s3://bucket/x", "https://host:9000", "eu-west-1"),
        "old.one": KnownRemote("s3://bucket/old"),
    }
    store.remove_remote("a.b")
    store.remove_remote("old.one")
    text = config_file(store).read_text()
    assert store.remotes() == {}
    assert "# ours\n[gc] # how long\n" in text
    assert not [name for name in os.listdir(store.folder) if name.startswith(".config")]


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment", "remote = {}\n", "[remote]\n", "remote.x.url = 's3://bucket'\n[gc]\n",
     "[remote.x]\nurl = 's3://bucket'", "remote = {x = {url = 's3://bucket'}}\n"],
)  # fmt: skip
def test_any_form_of_a_file_is_edited(store: castore.Store, text: str) -> None:
    config_file(store).write_text(text)
    before = dict(store.remotes())
    write_remote(store, "origin", KnownRemote("s3://bucket/y"))
    assert store.remotes() == {**before, "origin": KnownRemote("s3://bucket/y")}
    store.remove_remote("origin")
    assert store.remotes() == before


def test_a_file_that_is_not_there_is_made(store: castore.Store) -> None:
    config_file(store).unlink()
    write_remote(store, "origin", KnownRemote("s3://bucket"))
    assert store.remote("origin").url == "s3://bucket"


def test_a_link_to_a_file_stays_one(store: castore.Store, tmp_path: Path) -> None:
    config_file(store).rename(tmp_path / "kept.toml")
    config_file(store).symlink_to(tmp_path / "kept.toml")
    write_remote(store, "origin", KnownRemote("s3://bucket"))
    assert config_file(store).is_symlink()
    assert "s3://bucket" in (tmp_path / "kept.toml").read_text()


def test_many_at_once_lose_nothing(store: castore.Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: write_remote(store, f"r{number}", KnownRemote("s3://bucket")),
                range(24),
            )
        )
    assert len(store.remotes()) == 24


def test_a_name_is_given_once(store: castore.Store, tmp_path: Path) -> None:
    store.add_remote("origin", str(tmp_path / "one"))
    with pytest.raises(Conflict):
        store.add_remote("origin", str(tmp_path / "two"))
    assert not (tmp_path / "two").exists()
    with pytest.raises(Conflict):
        write_remote(store, "origin", KnownRemote("s3://bucket"))
    for name in ("", "a/b", "-x", "x" * 101):
        with pytest.raises(InvalidName):
            store.add_remote(name, str(tmp_path / "two"))


@pytest.mark.parametrize(
    ("place", "options"),
    [("s3:bucket", {}), ("ftp://host", {}), ("s3://KEY:HIDDENVALUE@bucket", {}),
     ("s3://bucket?secret=HIDDENVALUE", {}), ("s3://bucket", {"endpoint": "https://u:HIDDENVALUE@host"}),
     ("s3://bucket", {"region": "no region"}), ("./x", {"region": "eu-west-1"})],
)  # fmt: skip
def test_what_names_no_bucket_is_refused(
    store: castore.Store, place: str, options: Mapping[str, str]
) -> None:
    before = config_file(store).read_bytes()
    with pytest.raises(InvalidInput) as caught:
        store.add_remote("origin", place, **options)
    assert "HIDDENVALUE" not in str(caught.value.as_json())
    assert config_file(store).read_bytes() == before


def test_the_store_is_no_bucket_of_itself(store: castore.Store) -> None:
    for place in (store.folder, store.folder / "x", store.folder.as_uri()):
        with pytest.raises(InvalidInput, match="itself"):
            store.add_remote("origin", str(place))


def test_a_bucket_that_cannot_be_reached_is_not_written_down(
    store: castore.Store, tmp_path: Path
) -> None:
    with pytest.raises(RemoteError):
        store.add_remote("origin", str(tmp_path / "none" / "bucket"))
    assert store.remotes() == {}


def test_with_the_name_goes_what_was_seen(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    version = store.commit(str(tmp_path / "a.txt")).version
    store.add_remote("origin", str(tmp_path / "one"))
    store.add_remote("other", str(tmp_path / "two"))

    def seen(tables):  # type: ignore[no-untyped-def]
        for name in ("origin", "other"):
            ref = f"remotes/{name}/heads/a"
            tables.add_if_new(ref, version.id)
            tables.append_operation("fetch", at=1, by="", refs=[(ref, b"", version.id)])
            tables.put_upload(name, b"row")
            tables.put_located(name.encode() + b"\0" + b"i" * 32, b"index")

    store.database.write(seen)
    store.remove_remote("origin", by="alice")

    def left(tables):  # type: ignore[no-untyped-def]
        return (
            [ref for ref, _ in tables.refs("remotes/")],
            [tables.upload(name) for name in ("origin", "other")],
            [len(tables.located_keys(name)) for name in (b"origin\0", b"other\0")],
        )

    assert store.database.read(left) == (["remotes/other/heads/a"], [None, b"row"], [0, 1])
    operation = next(iter(store.operations()))
    assert (operation.op, operation.by) == ("remote-remove", "alice")
    assert operation.refs == (("remotes/origin/heads/a", version.id, b""),)
    assert store.fsck().ok
    with pytest.raises(RefNotFound):
        store.remove_remote("origin")


def test_what_the_user_configured_is_used_and_not_removed(
    store: castore.Store, tmp_path: Path
) -> None:
    users = tmp_path / "user.toml"
    users.write_text("[remote.team]\nurl = 's3://bucket/team'\n[remote.both]\nurl = 's3://users'\n")
    write_remote(store, "both", KnownRemote("s3://ours"))
    with open_store(store.folder, user_config=lambda: users) as ours:
        assert ours.config().remotes == {
            "team": KnownRemote("s3://bucket/team"),
            "both": KnownRemote("s3://ours"),
        }
        full = castore.Store(
            ours.database, now=ours.now, entropy=ours.entropy, user_config=lambda: users
        )
        with pytest.raises(RefNotFound, match="your own configuration"):
            full.remove_remote("team")


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"[remote.x]\nurl = 5\n", 2, "is a text"),
        (b"[remote.x]\n", 1, "remote 'x'"),
        (b"remote = 5\n", 1, "is a table"),
        (b"[remote]\nx = 's3://bucket'\n", 2, "a remote is a table"),
        (b"[remote.x]\nurl = 's3://bucket'\nendpiont = 'https://h'\n", 3, "did you mean"),
        (b"[remote.'a/b']\nurl = 's3://bucket'\n", 1, "remote 'a/b'"),
        (b"[remote.x]\nurl = 's3://K:S@bucket'\n", 1, "credentials"),
        (b"[remote.x]\nurl = 's3://bucket'\nregion = 'EU West'\n", 1, "region"),
        (b"[remote.x]\nurl = 'file:///x'\nendpoint = 'https://h'\n", 1, "endpoint"),
        *(
            (f"[remote.x]\nurl = 's3://bucket'\n{key} = 'S'\n".encode(), 3, "credentials are not")
            for key in ("access_key_id", "secret_access_key", "AWS_SESSION_TOKEN", "password",
                        "account_key", "sas_key", "profile", "credentials")
        ),
    ],
)  # fmt: skip
def test_what_is_malformed_is_an_error_with_its_line(data: bytes, line: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_config(data, "here")
    assert caught.value.attributes["line"] == line


def test_a_whole_table() -> None:
    found = parse_config(
        b"[remote.origin]\nurl = 's3://bucket/x'\nendpoint = 'https://h'\nregion = 'eu-west-1'\n",
        "here",
    )
    assert found == Config(
        remotes={"origin": KnownRemote("s3://bucket/x", "https://h", "eu-west-1")}
    )
