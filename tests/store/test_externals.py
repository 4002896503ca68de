"""External artifacts: recorded, verified, brought in; from files and from a server of this test."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

import castore
from castore.errors import (
    CorruptObject,
    InvalidInput,
    ObjectNotFound,
    RemoteError,
    RemoteUnavailable,
    TypeMismatch,
)
from castore.model.artifact_set import ExternalContent
from castore.model.ids import content_id
from castore.remote.elsewhere import look_at, reach
from castore.store.collect import CollectRequest, collect
from castore.store.collect_roots import Roots
from castore.store.commit import CommitRequest, commit, preview
from castore.store.externals_verify import ask_elsewhere
from castore.store.records import artifact_record
from tests.store.syncing import sound

BIG = Random(1).randbytes(700_000)
SPEC = """\
spec: out
version: "1"
artifacts:
  - {{name: far, type: dataset, format: binary, storage: external, uri: "{uri}"{more}}}
  - {{name: near, type: document, format: text, path: near.txt}}
"""


class Site:
    """What a server on this machine answers with; `pages` are bytes, or a status, by path."""

    def __init__(self, port: int) -> None:
        self.pages: dict[str, bytes | int] = {}
        self.leads: dict[str, str] = {}
        self.asked: list[str] = []
        self.heads = True
        self.tags = True
        self.cut = 0
        self.url = f"http://127.0.0.1:{port}"


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            found.asked.append(f"{self.command} {self.path}")
            page = found.pages.get(self.path, 404)
            if not body and not found.heads:
                page = 405
            if self.path in found.leads:
                self.send_response(302)
                self.send_header("Location", found.leads[self.path])
                self.end_headers()
                return
            if isinstance(page, int):
                self.send_error(page)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            if found.tags:
                self.send_header("ETag", f'"{content_id(page).hex()[:9]}"')
            self.end_headers()
            if body:
                self.wfile.write(page[: len(page) - found.cut])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Site(server.server_address[1])
    found.pages["/big"] = BIG
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Commit = Callable[..., castore.Version]


@pytest.fixture
def made(store: castore.Store, tmp_path: Path) -> Commit:
    """Commits a set with an artifact at a URI."""

    def make(uri: str, *, pin: bool = False, more: str = "") -> castore.Version:
        (tmp_path / "out.spec.yaml").write_text(SPEC.format(uri=uri, more=more))
        (tmp_path / "near.txt").write_text("here\n")
        request = CommitRequest(
            cwd=tmp_path,
            spec=tmp_path / "out.spec.yaml",
            ask=partial(ask_elsewhere, pin=pin),
        )
        return commit(store, request).version

    return make


def far(store: castore.Store, version: castore.Version) -> ExternalContent:
    content = store.set_of(version).get("far")
    assert content is not None
    assert isinstance(content.content, ExternalContent)
    return content.content


def states(store: castore.Store, rev: str = "out", **given: bool) -> list[tuple[str, str]]:
    return [(v.state, v.by) for v in store.verify_external(rev, **given)]


def test_a_file_is_recorded_by_its_digest(
    store: castore.Store, made: Commit, tmp_path: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(BIG)
    version = made((tmp_path / "big.bin").as_uri())
    assert far(store, version) == ExternalContent(content_id(BIG), len(BIG))
    assert states(store) == [("same", "digest")]
    (tmp_path / "big.bin").write_bytes(BIG[1:])
    assert states(store) == [("changed", "digest")]
    assert states(store, quick=True) == [("changed", "size")]
    (tmp_path / "big.bin").unlink()
    assert states(store) == [("unreachable", "")]


def test_a_page_is_recorded_by_size_and_tag_or_read_to_pin_it(
    store: castore.Store, made: Commit, site: Site
) -> None:
    uri = f"{site.url}/big"
    version = made(uri)
    assert site.asked == ["HEAD /big"]
    assert far(store, version) == ExternalContent(b"", len(BIG))
    assert version.manifest.locations == (("far", uri, f'"{content_id(BIG).hex()[:9]}"'),)
    assert states(store) == [("same", "etag")]
    pinned = made(uri, pin=True)
    assert far(store, pinned) == ExternalContent(content_id(BIG), len(BIG))
    assert pinned.set_id != version.set_id
    assert states(store) == [("same", "digest")]
    site.pages["/big"] = BIG[:-1] + b"x"
    assert states(store) == [("changed", "digest")]
    assert states(store, "out@v1") == [("changed", "etag")]
    site.pages["/big"] = 404
    assert states(store) == states(store, "out@v1") == [("unreachable", "")]


def test_what_cannot_be_asked_is_recorded_as_unknown_with_a_warning(
    store: castore.Store, made: Commit, site: Site, tmp_path: Path
) -> None:
    version = made(f"{site.url}/absent")
    assert far(store, version) == ExternalContent()
    with pytest.raises(RemoteError, match="404"):
        made(f"{site.url}/absent", pin=True)
    assert states(store) == [("unreachable", "")]
    site.pages["/absent"] = b"now"
    assert states(store) == [("unpinned", "")]
    (tmp_path / "out.spec.yaml").write_text(SPEC.format(uri=f"{site.url}/none", more=""))
    request = CommitRequest(cwd=tmp_path, ask=partial(ask_elsewhere, pin=False))
    assert any("far: nothing was found out" in text for text in commit(store, request).warnings)


def test_a_file_that_is_not_there_is_recorded_as_unknown_with_a_warning(
    store: castore.Store, made: Commit, tmp_path: Path
) -> None:
    """As a page that does not answer: a mount that is gone keeps nobody from committing."""
    uri = (tmp_path / "absent.bin").as_uri()
    version = made(uri)
    assert far(store, version) == ExternalContent()
    assert version.manifest.locations == (("far", uri, ""),)
    for ask in (None, partial(ask_elsewhere, pin=False)):
        request = CommitRequest(cwd=tmp_path, ask=ask)
        said = f"far: nothing was found out of what is there: {tmp_path}/absent.bin"
        assert any(text.startswith(said) for text in commit(store, request).warnings)
        assert any(text.startswith(said) for text in preview(store, request).warnings)
    with pytest.raises(RemoteError):
        made(uri, pin=True)
    assert states(store) == [("unreachable", "")]
    (tmp_path / "absent.bin").mkdir()
    with pytest.raises(InvalidInput, match="not a regular file"):
        made(uri)
    (tmp_path / "absent.bin").rmdir()
    digest = content_id(BIG)
    assert far(store, made(uri, more=f', digest: "{digest.hex()}"')) == ExternalContent(digest, -1)


def test_a_spec_pins_the_digest(
    store: castore.Store, made: Commit, site: Site, tmp_path: Path
) -> None:
    digest = content_id(BIG)
    more = f', digest: "{digest.hex()}"'
    version = made(f"{site.url}/big", more=more)
    assert far(store, version) == ExternalContent(digest, len(BIG))
    assert states(store) == [("same", "digest")]
    other = f', digest: "{"0" * 64}"'
    with pytest.raises(InvalidInput, match="the spec pins"):
        made(f"{site.url}/big", more=other, pin=True)
    (tmp_path / "big.bin").write_bytes(BIG)
    with pytest.raises(InvalidInput, match="the spec pins"):
        made((tmp_path / "big.bin").as_uri(), more=other)
    site.pages["/big"] = 503
    version = made(f"{site.url}/big", more=more)
    assert far(store, version) == ExternalContent(digest, -1)


def test_what_is_brought_in_is_read_and_no_id_changes(
    store: castore.Store, made: Commit, site: Site, tmp_path: Path
) -> None:
    version = made(f"{site.url}/big", pin=True)
    with pytest.raises(TypeMismatch, match="external"):
        store.read_bytes("out:far")
    before = store.database.read(lambda tables: dict(tables.refs()))
    report = store.internalize("out", by="ana")
    assert (report.brought, report.bytes) == (("far",), len(BIG))
    assert store.database.read(lambda tables: dict(tables.refs())) == before
    assert store.read_bytes("out:far") == BIG
    assert store.internalize("out").held == ("far",)
    artifact = store.set_of(version).get("far")
    assert artifact is not None
    record = artifact_record(store, version, artifact)
    assert (record["storage"], record["digest"]) == ("held", content_id(BIG).hex())
    done = store.checkout("out", tmp_path / "there")
    assert done.external == ()
    assert (tmp_path / "there" / "far").read_bytes() == BIG
    operation = next(iter(store.operations()))
    assert (operation.op, operation.by) == ("internalize", "ana")
    sound(store)


def test_what_was_brought_in_stays_as_long_as_a_version_says_it(
    store: castore.Store, made: Commit, site: Site
) -> None:
    made(f"{site.url}/big", pin=True)
    store.internalize("out")
    collect(store, CollectRequest(0))
    assert store.read_bytes("out:far") == BIG
    site.pages["/small"] = b"small"
    made(f"{site.url}/small", pin=True)
    store.forget("out@v1")
    collect(store, CollectRequest(0))
    sound(store)
    assert not store.database.read(lambda tables: tables.present([content_id(BIG)]))


def test_a_collection_that_runs_takes_what_is_brought_in_for_a_root(
    store: castore.Store, made: Commit, site: Site
) -> None:
    made(f"{site.url}/big", pin=True)
    roots = Roots(None)
    store.database.read(lambda tables: list(roots.fresh(tables)))
    store.internalize("out")
    fresh = store.database.read(lambda tables: list(roots.fresh(tables)))
    assert content_id(BIG) in fresh


def test_other_bytes_are_refused_and_not_kept(
    store: castore.Store, made: Commit, site: Site
) -> None:
    made(f"{site.url}/big", pin=True)
    for other in (BIG[:-1], BIG[:-1] + b"x", b"", BIG * 3):
        site.pages["/big"] = other
        with pytest.raises(CorruptObject, match="changed since"):
            store.internalize("out")
        with pytest.raises(TypeMismatch):
            store.read_bytes("out:far")
    site.pages["/big"] = BIG
    site.cut = 5
    with pytest.raises(RemoteUnavailable, match="ended"):
        store.internalize("out")
    assert states(store) == [("unreachable", "")]
    collect(store, CollectRequest(0))
    sound(store)


def test_what_is_not_pinned_is_left_and_told(
    store: castore.Store, made: Commit, site: Site
) -> None:
    made(f"{site.url}/big")
    report = store.internalize("out")
    assert (report.unpinned, report.brought) == (("far",), ())
    with pytest.raises(InvalidInput, match="is stored"):
        store.internalize("out", "near")


def test_what_was_purged_is_not_brought_in_again(
    store: castore.Store, made: Commit, site: Site
) -> None:
    made(f"{site.url}/big", pin=True)
    with pytest.raises(InvalidInput, match="not in this store"):
        store.purge("out:far", reason="asked")
    store.internalize("out")
    store.purge("out:far", reason="asked")
    with pytest.raises(ObjectNotFound, match="purged"):
        store.internalize("out")
    sound(store)


def test_passwords_and_signatures_are_never_recorded(made: Commit) -> None:
    for uri in (
        "https://ana:secret@example.invalid/x",
        "https://example.invalid/x?X-Amz-Signature=abc",
        "https://example.invalid/x?a=1&sig=abc",
    ):
        with pytest.raises(InvalidInput, match="kept for ever") as caught:
            made(uri)
        assert "secret@" not in caught.value.message
        assert "abc" not in caught.value.message


def test_servers_that_know_no_head_lead_elsewhere_or_say_little(site: Site) -> None:
    site.heads = False
    assert look_at(f"{site.url}/big")[0] == len(BIG)
    assert site.asked == ["HEAD /big", "GET /big"]
    site.heads = True
    site.leads["/from"] = f"{site.url}/big"
    assert look_at(f"{site.url}/from")[0] == len(BIG)
    site.leads["/loop"] = f"{site.url}/loop"
    site.leads["/file"] = "file:///etc/passwd"
    for path in ("/loop", "/file"):
        with pytest.raises(RemoteError):
            look_at(site.url + path)
    site.tags = False
    assert look_at(f"{site.url}/big") == (len(BIG), "")
    for status in (401, 403, 404, 429, 500):
        site.pages["/no"] = status
        with pytest.raises(RemoteError, match=str(status)), reach(f"{site.url}/no"):
            pass


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        look_at("ftp://example.invalid/x")
    with pytest.raises(InvalidInput):
        look_at("s3://bucket")
    with pytest.raises(RemoteUnavailable):
        look_at("http://127.0.0.1:9/x")
    with pytest.raises(RemoteUnavailable):
        look_at((tmp_path / "absent").as_uri())


def test_what_is_no_file_is_not_waited_for(
    store: castore.Store, made: Commit, tmp_path: Path
) -> None:
    path = tmp_path / "far.bin"
    path.write_bytes(BIG)
    made(path.as_uri())
    path.unlink()
    os.mkfifo(path)
    assert states(store) == [("unreachable", "")]
    assert states(store, quick=True) == [("unreachable", "")]
    for other in (path, tmp_path, Path("/dev/zero")):
        with pytest.raises(RemoteUnavailable, match="is not a file"):
            look_at(other.as_uri())


def test_no_more_is_read_than_there_may_be(
    store: castore.Store, made: Commit, tmp_path: Path
) -> None:
    path = tmp_path / "far.bin"
    path.write_bytes(BIG)
    made(path.as_uri())
    # Hours of nothing.
    os.truncate(path, 1 << 43)
    assert states(store) == [("changed", "digest")]


def test_a_path_at_commit_becomes_an_address(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "out.spec.yaml").write_text(
        'spec: out\nversion: "1"\nartifacts:\n'
        "  - {name: far, type: dataset, format: binary, storage: external}\n"
    )
    (tmp_path / "big.bin").write_bytes(BIG)
    request = CommitRequest(cwd=tmp_path, spec=tmp_path / "out.spec.yaml", paths=("far=big.bin",))
    version = commit(store, request).version
    assert version.manifest.locations == (("far", (tmp_path / "big.bin").as_uri(), ""),)
    assert far(store, version).digest == content_id(BIG)
    (tmp_path / "big.bin").unlink()
    with pytest.raises(InvalidInput, match="does not exist"):
        commit(store, request)


def test_what_is_held_is_still_external_for_others(
    store: castore.Store, made: Commit, site: Site, tmp_path: Path
) -> None:
    made(f"{site.url}/big", pin=True)
    store.internalize("out")
    store.create_bundle(tmp_path / "x.bundle")
    assert castore.verify_bundle(tmp_path / "x.bundle").ok
    with castore.from_bundle(tmp_path / "x.bundle", tmp_path / "copy") as copy:
        with pytest.raises(TypeMismatch):
            copy.read_bytes("out:far")
        copy.internalize("out")
        assert copy.read_bytes("out:far") == BIG
        sound(copy)
