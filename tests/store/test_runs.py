"""Runs from the library: what a command makes becomes a version, or a partial that goes on."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from pathlib import Path

import pytest

import castore
from castore import aio, errors
from castore.model.limits import META_BYTES
from castore.store.intent import ran_command
from castore.store.partials import list_partials
from castore.store.processes import Ended, Streams
from castore.store.run_meta import as_text, fitted, run_meta
from castore.store.runs import RunReport

SPEC = """\
spec: report
version: "1.0"
artifacts:
  - {name: summary, type: document, format: markdown, path: summary.md}
  - {name: metrics, type: dataset, format: json, path: data/metrics.json}
"""
SUMMARY = 'echo "# $WORD" > "$CAS_OUT/summary.md"; '
METRICS = 'mkdir "$CAS_OUT/data"; echo {} > "$CAS_OUT/data/metrics.json"; '


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "report.spec.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "TMPDIR": str(tmp_path / "tmp"),
        "WORD": "Hello",
    }


def run(
    store: castore.Store, spec: Path, env: dict[str, str], script: str, **options: object
) -> RunReport:
    return store.execute("sh", "-c", script, env=env, spec=spec, cwd=spec.parent, **options)  # type: ignore[arg-type]


def left(env: dict[str, str]) -> list[str]:
    return os.listdir(env["TMPDIR"])


def test_what_a_command_makes_is_one_version(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    context = castore.Context(run="run-1", agent=castore.Agent("writer", "7"), author="ann")
    report = run(
        store, spec, {**env, "LANG": "C.UTF-8", "SECRET": "s3cret"},
        SUMMARY + METRICS + "echo said", context=context, message="first", meta={"mine": 1},
    )  # fmt: skip
    assert (report.code, report.by_command, report.kept) == (0, False, None)
    version = report.version
    assert version is not None
    assert version.label == "report@v1"
    manifest = version.manifest
    assert (manifest.run, manifest.message, manifest.author) == ("run-1", "first", "ann")
    assert manifest.agent == castore.Agent("writer", "7")
    assert manifest.folder == ""
    assert store.read_bytes("report:summary") == b"# Hello\n"
    assert shlex.split(str(manifest.meta["run.command"]))[:2] == ["sh", "-c"]
    assert (manifest.meta["run.exit"], manifest.meta["run.output"]) == (0, "said\n")
    assert manifest.meta["run.environment"] == "LANG=C.UTF-8"
    assert manifest.meta["mine"] == 1
    assert "s3cret" not in str(manifest)
    assert left(env) == []


def test_the_command_is_told_where_it_belongs(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    told = castore.Context(
        run="run-1", agent=castore.Agent("writer", "7"), author="ann", trace="ab" * 16,
        workspace="w", operation="op-1",
    )  # fmt: skip
    report = run(store, spec, env, SUMMARY + METRICS + "env | grep -E '^(CAS|TRACE)'", context=told)
    assert report.ended is not None
    said = dict(line.split("=", 1) for line in report.ended.tail.decode().splitlines())
    home = Path(said["CAS_OUT"]).parent
    assert home.parent == Path(env["TMPDIR"])
    assert said.pop("TRACEPARENT").startswith(f"00-{'ab' * 16}-")
    assert said == {
        "CAS_OUT": str(home / "out"),
        "CAS_SOURCES": str(home / "sources.json"),
        "CAS_STORE": str(store.folder),
        "CAS_RUN": "run-1",
        "CAS_TRACE": "ab" * 16,
        "CAS_WORKSPACE": "w",
        "CAS_AUTHOR": "ann",
        "CAS_AGENT": "writer@7",
        "CAS_OPERATION_ID": "op-1",
    }
    # A program that reads them all is in the same context.
    assert castore.Context.from_environ(said) == told


def test_the_trace_that_is_there_is_handed_on(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    parent = f"00-{'cd' * 16}-{'12' * 8}-01"
    context = castore.Context.from_environ({"TRACEPARENT": parent})
    script = SUMMARY + METRICS + 'echo "$TRACEPARENT $CAS_TRACE"'
    report = run(store, spec, {**env, "TRACEPARENT": parent}, script, context=context)
    assert report.ended is not None
    assert report.ended.tail.decode().split() == [parent, "cd" * 16]
    assert report.version is not None
    assert report.version.manifest.trace == "cd" * 16
    for trace in ("", "mine", "0" * 32):
        report = run(
            store, spec, env, SUMMARY + METRICS + 'echo "<$TRACEPARENT>"',
            context=castore.Context(trace=trace),
        )  # fmt: skip
        assert report.ended is not None
        assert report.ended.tail == b"<>\n"


def test_a_command_that_fails_leaves_a_partial(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    context = castore.Context(run="run-1")
    report = run(store, spec, env, SUMMARY + "echo why >&2; exit 3", context=context)
    assert report.code == 3
    assert report.version is not None
    assert report.version.label == "partial/run-1/report"
    manifest = report.version.manifest
    assert (manifest.missing, manifest.complete) == (("metrics",), False)
    assert (manifest.meta["run.exit"], manifest.meta["run.output"]) == (3, "why\n")
    assert report.kept is not None
    assert (report.kept / "summary.md").read_text() == "# Hello\n"
    assert os.listdir(report.kept.parent) == ["out"]
    with pytest.raises(errors.RefNotFound):
        store.resolve("report")
    (partial,) = list_partials(store, cwd=spec.parent)
    assert partial.command == report.fix
    assert shlex.split(report.fix)[:7] == [
        "cas", "run", "--spec", "report.spec.yaml", "--resume", "run-1", "--",
    ]  # fmt: skip


def test_the_partial_is_run_to_its_end(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    run(store, spec, env, SUMMARY + METRICS + "exit 3", context=castore.Context(run="run-1"))
    # The second time only one is made: the other is kept. What is made anew wins.
    report = run(store, spec, {**env, "WORD": "Better"}, SUMMARY, resume="run-1")
    assert report.code == 0
    assert report.version is not None
    assert report.version.label == "report@v1"
    manifest = report.version.manifest
    assert (manifest.run, manifest.meta["run.exit"]) == ("run-1", 0)
    assert store.read_bytes("report:summary") == b"# Better\n"
    assert store.read_bytes("report:metrics") == b"{}\n"
    assert store.partials() == []
    with pytest.raises(errors.RefNotFound, match="no incomplete set"):
        run(store, spec, env, SUMMARY, resume="run-1")


def test_a_refused_set_stays_in_its_folder(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    with pytest.raises(errors.IncompleteSet, match="nothing was published") as caught:
        run(store, spec, env, SUMMARY, context=castore.Context(run="run-1"))
    out = Path(str(caught.value.attributes["out"]))
    assert caught.value.missing == ["metrics"]
    assert os.listdir(out) == ["summary.md"]
    assert str(out) in caught.value.fix
    (out / "data").mkdir()
    (out / "data/metrics.json").write_text("[]")
    store.commit(str(out), spec=spec, cwd=spec.parent, resume="run-1")
    assert store.read_bytes("report:metrics") == b"[]"


@pytest.mark.parametrize("code", [0, 4])
def test_a_command_that_commits_this_branch_itself(
    store: castore.Store, spec: Path, env: dict[str, str], code: int
) -> None:
    def within(data: bytes) -> None:
        with castore.open(store.folder) as inner:
            folder = Path(data.decode().strip())
            (folder / "summary.md").write_text("# By itself\n")
            (folder / "data").mkdir()
            (folder / "data/metrics.json").write_text("{}")
            inner.commit(
                str(folder), spec=spec, cwd=spec.parent, context=castore.Context(run="run-1")
            )

    script = f'echo "$CAS_OUT"; while [ ! -d "$CAS_OUT/data" ]; do sleep 0.01; done; exit {code}'
    report = run(
        store, spec, env, script, context=castore.Context(run="run-1"), streams=Streams(within)
    )
    assert report.by_command
    assert (report.code, report.report) == (code, None)
    assert report.version is not None
    assert report.version.label == "report@v1"
    assert [version.number for version in store.log("report")] == [1]
    assert store.partials() == []
    # What lies beside is not known to be stored: it stays.
    assert report.kept is not None


def test_versions_of_other_runs_are_not_taken_for_ours(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    run(store, spec, env, SUMMARY + METRICS, context=castore.Context(run="run-1"))
    # An earlier version of the same run, and one of another while it runs.
    report = run(store, spec, env, SUMMARY + METRICS, context=castore.Context(run="run-1"))
    assert not report.by_command
    assert [version.number for version in store.log("report")] == [2, 1]


def test_without_a_spec_the_entries_are_the_artifacts(
    store: castore.Store, tmp_path: Path, spec: Path, env: dict[str, str]
) -> None:
    report = store.execute("sh", "-c", SUMMARY, env=env, name="plain", cwd=tmp_path)
    assert report.version is not None
    assert [a.artifact.name for a in store.artifacts("plain")] == ["summary.md"]
    assert report.version.manifest.folder == ""
    failed = store.execute("sh", "-c", "exit 9", env=env, name="plain", cwd=tmp_path)
    assert (failed.code, failed.version, failed.kept) == (9, None, None)
    assert "nothing was sealed" in failed.warnings[0]
    with pytest.raises(errors.InvalidInput, match="holds nothing"):
        store.execute("true", env=env, name="plain", cwd=tmp_path)


def test_an_operation_is_run_once(store: castore.Store, spec: Path, env: dict[str, str]) -> None:
    context = castore.Context(operation="job-1")
    first = run(store, spec, env, SUMMARY + METRICS, context=context)
    again = run(store, spec, env, "touch ran; exit 1", context=context)
    assert again.ended is None
    assert again.code == 0
    assert again.report is not None
    assert again.report.replayed
    assert again.version is not None
    assert first.version is not None
    assert again.version.id == first.version.id


def test_only_makes_one_and_carries_the_rest(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidInput, match="has none"):
        run(store, spec, env, SUMMARY, only=("summary",))
    first = run(store, spec, env, SUMMARY + METRICS)
    second = run(store, spec, {**env, "WORD": "Again"}, SUMMARY, only=("summary",))
    assert first.version is not None
    assert second.version is not None
    assert second.version.manifest.carried == (("metrics", first.version.id),)


REFUSED = {
    "source": ({"sources": ("nope",)}, "called 'nope'"),
    "artifact": ({"sources": ("summry=file:/dev/null",)}, "not a regular file"),
    "declared": ({"sources": ("summry=s3://x/y",)}, "did you mean summary"),
    "only": ({"only": ("summry",)}, "did you mean summary"),
    "meta": ({"meta": {"k": "x" * META_BYTES}}, "meta takes more"),
    "name": ({"name": "-bad"}, "-bad"),
    "resume": ({"resume": "run-9"}, "run-9"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_refused_is_refused_before_the_command_runs(
    store: castore.Store, spec: Path, env: dict[str, str], tmp_path: Path, name: str
) -> None:
    options, words = REFUSED[name]
    with pytest.raises(errors.CastoreError, match=words):
        run(store, spec, env, f"touch {tmp_path}/ran", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()
    assert left(env) == []


def test_commands_that_cannot_be_run_leave_nothing(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    with pytest.raises(errors.CommandNotFound, match="no command"):
        store.execute("no-such-command", env=env, spec=spec, cwd=spec.parent)
    (spec.parent / "text").write_text("text\n")
    (spec.parent / "text").chmod(0o755)
    with pytest.raises(errors.CommandNotExecutable, match="cannot be run"):
        store.execute(str(spec.parent / "text"), env=env, spec=spec, cwd=spec.parent)
    assert store.partials() == []
    assert left(env) == []


def test_sources_are_listed_and_checked_out(
    store: castore.Store, spec: Path, env: dict[str, str], out: Path, tmp_path: Path
) -> None:
    store.commit(str(out), name="sales")
    (tmp_path / "raw.csv").write_text("a\n")
    sources = (
        "sales", "summary=sales:report.md", "sales:data/deep/run.sh", "file:raw.csv", "s3://b/k",
    )  # fmt: skip
    script = SUMMARY + METRICS + 'cat "$CAS_SOURCES"'
    plain = run(store, spec, env, script, sources=sources)
    assert plain.ended is not None
    listed = json.loads(plain.ended.tail)
    assert [source["path"] for source in listed] == [None] * 5
    assert [source["label"] for source in listed] == [
        "sales@v1", "sales@v1:report.md", "sales@v1:data/deep/run.sh", None, None,
    ]  # fmt: skip
    assert listed[3]["size"] == 2
    read = (
        "import json, os; s = json.load(open(os.environ['CAS_SOURCES']))\n"
        "print(sorted(os.listdir(s[0]['path'])), open(s[1]['path']).read(), s[2]['path'])\n"
        "print(open(s[2]['path']).read(), [x['path'] for x in s[3:]])"
    )
    script = SUMMARY + METRICS + f"python3 -c {shlex.quote(read)}"
    report = run(store, spec, env, script, sources=sources, checkout_sources=True)
    assert report.code == 0, report
    assert report.ended is not None
    text = report.ended.tail.decode()
    assert "['data', 'metrics.json', 'report.md'] # Report" in text
    assert "echo hi\n [None, None]" in text
    assert report.version is not None
    evidence = {s.selector: s.evidence for s in report.version.manifest.sources}
    assert evidence == {
        "sales": "observed", "sales:report.md": "observed", "sales:data/deep/run.sh": "observed",
        "file:raw.csv": "claimed", "s3://b/k": "claimed",
    }  # fmt: skip
    assert left(env) == []


def test_a_folder_of_ones_own(
    store: castore.Store, spec: Path, env: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "here"
    report = run(store, spec, env, SUMMARY + METRICS, out=folder)
    assert report.kept == folder
    assert sorted(os.listdir(folder)) == ["data", "summary.md"]
    with pytest.raises(errors.WouldOverwrite, match="not empty"):
        run(store, spec, env, "true", out=folder)
    assert left(env) == []


def test_folders_that_the_command_locked_are_removed(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    script = SUMMARY + METRICS + 'mkdir "$CAS_OUT/../x"; touch "$CAS_OUT/../x/y"; '
    assert run(store, spec, env, script + 'chmod 0 "$CAS_OUT/../x"').code == 0
    assert left(env) == []


def test_the_spec_is_the_one_that_the_command_began_with(
    store: castore.Store, spec: Path, env: dict[str, str]
) -> None:
    report = run(store, spec, env, SUMMARY + METRICS + f"echo broken > {shlex.quote(str(spec))}")
    assert report.version is not None
    assert report.version.manifest.spec.version == "1.0"
    assert report.version.manifest.spec.path == "report.spec.yaml"


def test_from_asyncio(store: castore.Store, spec: Path, env: dict[str, str]) -> None:
    async def work() -> RunReport:
        shared = aio.AsyncStore(store)
        return await shared.execute(
            "sh", "-c", SUMMARY + METRICS, env=env, spec=spec, cwd=spec.parent
        )

    assert asyncio.run(work()).code == 0


def test_output_that_is_text_and_that_is_none() -> None:
    text = "é" * 5000
    assert as_text(text.encode()[-8191:]) == text[-4095:]
    assert as_text(b"") == ""
    assert as_text(b"\xa9x") == "x"
    assert as_text(b"x\xa9") == b"x\xa9"
    assert as_text(b"\xff\x00") == b"\xff\x00"
    assert as_text(b"ok\xff") == b"ok\xff"


@pytest.mark.parametrize("tail", [b"x" * 8192, bytes(range(256)) * 32, "é".encode() * 4096])
@pytest.mark.parametrize("others", [0, 9_000, META_BYTES - 1_100])
def test_what_is_kept_of_a_run_fits(tail: bytes, others: int, store: castore.Store) -> None:
    env = {"LANG": "x" * 5000, "VIRTUAL_ENV": "\udcff", "HOME": "secret"}
    facts = run_meta(["sh", "-c", "word " * 2000], env, Ended(1, 0, 2.5, tail), {"git.dirty": True})
    mine: dict[str, str | int | bool | bytes] = {"k": "x" * others}
    kept = fitted(facts, mine)
    assert kept["run.exit"] == 1
    assert kept["run.milliseconds"] == 2500
    if not others:
        assert kept["run.output"] == as_text(tail)
    elif others == 9_000:
        data = kept["run.output"]
        data = data.encode() if isinstance(data, str) else data
        assert isinstance(data, bytes)
        assert 0 < len(data) < 8192
        assert tail.endswith(data)
    with store.session("x", meta={**mine, **kept}) as session:
        session.write("a", "a")
        assert "secret" not in str(session.commit().manifest.meta)


def test_a_command_in_meta_is_never_more_than_words() -> None:
    assert ran_command({"run.command": "make 'a b'"}) == "make 'a b'"
    assert ran_command({"run.command": "make; rm -rf ~"}) == "'make;' rm -rf '~'"
    for text in ("make 'a", "long …", "a\nb", "\x1b[31m", 3, b"make"):
        assert ran_command({"run.command": text}) == ""
    assert ran_command({}) == ""
