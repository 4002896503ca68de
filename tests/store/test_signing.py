"""Signing and verifying: what counts as signed under a policy, and everything that must not."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import castore
from castore import aio, errors
from castore.model.ids import Id
from castore.model.note import Note, encode_note
from castore.store.gate import SIGNED
from castore.store.policy import approval, last_approved, policy_in_force
from castore.store.signatures import _verifies, fingerprint, public_key, signatures, signers
from castore.store.statements import Stated
from tests.signing import know, needs_ssh, new_key
from tests.store.reviewing import put, say, stated, under

pytestmark = needs_ssh

ANN, BEN, EVA = "ann@example.org", "ben@example.org", "eva@example.org"
AUTHOR = "author@example.org"
DEMANDING = "{approvals: 2, signed: true}"


@pytest.fixture
def keys(store: castore.Store, tmp_path: Path) -> dict[str, Path]:
    """A key for each, which the store knows."""
    (tmp_path / "keys").mkdir()
    made = {name: new_key(tmp_path / "keys" / name) for name in (ANN, BEN, AUTHOR)}
    know(store.folder / "config.toml", made)
    return made


def reasons(store: castore.Store, version: castore.Version) -> tuple[str, ...]:
    """Why a version is not approved, which the gate must say as well."""
    found = approval(store, version, policy_in_force(store, version))
    judged = store.gate(version.id.hex(), require=["approved", SIGNED])
    told = {reason.detail for reason in judged.reasons}
    assert told == set(found.reasons)
    return found.reasons


def approve(store: castore.Store, name: str, key: Path) -> Stated:
    """An approval of the newest version, signed with this key."""
    given = store.approve("report", by=name)
    store.sign(given.id.hex(), by=name, key=key)
    return given


def verdicts(store: castore.Store, id: Id) -> list[str]:
    return [found.verdict for found in signatures(store, id)]


def armoured(store: castore.Store, id: Id) -> str:
    [found] = signatures(store, id)
    return found.note.text


def over(store: castore.Store, version: castore.Version, note: Id, text: str) -> Note:
    """A signature note about a note, not stored."""
    made = stated(store, version, EVA, "SHA256:x", subject="signature", text=text)
    return replace(made, target=note, target_kind="note")


def test_a_demanding_policy_is_met_by_signed_approvals(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w", DEMANDING)
    on_version = "no valid signature by a key that config.toml knows is on the version"
    store.approve("report", by=ANN)
    approve(store, BEN, keys[BEN])
    assert reasons(store, version) == (
        on_version,
        "1 of 2 approvals are signed by who gave them",
    )
    approve(store, f"Ann <{ANN.title()}>", keys[ANN])
    assert reasons(store, version) == (on_version,)
    store.sign("report", by="whoever", key=keys[AUTHOR])
    assert reasons(store, version) == ()
    assert store.gate("report").passed
    assert store.resolve("report@approved").version == version


def test_a_signature_counts_for_its_own_object_only(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    first = under(store, tmp_path / "w", "{signed: true}")
    given = approve(store, ANN, keys[ANN])
    text = armoured(store, given.id)
    store.sign("report", by=ANN, key=keys[ANN])
    signed = armoured(store, first.id)
    second = under(store, tmp_path / "w", "{signed: true}", text="y")
    other = say(store, second, ANN)
    put(store, over(store, second, other, text))
    say(store, second, ANN, "SHA256:x", subject="signature", text=signed)
    assert reasons(store, first) == ()
    assert len(reasons(store, second)) == 2
    assert verdicts(store, second.id) == verdicts(store, other) == ["invalid"]


def test_a_changed_note_has_another_id_and_no_signature(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w", "{signed: true}")
    store.sign("report", by=ANN, key=keys[ANN])
    rejected = store.reject("report", by=ANN, text="wrong")
    store.sign(rejected.id.hex(), by=ANN, key=keys[ANN])
    text = armoured(store, rejected.id)
    forged = replace(rejected.note, value="approved", replaces=(rejected.id,))
    put(store, forged, over(store, version, forged.id, text))
    assert "0 of 1 approvals are signed by who gave them" in reasons(store, version)
    [invalid] = [found for found in store.verify_signatures("report") if not found.own]
    assert (invalid.signature.verdict, invalid.about) == ("invalid", forged)


@pytest.mark.parametrize("at", [0, 40, 120, 200, -40])
def test_a_changed_signature_is_invalid(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path], at: int
) -> None:
    version = under(store, tmp_path / "w")
    made = store.sign("report", by=ANN, key=keys[ANN])
    text = made.note.text
    flipped = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    other = under(store, tmp_path / "w", text="y")
    say(store, other, ANN, made.note.value, subject="signature", text=flipped)
    assert signers(store, version.id) == {ANN}
    assert signers(store, other.id) == frozenset()
    assert verdicts(store, other.id) == ["invalid"]


def test_a_note_of_another_store_counts_for_nothing(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w")
    made = store.sign("report", by=ANN, key=keys[ANN])
    foreign = replace(made.note, scope=b"x" * 16)
    other = under(store, tmp_path / "w", text="y")
    put(store, replace(foreign, target=other.id))
    assert verdicts(store, other.id) == []
    with pytest.raises(errors.InvalidInput, match="another project"):
        store.receive_notes({foreign.id: encode_note(foreign)})
    assert signers(store, version.id) == {ANN}


def test_an_unknown_key_is_told_and_does_not_count(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w", "{signed: true}")
    stranger = new_key(tmp_path / "stranger")
    store.sign("report", by=ANN, key=stranger)
    given = approve(store, ANN, stranger)
    assert len(reasons(store, version)) == 2
    assert verdicts(store, version.id) == verdicts(store, given.id) == ["unknown"]
    know(store.folder / "config.toml", {ANN: stranger})
    assert reasons(store, version) == ()
    assert verdicts(store, version.id) == ["valid"]


def test_the_key_of_another_signs_no_approval(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w", "{signed: true}")
    given = approve(store, ANN, keys[BEN])
    store.sign("report", by=ANN, key=keys[BEN])
    assert reasons(store, version) == ("0 of 1 approvals are signed by who gave them",)
    [found] = [one for one in store.verify_signatures("report") if one.about == given.note]
    assert found.signature.signers == (BEN,)
    assert not found.own
    with pytest.raises(errors.NotApproved, match="who wrote it signs it"):
        store.sign(given.id.hex(), by=BEN, key=keys[BEN])


def test_one_person_with_two_approvals_counts_once(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w", DEMANDING)
    store.sign("report", by=ANN, key=keys[ANN])
    approve(store, ANN, keys[ANN])
    second = stated(store, version, ANN.upper(), "approved")
    put(store, second)
    store.sign(second.id.hex(), by=ANN, key=keys[ANN])
    assert "1 of 2 approvals are signed by who gave them" in reasons(store, version)


def test_a_signed_rejection_is_taken_back_by_signature_only(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w", "{signed: true}")
    approve(store, ANN, keys[ANN])
    store.sign("report", by=ANN, key=keys[ANN])
    rejected = store.reject("report", by=BEN)
    store.sign(rejected.id.hex(), by=BEN, key=keys[BEN])
    assert reasons(store, version) == (f"rejected by {BEN}",)
    store.revoke("report", by=BEN)
    assert reasons(store, version) == (
        f"rejected by {BEN}, who signed that and signed nothing that takes it back",
    )
    again = store.approve("report", by=BEN)
    assert len(reasons(store, version)) == 1
    store.sign(again.id.hex(), by=BEN, key=keys[BEN])
    assert reasons(store, version) == ()


def test_a_dismissed_signature_counts_unless_dismissing_is_forbidden(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w")
    made = store.sign("report", by=ANN, key=keys[ANN])
    store.dismiss(made.id.hex(), by=BEN)
    assert signers(store, version.id) == frozenset()
    assert signers(store, version.id, dismissals=False) == {ANN}
    store.sign("report", by=ANN, key=keys[ANN])
    assert signers(store, version.id) == {ANN}


def test_the_policy_in_force_follows_signatures(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    first = under(store, tmp_path / "w", "{signed: true}")
    store.approve("report", by=ANN)
    second = under(store, tmp_path / "w", text="y")
    assert last_approved(store, second) is None
    assert not policy_in_force(store, second).signed
    store.sign(first.id.hex(), by=ANN, key=keys[ANN])
    given = next(id for id, note in store.notes(first).items() if note.subject == "review")
    store.sign(given.hex(), by=ANN, key=keys[ANN])
    assert last_approved(store, second) == first
    assert policy_in_force(store, second).signed


def test_without_the_program_the_policy_in_force_is_not_guessed(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = under(store, tmp_path / "w", "{signed: true}")
    approve(store, ANN, keys[ANN])
    store.sign(first.id.hex(), by=ANN, key=keys[ANN])
    second = under(store, tmp_path / "w", text="y")
    say(store, second, ANN)
    monkeypatch.setenv("PATH", str(tmp_path))
    _verifies.cache_clear()
    with pytest.raises(errors.CastoreError, match="cannot be verified"):
        policy_in_force(store, second)
    found = approval(store, first, policy_in_force(store, first))
    assert "cannot be verified" in found.reasons[-1]
    assert [store.status_of(version).review for version in (first, second)] == ["pending"] * 2


def test_signing_again_changes_nothing(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    under(store, tmp_path / "w")
    first = store.sign("report", by=ANN, key=keys[ANN])
    assert store.sign("report", by=BEN, key=keys[ANN]).id == first.id
    assert store.sign("report", by=ANN, key=keys[BEN]).id != first.id
    assert first.note.value == fingerprint(public_key(first.note.text))
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(keys[ANN])], capture_output=True, check=True, timeout=60
    )
    assert first.note.value == shown.stdout.decode().split()[1]


def test_what_is_signed_is_named_in_full(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w")
    with pytest.raises(errors.InvalidInput):
        store.sign(version.id.hex()[:12], by=ANN, key=keys[ANN])
    made = store.sign("report@v1", by=ANN, key=keys[ANN])
    with pytest.raises(errors.InvalidInput, match="itself a signature"):
        store.sign(made.id.hex(), by=ANN, key=keys[ANN])
    with pytest.raises(errors.NotFound):
        store.sign("0" * 64, by=ANN, key=keys[ANN])


def test_a_key_that_cannot_sign_is_told(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w")
    with pytest.raises(errors.InvalidInput, match=r"signing\.key is not set"):
        store.sign("report", by=ANN)
    with pytest.raises(errors.InvalidInput, match="no file"):
        store.sign("report", by=ANN, key=tmp_path / "absent")
    locked = new_key(tmp_path / "locked", "a secret of ann")
    with pytest.raises(errors.CastoreError, match="passphrase") as caught:
        store.sign("report", by=ANN, key=locked)
    assert caught.value.fix == f"ssh-add {locked}"
    lone = tmp_path / "lone.pub"
    lone.write_text((tmp_path / "locked.pub").read_text())
    with pytest.raises(errors.CastoreError, match="cannot sign"):
        store.sign("report", by=ANN, key=lone)
    assert store.notes(version) == {}


def test_an_agent_signs_for_a_public_key(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = under(store, tmp_path / "w")
    key = new_key(tmp_path / "held")
    know(store.folder / "config.toml", {ANN: key}, signing=tmp_path / "held.pub")
    socket = tmp_path / "s"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        words = ["sh", "-c", 'while [ ! -S "$1" ]; do sleep 0.01; done; ssh-add -q "$2"', "sh"]
        subprocess.run([*words, str(socket), str(key)], check=True, timeout=30)
        os.unlink(key)
        store.sign("report", by=ANN)
    finally:
        agent.terminate()
        agent.wait(30)
    assert signers(store, version.id) == {ANN}


def test_what_the_author_signed_is_trusted(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w")
    assert store.record(version)["trust"]["author"] == "claimed"
    store.sign("report", by=ANN, key=keys[ANN])
    assert store.record(version)["trust"]["author"] == "claimed"
    store.sign("report", by=AUTHOR, key=keys[AUTHOR])
    trust = store.record(version)["trust"]
    assert (trust["author"], trust["run"], trust["spec"]) == ("signed", "signed", "observed")
    assert trust["agent"] is None


def test_signatures_of_all_versions(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    first = under(store, tmp_path / "w")
    store.sign("report", by=ANN, key=keys[ANN])
    second = under(store, tmp_path / "w", text="y")
    given = approve(store, BEN, keys[BEN])
    rows = [one.as_json() for one in store.verify_signatures()]
    assert [(row["version"], row["kind"], row["by"], row["signers"]) for row in rows] == [
        (second.id.hex(), "note", BEN, [BEN]),
        (first.id.hex(), "manifest", "Author <author@example.org>", [ANN]),
    ]
    assert all(row["verdict"] == "valid" and row["counts"] for row in rows)
    assert rows[0]["target"] == given.id.hex()

    async def listed() -> list[str]:
        other = aio.AsyncStore(store)
        await other.sign("report", by=ANN, key=keys[ANN])
        return [one.signature.verdict async for one in other.verify_signatures("report")]

    assert asyncio.run(listed()) == ["valid", "valid"]


def test_collection_keeps_signatures(
    store: castore.Store, tmp_path: Path, keys: dict[str, Path]
) -> None:
    version = under(store, tmp_path / "w")
    given = approve(store, ANN, keys[ANN])
    store.gc(grace=0)
    assert signers(store, given.id) == {ANN}
    assert store.fsck(full=True).ok
    assert len(list(store.verify_signatures(version.id.hex()))) == 1
