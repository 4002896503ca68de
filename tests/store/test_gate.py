"""The gate: every requirement, what is meant on disk by its bytes, and what never passes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import castore
from castore import errors
from castore.model.ids import Kind
from castore.model.manifest import CheckResult, encode_manifest
from castore.store.gate import APPROVED, COMPLETE, FRESH, LIFECYCLE, SIGNED, VALID, Judgement
from castore.store.publish import metadata_block
from castore.store.signatures import signers
from tests.store.reviewing import known, put, say, stated, under

ANN, BEN = "ann@example.org", "ben@example.org"
needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def kinds(found: Judgement) -> list[str]:
    """The requirements that are missed."""
    return [reason.requirement for reason in found.reasons]


def release(store: castore.Store, out: Path, name: str) -> Path:
    """A checkout of the newest version of `out`."""
    store.checkout("out", out.parent / name)
    return out.parent / name


def refused(store: castore.Store, what: Path, **options: str) -> errors.NotApproved:
    with pytest.raises(errors.NotApproved) as caught:
        store.gate(what, **options)  # type: ignore[arg-type]
    return caught.value


def test_by_default_approved_and_valid(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    found = store.gate("report")
    assert found.require == ("approved", "valid")
    assert [reason.as_json() for reason in found.reasons] == [
        {
            "requirement": APPROVED,
            "artifact": None,
            "detail": "0 of 1 approvals",
            "fix": "cas approve report@v1",
        }
    ]
    assert not found.passed
    say(store, version, ANN)
    found = store.gate("report")
    assert found.passed
    assert found.approvers == (ANN,)
    assert found.as_json()["id"] == version.id.hex()


def test_the_policy_file_counts_and_says_what_is_required(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, ANN)
    policy = b"review: {approvals: 2}\nrequire: [approved, fresh]\n"
    found = store.gate("report", policy=policy)
    assert found.require == ("approved", "fresh")
    assert kinds(found) == [APPROVED]
    assert store.gate("report", policy=policy, require=["valid"]).passed


def test_fresh_refuses_what_is_stale(store: castore.Store, tmp_path: Path) -> None:
    under(store, tmp_path / "w")
    spec = tmp_path / "w" / "report.spec.yaml"
    assert store.gate("report", require=["fresh"]).passed
    spec.write_text(spec.read_text().replace("'1'", "'2'"))
    found = store.gate("report", require=["fresh"])
    assert kinds(found) == [FRESH]
    assert found.reasons[0].artifact == "text"
    spec.unlink()
    found = store.gate("report", require=["fresh"])
    assert found.passed
    assert "is not here" in found.notes[0]


def test_valid_needs_every_check_passed_and_no_failed_validation(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w")
    assert store.gate("report", require=["valid"]).passed
    note = say(store, version, "ci", "failed", subject="validation")
    assert kinds(store.gate("report", require=["valid"])) == [VALID]
    say(store, version, "ci", "passed", subject="validation", replaces=(note,))
    assert store.gate("report", require=["valid"]).passed


@pytest.mark.parametrize(
    ("check", "result", "passes"),
    [("schema", "skipped", False), ("present", "skipped", True), ("format", "passed", True)],
)
def test_a_check_that_was_skipped_did_not_pass(
    store: castore.Store, tmp_path: Path, check: str, result: str, passes: bool
) -> None:
    manifest = under(store, tmp_path / "w").manifest
    altered = {
        field: getattr(manifest, field)
        for field in type(manifest).__match_args__  # type: ignore[attr-defined]
    }
    altered["checks"] = (CheckResult("text", check, result, "too big"),)
    changed = type(manifest)(**altered)
    block, _ = metadata_block(Kind.MANIFEST, encode_manifest(changed))
    store.database.write(lambda tables: tables.put_blocks([block]))
    found = store.gate(changed.id.hex(), require=["valid"])
    assert found.passed is passes
    if not passes:
        assert found.reasons[0].detail == "schema skipped: too big"


def test_an_incomplete_set_never_passes(store: castore.Store, tmp_path: Path) -> None:
    under(store, tmp_path / "w")
    (tmp_path / "w" / "text.txt").unlink()
    with pytest.raises(errors.IncompleteSet) as caught:
        store.commit(spec=tmp_path / "w" / "report.spec.yaml", cwd=tmp_path / "w")
    partial = caught.value.attributes["partial"]
    for require in (["complete"], ["fresh"], ["valid"]):
        found = store.gate(partial, require=require)
        assert COMPLETE in kinds(found)
        assert found.reasons[0].artifact == "text"


def test_what_was_withdrawn_never_passes(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, ANN)
    say(store, version, ANN, "withdrawn", subject="lifecycle")
    assert kinds(store.gate("report")) == [LIFECYCLE]
    assert kinds(store.gate("report", require=["complete"])) == [LIFECYCLE]


def test_selectors_that_may_be_judged(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, ANN)
    store.tag("q3", "report")
    for what in ("report", "report@v1", "q3", version.id.hex(), "report@approved"):
        assert store.gate(what).version.id == version.id
    with pytest.raises(errors.InvalidInput, match="short id") as caught:
        store.gate(version.id.hex()[:12])
    assert caught.value.fix == f"cas gate {version.id.hex()}"
    with pytest.raises(errors.InvalidInput, match="as a whole"):
        store.gate("report:text")
    with pytest.raises(errors.InvalidInput, match="did you mean approved"):
        store.gate("report", require=["aproved"])
    with pytest.raises(errors.RefNotFound):
        store.gate("nobody")


def test_an_id_that_was_expected(store: castore.Store, tmp_path: Path) -> None:
    first = under(store, tmp_path / "w")
    assert store.gate("report", require=["valid"], expect=first.id.hex()).passed
    second = under(store, tmp_path / "w", text="y")
    with pytest.raises(errors.RefMoved) as caught:
        store.gate("report", require=["valid"], expect=first.id.hex())
    assert caught.value.attributes["id"] == second.id.hex()
    with pytest.raises(errors.InvalidInput, match="full id"):
        store.gate("report", expect=first.id.hex()[:12])


def test_a_folder_is_the_version_with_exactly_its_files(store: castore.Store, out: Path) -> None:
    store.commit(str(out))
    (out / "report.md").write_text("# Later\n")
    later = store.commit(str(out)).version
    folder = release(store, out, "release")
    assert store.gate(folder, require=["valid"]).version.id == later.id
    (folder / "empty").mkdir()
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x")
    assert store.gate(str(folder), require=["valid"]).passed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda at: (at / "report.md").write_text("other"), "report.md differs"),
        (lambda at: (at / "data" / "a.csv").write_text("other"), "data differs"),
        (lambda at: (at / "data" / "deep" / "run.sh").chmod(0o644), "data differs"),
        (lambda at: (at / "data" / "more").write_text(""), "data differs"),
        (lambda at: (at / ".hidden").write_text(""), ".hidden is too many"),
        (lambda at: (at / "metrics.json").unlink(), "metrics.json is not there"),
    ],
)
def test_one_byte_or_file_otherwise_is_no_version(
    store: castore.Store, out: Path, change: object, told: str
) -> None:
    store.commit(str(out))
    folder = release(store, out, "release")
    change(folder)  # type: ignore[operator]
    error = refused(store, folder)
    assert told in error.message
    assert error.attributes["reasons"][0]["requirement"] == "known"
    assert error.attributes["id"] is None


def test_nothing_is_left_out_by_an_ignore_file(store: castore.Store, out: Path) -> None:
    store.commit(str(out))
    folder = release(store, out, "release")
    (folder / ".casignore").write_text("evil\n")
    (folder / "evil").write_text("x")
    assert "is too many" in refused(store, folder).message


def test_folders_that_are_no_release(store: castore.Store, out: Path, tmp_path: Path) -> None:
    store.commit(str(out))
    (tmp_path / "strange").mkdir()
    with pytest.raises(errors.InvalidInput, match="no files"):
        store.gate(tmp_path / "strange")
    (tmp_path / "strange" / "f").write_text("never seen")
    assert "nor one of them" in refused(store, tmp_path / "strange").message
    (tmp_path / "strange" / "link").symlink_to("f")
    with pytest.raises(errors.InvalidInput):
        store.gate(tmp_path / "strange")
    with pytest.raises(errors.NotFound):
        store.gate("./not/there")


def test_of_equal_sets_the_newest_that_passes_unless_one_was_turned_down(
    store: castore.Store, out: Path
) -> None:
    first = store.commit(str(out)).version
    second = store.commit(str(out)).version
    folder = release(store, out, "release")
    assert kinds(store.gate(folder)) == [APPROVED]
    say(store, first, ANN)
    assert store.gate(folder).version.id == first.id
    assert store.gate(folder, expect=first.id.hex()).passed
    assert not store.gate(folder, expect=second.id.hex()).passed
    with pytest.raises(errors.RefMoved):
        store.gate(folder, expect="0" * 64)
    rejection = say(store, second, BEN, "rejected")
    found = store.gate(folder)
    assert (found.version.id, kinds(found)) == (first.id, [APPROVED])
    assert "has the same bytes" in found.reasons[0].detail
    say(store, second, BEN, "revoked", replaces=(rejection,))
    say(store, second, BEN, "withdrawn", subject="lifecycle")
    assert kinds(store.gate(folder)) == [LIFECYCLE]


def test_a_file_is_the_newest_version_that_holds_it_and_passes(
    store: castore.Store, out: Path
) -> None:
    first = store.commit(str(out)).version
    (out / "report.md").write_text("# Later\n")
    second = store.commit(str(out)).version
    file = out / "data" / "a.csv"
    found = store.gate(file)
    assert (found.version.id, kinds(found)) == (second.id, [APPROVED])
    say(store, first, ANN)
    assert store.gate(file).version.id == first.id
    assert not store.gate(out / "report.md").passed
    file.write_text("never seen")
    assert "no version holds these bytes" in refused(store, file).message


def keys(folder: Path, *people: str) -> dict[str, Path]:
    """A new key for each, which the store in `folder` knows."""
    folder.joinpath("keys").mkdir()
    made = {}
    lines = []
    for name in people:
        made[name] = folder / "keys" / name
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made[name])]
        subprocess.run(words, check=True, timeout=60)
        public = made[name].with_name(name + ".pub").read_text().strip()
        lines += [f'[identity."{name}"]', f'keys = ["{public}"]']
    (folder / ".cas" / "config.toml").write_text("\n".join(lines))
    return made


def sign(store: castore.Store, key: Path, id: bytes, kind: str = "manifest", **signed: str) -> None:
    """A note with the signature of this key over an id."""
    message = signed.get("message", id.hex())
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key)]
    words += ["-n", signed.get("namespace", "castore")]
    done = subprocess.run(words, input=message.encode(), capture_output=True, check=True)
    target = store.resolve("report").version
    note = stated(
        store, target, "anybody", "SHA256:x", subject="signature", text=done.stdout.decode()
    )
    fields = {field: getattr(note, field) for field in type(note).__match_args__}  # type: ignore[attr-defined]
    put(store, type(note)(**{**fields, "target": id, "target_kind": kind}))


@needs_ssh
def test_signed_needs_a_valid_signature_by_a_known_key(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w")
    key = keys(tmp_path, ANN)[ANN]
    assert kinds(store.gate("report", require=["signed"])) == [SIGNED]
    sign(store, key, version.id, message="0" * 64)
    sign(store, key, version.id, namespace="git")
    say(store, version, ANN, "SHA256:x", subject="signature", text="no signature")
    assert signers(store, version.id) == frozenset()
    sign(store, key, version.id)
    assert signers(store, version.id) == {ANN}
    assert store.gate("report", require=["signed"]).passed
    known(store, ANN)
    assert kinds(store.gate("report", require=["signed"])) == [SIGNED]


@needs_ssh
def test_signed_counts_the_approvals_that_the_policy_demands(
    store: castore.Store, tmp_path: Path
) -> None:
    version = under(store, tmp_path / "w", "{approvals: 2, signed: true}")
    mine = keys(tmp_path, ANN, BEN)
    sign(store, mine[ANN], version.id)
    approvals = {name: say(store, version, name) for name in (ANN, BEN)}
    sign(store, mine[ANN], approvals[ANN], "note")
    sign(store, mine[ANN], approvals[BEN], "note")
    found = store.gate("report", require=["signed"])
    assert [reason.detail for reason in found.reasons] == [
        "1 of 2 approvals are signed by who gave them"
    ]
    sign(store, mine[BEN], approvals[BEN], "note")
    assert store.gate("report", require=["signed"]).passed


@needs_ssh
def test_without_the_program_nothing_counts_as_signed(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = under(store, tmp_path / "w")
    sign(store, keys(tmp_path, ANN)[ANN], version.id)
    monkeypatch.setenv("PATH", str(tmp_path))
    [reason] = store.gate("report", require=["signed"]).reasons
    assert "cannot be verified" in reason.detail


def test_what_is_gone_does_not_pass(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    say(store, version, ANN)
    with store.session("other") as session:
        session.write("a", b"kept elsewhere")
        older = session.commit()
    say(store, older, ANN)
    assert store.gate("report").passed
    name = store.set_of(version).artifacts[0].name
    store.purge(f"report:{name}", reason="a name in it", by=ANN)
    found = store.gate("report")
    assert kinds(found) == [COMPLETE]
    assert "was purged from this store" in found.reasons[0].detail
    with store.session("other") as session:
        session.write("a", b"newer")
        session.commit()
    store.forget(older.id.hex(), why="of no use", by=ANN)
    for require in (["fresh"], ["valid", "complete"], ["approved"]):
        assert kinds(store.gate(older.id.hex(), require=require)) == [COMPLETE]
    gone = store.gate(older.id.hex())
    assert kinds(gone) == [COMPLETE]
    assert "forgotten on" in gone.reasons[0].detail


def test_what_was_rejected_is_not_to_be_approved(store: castore.Store, tmp_path: Path) -> None:
    version = under(store, tmp_path / "w")
    assert store.gate("report").reasons[0].fix == "cas approve report@v1"
    say(store, version, BEN, "rejected")
    assert {reason.fix for reason in store.gate("report").reasons} == {"cas show report@v1"}
