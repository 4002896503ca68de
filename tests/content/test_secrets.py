"""Secrets in text: each rule finds its own and no more, wherever it stands and however it comes."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content.secret_guard import SecretGuard
from castore.content.secret_rules import _ENDINGS, _NAMES, RULES, rule_of_name
from castore.content.secret_search import search_secrets
from castore.model.ids import content_id
from castore.model.limits import SECRET_ANCHORS, SECRETS_TOLD
from castore.model.names import SECRET_RULES
from tests.secret_samples import one, samples

SAMPLES = [(rule, text) for rule, texts in samples().items() for text in texts]
NOT_SECRET = [
    b"AKIAIOSFODNN7EXAMPLE",
    b"ghp_" + b"x" * 36,
    b"ghp_" + b"a" * 36,
    b"ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    b"ghp_0123456789012345678901234567890123456789",
    b"sk-ant-api03-your-key-goes-here-" + b"0" * 80,
    b"-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
    b'if line.startswith("-----BEGIN PRIVATE KEY-----"):',
    b"postgres://user:password@db.corp.net/x",
    b"postgres://scott:tiger@db.corp.net/x",
    b"postgres://user:${PASSWORD}@db.corp.net/x",
    b"https://{user}:{token}@github.com/",
    b"https://user:%s@host.org/x",
    b"postgres://u:Zk3v9Qpw1@localhost:5432/x",
    b"postgres://u:Zk3v9Qpw1@db.example.com/x",
    b"http://[::1]:8080/a@b http://host:8080/@user:x@y",
    b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0"
    b".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    b"hf_" + b"get_model_from_the_hub_by_its_name_now",
    b"aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']",
    b"task-proj-" + b"aB3" * 20,
    b"mask_live_" + b"aB3dE5gH7jK9" * 3,
    b"d41d8cd98f00b204e9800998ecf8427e 9e107d9d372bb6826bd81d3542a419d6",
]


def guarded(*allowed: str) -> SecretGuard:
    guard = SecretGuard(lambda: allowed)
    guard.artifact = "a"
    return guard


def look(guard: SecretGuard, *files: tuple[str, bytes]) -> None:
    guard.look([(content_id(data), data) for _, data in files], (), [path for path, _ in files])


def test_every_rule_of_text_has_a_sample() -> None:
    assert {rule.id for rule in RULES} == set(samples())


@pytest.mark.parametrize(("rule", "text"), SAMPLES)
def test_a_secret_is_found_and_not_shown(rule: str, text: bytes) -> None:
    for before, after in ((b"", b""), (b"x = '", b"';\n"), (b'\xc3\xa9 {\n "k": "', b'"}')):
        found = search_secrets(before + text + after)
        assert found.whole
        assert [match.rule for match in found.matches] == [rule]
        secret = text.rsplit(b"://", 1)[-1] if rule == "url-password" else text
        assert secret.decode() not in found.matches[0].shown
        assert found.matches[0].shown.endswith("…")
        assert len(found.matches[0].shown) <= 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"mysql+pymysql://root:hunter2hunter@db.prod.acme.io/x", "mysql+pymysql://root:…"),
        (b"aws_secret_access_key = uC7kq0aVb1Zx9LmP3dR5tYhJ2nWsE8gF4iOoQyTc", "key =…"),
    ],
)
def test_of_a_secret_only_what_all_begin_with_is_shown(text: bytes, shown: str) -> None:
    found = search_secrets(text).matches
    assert found
    assert found[0].shown.endswith(shown)


@pytest.mark.parametrize("text", NOT_SECRET)
def test_what_only_looks_like_one_is_passed(text: bytes) -> None:
    assert search_secrets(b"before " + text + b" after\n").matches == []


def test_most_keys_of_chance_are_found() -> None:
    missed = [
        (rule, text)
        for seed in range(40)
        for rule, texts in samples(seed).items()
        for text in texts
        if [match.rule for match in search_secrets(text).matches] != [rule]
    ]
    assert len(missed) <= 40 * len(SAMPLES) // 500, missed


@settings(max_examples=60)
@given(st.data())
def test_pieces_give_what_the_whole_gives(data: st.DataObject) -> None:
    rule, text = data.draw(st.sampled_from(SAMPLES))
    fill = data.draw(st.sampled_from([b"word ", b"\n", b"a,b;"]))
    whole = fill * data.draw(st.integers(0, 3000)) + b" " + text + b" " + fill * 900
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    places = [0, *cuts, len(whole)]
    pieces, alone = guarded(), guarded()
    stream = pieces.begin("")
    for start, end in pairwise(places):
        stream.look(memoryview(bytearray(whole[start:end])))
    look(alone, ("", whole))
    assert pieces.refused
    assert alone.refused
    assert {(f.rule, f.offset) for f in pieces.findings} >= {
        (f.rule, f.offset) for f in alone.findings
    }
    assert {f.rule for f in pieces.findings} == {rule}


@pytest.mark.parametrize(("rule", "text"), SAMPLES)
def test_a_secret_is_found_wherever_it_is_cut(rule: str, text: bytes) -> None:
    for cut in range(1, len(text)):
        guard = guarded()
        stream = guard.begin("")
        stream.look(b"word " + text[:cut])
        assert stream.look(text[cut:] + b" word"), text[:cut]
        assert {finding.rule for finding in guard.findings} == {rule}


def test_a_piece_that_is_known_is_passed_over_but_for_what_goes_on_from_it() -> None:
    secret = one()
    stream = guarded().begin("")
    assert not stream.look(secret + b" ", known=True)
    assert not stream.look(b"nothing " * 10)
    guard = guarded()
    stream = guard.begin("")
    assert not stream.look(b"a " + secret[:20], known=True)
    assert stream.look(secret[20:] + b" b")
    assert [finding.offset for finding in guard.findings] == [2]


def test_each_of_many_files_is_told_by_its_own_name_and_line() -> None:
    guard = guarded()
    guard.root = "/w/out"
    files = [(f"/w/out/d/{at}.txt", b"line\n" * at + b"x\n") for at in range(50)]
    files[7] = ("/w/out/d/7.txt", b"one\ntwo\n" + one("jwt"))
    files[31] = ("/w/out/d/31.txt", one("aws-access-key") + b"\n" + one("stripe-key"))
    look(guard, *files)
    assert [(f.artifact, f.path, f.line, f.rule) for f in guard.findings] == [
        ("a", "d/7.txt", 3, "jwt"),
        ("a", "d/31.txt", 1, "aws-access-key"),
        ("a", "d/31.txt", 2, "stripe-key"),
    ]


def test_what_is_no_text_is_passed_and_other_encodings_are_read() -> None:
    secret = one()
    guard = guarded()
    look(guard, ("a.bin", b"\0\1" + secret), ("b.txt", b"\xff\xfe" + b"\x00\xd8"))
    assert not guard.refused
    look(guard, ("c.txt", b"a " + secret.decode().encode("utf-16")))
    assert not guard.refused
    look(guard, ("d.txt", ("eins\n" + secret.decode()).encode("utf-16")))
    assert [(f.path, f.line) for f in guard.findings] == [("d.txt", 2)]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        (".env", "env-file"),
        ("a/.env", "env-file"),
        ("a/.env.production", "env-file"),
        ("a/.env.example", None),
        ("a/.env.local.sample", None),
        ("env", None),
        ("a/.environment", None),
        ("id_rsa", "private-key-file"),
        ("id_rsa.pub", None),
        ("keys/id_ed25519", "private-key-file"),
        ("store.p12", "private-key-file"),
        ("p12", None),
        (".p12", None),
        (".aws/credentials", "credentials-file"),
        ("credentials.md", None),
        (".netrc", "credentials-file"),
        ("server.pem", None),
    ],
)
def test_files_that_are_secret_by_name(path: str, rule: str | None) -> None:
    assert rule_of_name(path) == rule
    guard = guarded()
    look(guard, (path, b"\0\1\2"))
    assert [finding.rule for finding in guard.findings] == ([rule] if rule else [])
    look(guarded(), (path, b""))
    assert rule is None or rule in SECRET_RULES


def test_what_is_allowed_is_let_through_and_noted() -> None:
    guard = guarded("jwt")
    look(guard, ("a.txt", one("jwt")))
    assert not guard.refused
    assert [finding.rule for finding in guard.let_through] == ["jwt"]
    look(guard, ("b.txt", one("jwt", 2) + b"\n" + one("github-token")))
    assert guard.refused
    assert [finding.rule for finding in guard.findings] == ["github-token"]


def test_known_content_is_not_searched_again() -> None:
    data = one()
    guard = guarded()
    guard.look([(content_id(data), data)], {content_id(data)}, ["a.txt"])
    assert not guard.refused


@pytest.mark.parametrize(
    "unit",
    [b"AKIA", b"PRIVATE KEY-----", b"-----BEGIN PRIVATE KEY-----\n", b"eyJ.eyJ", b"://a:b@", b"@"],
)
def test_hostile_text_is_looked_at_in_part(unit: bytes) -> None:
    data = b"://" + unit * (2_000_000 // len(unit))
    found = search_secrets(data)
    assert not found.whole
    assert found.matches == []


def test_findings_are_bounded_and_a_part_that_was_not_searched_is_said() -> None:
    guard = guarded()
    look(guard, ("a.txt", b"\n".join(one(seed=seed) for seed in range(SECRETS_TOLD + 20))))
    assert len(guard.findings) == SECRETS_TOLD
    assert guard.more
    guard = guarded()
    look(guard, ("b.txt", b"AKIA " * (SECRET_ANCHORS + 10)))
    assert guard.notices == [
        "b.txt: only a part was searched for secrets, so much in it looks like one"
    ]


def test_the_line_of_a_file_read_in_pieces_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"x\n" * 700_000 + one() + b"\n")
    guard = guarded()
    stream = guard.begin(os.fspath(path))
    with path.open("rb") as file:
        while piece := file.read(1 << 19):
            stream.look(piece)
    assert [finding.line for finding in guard.findings] == [700_001]


def test_lines_are_told_wherever_pieces_end(tmp_path: Path) -> None:
    """One is found over the end of a piece, after another that stands behind it."""
    path = tmp_path / "log.txt"
    keys = [one(seed=seed) for seed in range(5)]
    path.write_bytes(b"\n".join([b"a", keys[0], keys[1], b"\n\n", keys[2], keys[3], keys[4]]))
    for size in range(3, 90):
        stream = (guard := guarded()).begin(os.fspath(path))
        with path.open("rb") as file:
            while piece := file.read(size):
                stream.look(piece)
        assert sorted(found.line or 0 for found in guard.findings) == [2, 3, 7, 8, 9], size


def test_the_names_of_the_rules_are_those_of_the_rules() -> None:
    ids = {rule.id for rule in RULES} | set(_NAMES.values()) | set(_ENDINGS.values())
    assert tuple(sorted(ids)) == SECRET_RULES
