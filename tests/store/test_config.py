"""Configuration: what is taken from which file, and what is said about a malformed one."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore.errors import InvalidInput
from castore.store.config import Config, KnownIdentity, parse_config, read_config
from castore.store.moments import parse_age
from castore.store.opening import open_store
from tests.store.gcscene import DAY, commit, drop


def test_a_whole_file() -> None:
    found = parse_config(
        b"# ours\n[gc]\ngrace = '2w'\n\n"
        b'[identity."Reviewer@Example.org"]\nkind = "person"\nkeys = ["ssh-ed25519 AAAA"]\n'
        b'[identity."writer"]\nkind = "agent"\n',
        "here",
    )
    assert found.grace == 14 * DAY
    assert found.identities == {
        "reviewer@example.org": KnownIdentity("person", ("ssh-ed25519 AAAA",)),
        "writer": KnownIdentity("agent"),
    }


@pytest.mark.parametrize("data", [b"", b"\n \t\n", b"# [gc\n  # grace\r\n", b"[gc]\n", b"#"])
def test_a_file_that_says_nothing(data: bytes) -> None:
    assert parse_config(data, "here") == Config()


def test_what_init_writes_says_nothing_and_is_right_when_uncommented(store: castore.Store) -> None:
    file = store.folder / "config.toml"
    assert read_config(file) == Config()
    lines = file.read_text().splitlines()[2:]
    said = parse_config("\n".join(line.removeprefix("# ") for line in lines).encode(), "here")
    assert said.grace == 30 * DAY
    assert said.identities["reviewer@example.org"].keys


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"[gc]\ngrace 30d\n", 2, "not TOML: expected '='"),
        (b"[gc\n", 1, "not TOML"),
        (b"[gc]\n" + b"a." * 17 + b"a = 1\n", 2, "a key of more than 16 parts"),
        (b"[gc]\ngrace = " + b"9" * 5000, 2, "a number has too many digits"),
        (b"[gc]\ngrace = 0x" + b"f" * 5000, 2, "not this number"),
        (b'[gc]\ngrace = "30d', 2, "not TOML"),
        (b"[gc]\ngrace = '1d'\ngrace = '2d'\n", 3, "not TOML: cannot overwrite"),
        (b"# \xe4\n\n[gc]\n# \xff\n", 1, "not UTF-8"),
        (b"[gc]\n\ngrase = '30d'\n", 3, "no setting 'gc.grase'; did you mean grace?"),
        (b"# gcc\n[gcc]\ngrace = '30d'\n", 2, "no setting 'gcc'; did you mean gc?"),
        (b"\ngc.grace = 30\n", 2, "gc.grace is an age such as 30d, 12h or 0, not 30"),
        (b"[gc]\ngrace = 'soon'\n", 2, "not 'soon'"),
        (b"[gc]\ngrace = false\n", 2, "not False"),
        (b"[gc]\ngrace = '2026-01-01'\n", 2, "an age"),
        (b"[signing]\nkey = 1\n", 2, "signing.key is the path of a file"),
        (b"gc = 1\n", 1, "'gc' is a table"),
        (b"identity = 'x'\n", 1, "'identity' is a table"),
        (b"[identity]\nx = 1\n", 2, "an identity is a table"),
        (b"[identity.x]\n\nkind = 'robot'\n", 3, "kind is person or agent, not 'robot'"),
        (b"[identity.x]\nkeys = 'ssh'\n", 2, "'keys' is a list of texts"),
        (b"[identity.x]\nkeys = [\n 'ssh',\n 1,\n]\n", 2, "'keys' is a list of texts"),
        (b"[identity.x]\n[identity.X]\n", 2, "stands here twice"),
        (b"[identity.x]\nkeyz = []\n", 2, "'identity.x.keyz'"),
        (b"\n[gc]\n\"gr\\u0061se\" = '30d'\n", 4, "gc.grase"),
        (b"x = " + b"[" * 10_000 + b"]" * 10_000, 1, "not TOML"),
    ],
)
def test_every_fault_has_its_line(data: bytes, line: int, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(data, "/x/config.toml")
    assert caught.value.message.startswith(f"/x/config.toml line {line}: ")
    assert message in caught.value.message
    assert caught.value.attributes == {"where": "/x/config.toml", "line": line}


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(b"gcc = 1\n[gc]\ngrace = 'x'\n[identity.y]\nkind = 1\n", "c")
    first, *more = caught.value.message.splitlines()
    assert first.startswith("c line 1: there is no setting 'gcc'")
    assert [line[:8] for line in more] == ["line 3: ", "line 5: "]
    known = "cache, gc, identity, remote, secrets, signing"
    assert caught.value.fix == f"edit c line 1: remove it, or use {known}"


def test_of_many_faults_some_are_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(b"".join(b"a%d = 1\n" % number for number in range(70)), "c")
    lines = caught.value.message.splitlines()
    assert (len(lines), lines[-1]) == (51, "and 20 more")


def test_a_file_that_is_too_big_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="more than"):
        parse_config(b"#" * 300_000, "here")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_config(tmp_path)
    assert read_config(tmp_path / "absent" / "config.toml") == Config()


def test_the_store_wins_over_its_user(store: castore.Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('gc.grace = "1d"\n[identity.both]\nkeys = ["k"]\n[identity.me]\n')
    with open_store(store.folder, user_config=lambda: mine) as opened:
        assert opened.config().grace == DAY
        (store.folder / "config.toml").write_text('[identity.both]\nkind = "agent"\n')
        assert opened.config() == Config(
            DAY, {"both": KnownIdentity("agent"), "me": KnownIdentity()}
        )
        (store.folder / "config.toml").write_text('gc.grace = "2d"\n')
        assert opened.config().grace == 2 * DAY
        (store.folder / "config.toml").write_text("gc.grace = 0\n")
        assert opened.config().grace == 0


def test_the_signing_key_is_beside_its_file_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "config.toml"
    for text, path in (
        ("keys/id", tmp_path / "keys" / "id"),
        ("~/.ssh/id", tmp_path / "home" / ".ssh" / "id"),
        ("/etc/id", Path("/etc/id")),
    ):
        file.write_text(f'[signing]\nkey = "{text}"\n')
        assert read_config(file).signing_key == path
    assert Config().over(read_config(file)).signing_key == Path("/etc/id")
    assert Config(signing_key=tmp_path).over(read_config(file)).signing_key == tmp_path


def test_collection_and_why_take_the_configured_grace(store: castore.Store) -> None:
    gone = commit(store, "main", a=b"first" * 1000)
    drop(store, "main")
    assert store.gc().dead == 0
    assert store.why(gone.id.hex()).kept
    (store.folder / "config.toml").write_text("[gc]\ngrace = 0\n")
    assert not store.why(gone.id.hex()).kept
    assert store.gc(grace=DAY).dead == 0
    assert store.gc(dry_run=True).dead > 0
    (store.folder / "config.toml").write_text("[gc]\ngrace = 1\n")
    with pytest.raises(InvalidInput, match=r"gc\.grace is an age"):
        store.gc()
    (store.folder / "config.toml").unlink()
    assert store.gc().dead == 0


def test_ages() -> None:
    assert [parse_age(text) for text in ("0", "90s", "2m", "3h", "1w")] == [
        0, 90_000_000, 120_000_000, 10_800_000_000, 7 * DAY,
    ]  # fmt: skip
    for text in ("", "1", "-1d", "1 d", "1y", "2026-01-01", "30D"):
        with pytest.raises(InvalidInput, match="not an age"):
            parse_age(text)
