"""Secrets: a commit that holds one leaves nothing, unless its rule is let through."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import castore
from castore import aio, errors
from castore.content.chunker import Chunker
from castore.model.ids import Id, content_id
from castore.store.commit import CommitRequest, preview
from castore.store.config import CONFIG_FILE
from castore.store.partials import list_partials
from castore.store.processes import Ended
from castore.store.run_meta import run_meta
from castore.store.stages import staged_sessions
from castore.store.staging import Given
from castore.store.verify import fsck
from tests.secret_samples import one, samples

SECRET = one()


def present(store: castore.Store, *datas: bytes) -> set[Id]:
    ids = [content_id(data) for data in datas]
    return store.database.read(lambda tables: tables.present(ids))


def assert_nothing_left(store: castore.Store) -> None:
    assert list(store.log()) == []
    assert staged_sessions(store) == []
    assert list_partials(store) == []
    assert fsck(store, full=True).ok


def refused(
    store: castore.Store, given: dict[str, Given], **options: Any
) -> Sequence[Mapping[str, Any]]:
    """The faults for which a session that is given this is refused."""
    with pytest.raises(errors.SecretsFound) as caught, store.session(**options) as session:  # noqa: PT012
        for name, content in given.items():
            session.add(name, content)
        session.commit()
    return caught.value.faults


def test_a_refused_commit_names_all_and_leaves_nothing(store: castore.Store, out: Path) -> None:
    (out / "data" / "conf.ini").write_bytes(b"[db]\nurl = x\nkey = " + SECRET + b"\n")
    (out / "notes.md").write_bytes(b"# Notes\n" + one("url-password") + b"\n")
    tainted = [(out / "data" / "conf.ini").read_bytes(), (out / "notes.md").read_bytes()]
    for _ in range(2):
        with pytest.raises(errors.SecretsFound) as caught:
            store.commit("out", cwd=out.parent)
        assert caught.value.code == 5
        assert [
            (fault["artifact"], fault["file"], fault["line"], fault["rule"])
            for fault in caught.value.faults
        ] == [
            ("data", "conf.ini", 3, "github-token"),
            ("notes.md", "notes.md", 2, "url-password"),
        ]
        said = str(caught.value.as_json())
        assert SECRET.decode() not in said
        assert "--allow-secret github-token --allow-secret url-password" in caught.value.fix
        assert present(store, *tainted) == set()
        assert_nothing_left(store)
    for path, text in (("data/conf.ini", "key = ${KEY}\n"), ("notes.md", "# Notes\n")):
        (out / path).write_text(text)
    assert store.commit("out", cwd=out.parent).version.number == 1
    assert store.read_bytes("out:data/conf.ini") == b"key = ${KEY}\n"
    assert fsck(store, full=True).ok


def test_what_is_let_through_is_on_record(store: castore.Store, out: Path) -> None:
    (out / "notes.md").write_bytes(b"# Notes\n" + SECRET + b"\n")
    with pytest.raises(errors.SecretsFound):
        store.commit("out", cwd=out.parent, allow_secrets=("jwt",))
    report = store.commit("out", cwd=out.parent, allow_secrets=("github-token", "jwt"))
    assert report.version.manifest.meta["secrets.allowed"] == "github-token notes.md:2"
    assert "secret let through: github-token notes.md:2" in report.warnings
    operation = next(iter(store.operations()))
    assert operation.detail == {"secrets": [["notes.md", "github-token", 1]]}
    assert store.read_bytes("out:notes.md").endswith(SECRET + b"\n")
    # What the store holds is not looked at again.
    (out / "more.txt").write_text("more\n")
    os.utime(out / "notes.md")
    again = store.commit("out", cwd=out.parent)
    assert "secrets.allowed" not in again.version.manifest.meta
    assert fsck(store, full=True).ok


def test_the_configuration_lets_rules_through(store: castore.Store, out: Path) -> None:
    (out / "notes.md").write_bytes(SECRET)
    config = store.folder / CONFIG_FILE
    config.write_text('[secrets]\nallow = ["github-tokn"]\n')
    with pytest.raises(errors.InvalidInput, match="github-token"):
        store.commit("out", cwd=out.parent)
    config.write_text('[secrets]\nallow = ["github-token"]\n')
    report = store.commit("out", cwd=out.parent)
    assert report.version.manifest.meta["secrets.allowed"] == "github-token notes.md:1"


def test_a_rule_that_is_not_there_is_refused_first(store: castore.Store, out: Path) -> None:
    with pytest.raises(errors.InvalidInput, match="github-token"):
        store.commit("out", cwd=out.parent, allow_secrets=("github-tokens",))
    with pytest.raises(errors.InvalidInput):
        store.stage(b"x", allow_secrets=("nothing",))


def big_text(size: int) -> bytes:
    return b"".join(b"%d is a line of some text\n" % number for number in range(size // 30))


@pytest.mark.parametrize("where", ["first", "cut", "last"])
def test_a_big_file_is_searched_as_it_streams(
    store: castore.Store, tmp_path: Path, where: str
) -> None:
    text = big_text(12 << 20)
    at = {"first": 10, "last": len(text) - 100}.get(where)
    if at is None:
        # Astride the last cut of what is read first: half of it is stored before it is seen.
        ends = Chunker().ends(text[: 8 << 20], final=False)
        at = ends[len(ends) // 2] - 20
    text = text[:at] + b" " + SECRET + b" " + text[at:]
    path = tmp_path / "log.txt"
    path.write_bytes(text)
    for given in (path, [text[i : i + 99_999] for i in range(0, len(text), 99_999)], text):
        (fault,) = refused(store, {"good": b"nothing here", "log.txt": given}, name="big")
        assert (fault["artifact"], fault["rule"], fault["offset"]) == (
            "log.txt",
            "github-token",
            at + 1,
        )
        if given is path:
            assert fault["line"] == text[:at].count(b"\n") + 1
        assert present(store, text, b"nothing here") <= {content_id(b"nothing here")}
        assert_nothing_left(store)
    path.write_bytes(text.replace(SECRET, b"gone"))
    assert store.commit("log.txt", cwd=tmp_path).version.number == 1
    assert fsck(store, full=True).ok


def test_a_session_refuses_what_was_added_and_what_its_spec_says(
    store: castore.Store, tmp_path: Path
) -> None:
    refused(store, {"a.txt": SECRET, "b.txt": b"fine"}, name="s")
    assert_nothing_left(store)
    with pytest.raises(ZeroDivisionError), store.session("s") as session:  # noqa: PT012
        session.write("a.txt", SECRET)
        raise ZeroDivisionError
    assert_nothing_left(store)
    spec = tmp_path / "s.spec.yaml"
    spec.write_text(
        "spec: s\nversion: '1'\n# " + one("stripe-key").decode() + "\nartifacts:\n"
        "  - {name: a, type: page, format: text, path: a.txt}\n"
    )
    faults = refused(store, {"a": b"fine"}, spec=spec)
    assert [(fault["artifact"], fault["line"]) for fault in faults] == [("spec", 3)]
    with store.session("s", allow_secrets=("github-token",)) as session:
        session.write("a.txt", SECRET)
        assert session.commit("let through").number == 1


def test_a_refused_set_is_no_partial_even_if_that_is_asked(store: castore.Store, out: Path) -> None:
    (out / "key.pem").write_bytes(samples()["private-key"][0])
    with pytest.raises(errors.SecretsFound):
        store.commit("out", cwd=out.parent, partial=True)
    assert_nothing_left(store)


def test_what_a_worker_stages_is_searched(store: castore.Store) -> None:
    with pytest.raises(errors.SecretsFound):
        store.stage(b"x " + SECRET)
    assert_nothing_left(store)
    staged = store.stage(b"x " + SECRET, allow_secrets=("github-token",))
    with store.session("s") as session:
        session.add("a", staged)
        session.commit()


def test_a_dry_run_tells_of_secrets(store: castore.Store, out: Path) -> None:
    (out / "data" / "a.csv").write_bytes(b"a\n" + SECRET)
    found = preview(store, CommitRequest(cwd=out.parent, paths=("out",)))
    assert [(f["artifact"], f["check"], f["file"], f["line"]) for f in found.faults] == [
        ("data", "secret", "a.csv", 2)
    ]


def test_a_file_that_vanished_from_the_store_is_searched_when_it_is_read_again(
    store: castore.Store, out: Path
) -> None:
    (out / "notes.md").write_bytes(SECRET)
    store.commit("out", cwd=out.parent, allow_secrets=("github-token",))
    version = store.resolve("out@v1").version
    store.forget("out@v1", force=True)
    store.gc(grace=0)
    assert present(store, SECRET) == set()
    assert version.number == 1
    with pytest.raises(errors.SecretsFound):
        store.commit("out", cwd=out.parent)
    assert present(store, SECRET) == set()


def test_what_is_kept_of_a_run_holds_none(store: castore.Store) -> None:
    ended = Ended(code=0, signal=0, seconds=1.0, tail=b"start\nusing " + SECRET + b"\nend\n")
    meta = run_meta(["make", "--token", SECRET.decode()], {}, ended, {})
    assert meta["run.output"] == "start\nusing [github-token]\nend\n"
    assert meta["run.command"] == "make --token [github-token]"
    ended = Ended(code=0, signal=0, seconds=1.0, tail=b"\xff\xfe\xfa" + SECRET)
    assert meta["run.output"] != run_meta(["make"], {}, ended, {})["run.output"]
    assert run_meta(["make"], {}, ended, {})["run.output"] == b"\xff\xfe\xfa[github-token]"


def test_asyncio_refuses_too(store: castore.Store) -> None:
    import asyncio

    async def write() -> None:
        async with aio.AsyncStore(store).session("s") as session:
            await session.write("a", SECRET)
            await session.commit()

    with pytest.raises(errors.SecretsFound):
        asyncio.run(write())
    assert_nothing_left(store)
