"""The audit: what look-up rows answer is what a walk over all versions would, in its order."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import castore
from castore import errors
from castore.database import meeting
from castore.database.indexes import Index, lookup_key
from castore.store import audit_source
from castore.store.audit import Criteria, audit, indexed
from castore.store.audit_known import unmatched
from castore.store.branches import create_branch, delete_branch
from castore.store.moments import format_moment
from castore.store.partials import list_partials
from tests.database.material import edit
from tests.database.test_lookup import widened

SPEC = """
spec: sales
version: "1"
artifacts:
  - {name: a.json, type: dataset, format: json, required: false}
  - {name: a.csv, type: dataset, format: csv, required: false}
  - {name: a.md, type: document, format: markdown, required: false}
"""
SOURCES = ["sales@v1", "sales", "sales~1", "report@v1", "report@v1", "https://example.org/x"]
START = 1_790_000_000_000_000
DAY = 86_400_000_000


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[castore.Store]:
    """Sixty versions on three branches by a few agents, people and runs, most of one by a spec."""
    folder = tmp_path_factory.mktemp("busy")
    spec = folder / "sales.spec.yaml"
    spec.write_text(SPEC)
    ticks = itertools.count(START, 60_000_000)
    dice = random.Random(3)
    with castore.init(folder, now=lambda: next(ticks), entropy=dice.randbytes) as store:
        for number in range(60):
            context = castore.Context(
                author=dice.choice(["ann@example.org", "Ann <Ann@Example.org>", "bob", ""]),
                agent=castore.Agent(dice.choice(["writer", "coder", ""]), dice.choice(["7", "8"])),
                run=f"run-{number // 4}",
                trace=dice.choice(["t1", "t2", ""]),
                workspace=dice.choice(["w1", "w2", ""]),
            )
            branch = dice.choice(["sales", "report", "team/side"])
            sources = []
            if number > 20:
                sources = dice.sample(SOURCES, 1)
            under = spec if branch == "sales" and number % 4 else None
            with store.session(branch, spec=under, context=context, sources=sources) as session:
                session.write(dice.choice(["a.json", "a.csv", "a.md"]), content(dice, number))
                session.commit(f"number {number}")
        yield store


def content(dice: random.Random, number: int) -> str:
    """What is JSON, CSV and Markdown alike, sometimes the same."""
    return json.dumps(dice.randrange(number + 1))


def walked(store: castore.Store, only: Criteria) -> list[castore.Version]:
    """The same by brute force."""
    return [version for version in store.log() if meets(store, version, only)]


def meets(store: castore.Store, version: castore.Version, only: Criteria) -> bool:
    manifest = version.manifest
    artifacts = store.set_of(version).artifacts
    agent, _, agent_version = only.agent.partition("@")
    spec, _, _ = only.spec.partition("@")
    who = only.author.lower()
    took = {source.selector for source in manifest.sources}
    return (
        (not agent or manifest.agent.id == agent)
        and (not agent_version or manifest.agent.version == agent_version)
        and (not spec or (manifest.spec.source and manifest.spec.id == spec))
        and (not who or who in manifest.author.lower())
        and (not only.run or manifest.run == only.run)
        and (not only.trace or manifest.trace == only.trace)
        and (not only.workspace or manifest.workspace == only.workspace)
        and (not only.type or any(found.type == only.type for found in artifacts))
        and (not only.format or any(found.format == only.format for found in artifacts))
        and (not only.source or only.source in took)
        and (not only.rev or version.id in {found.id for found in store.log(only.rev)})
    )


def maybe(*values: str) -> st.SearchStrategy[str]:
    """Nothing, mostly, or one of these."""
    return st.one_of(st.just(""), st.just(""), st.sampled_from(values))


CRITERIA = st.builds(
    Criteria,
    agent=maybe("writer", "writer@7", "coder@8", "nobody"),
    spec=maybe("sales", "report", "team/side"),
    author=maybe("ann@example.org", "ANN@example.org", "bob"),
    run=maybe("run-1", "run-9", "run-99"),
    trace=maybe("t1", "t2"),
    workspace=maybe("w1", "w2", "w3"),
    type=maybe("dataset", "document"),
    format=maybe("json", "csv", "markdown"),
    source=maybe("sales@v1", "report@v1", "https://example.org/x"),
    rev=maybe("sales", "sales@v2", "sales~1", "report"),
)


@given(only=CRITERIA, size=st.integers(1, 5))
def test_look_ups_answer_as_a_walk_does(busy: castore.Store, only: Criteria, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Many small rounds, so that every turn of them is taken.
        patch.setattr(meeting, "_FIRST", size)
        patch.setattr(meeting, "_MOST", 2 * size)
        patch.setattr(meeting, "ENOUGH", 3)
        patch.setattr(meeting, "LOOKED_AT", 7 * size)
        assert list(audit(busy, only)) == walked(busy, only)


def test_something_is_found_for_each_criterion(busy: castore.Store) -> None:
    for only in [
        {"agent": "writer"}, {"agent": "writer@7"}, {"spec": "sales"},
        {"author": "ann@example.org"}, {"run": "run-1"}, {"trace": "t1"}, {"workspace": "w1"},
        {"type": "dataset"}, {"format": "json"}, {"source": "sales@v1"}, {"source": "https://example.org/x"},
    ]:  # fmt: skip
        found = list(busy.audit(**only))
        assert 0 < len(found) < 60, only
        assert found == walked(busy, Criteria(**only))
        assert list(busy.audit(**only, limit=2)) == found[:2]


def test_times_are_both_included(busy: castore.Store) -> None:
    versions = list(busy.log())
    for first, last in [(10, 40), (40, 40), (0, 59)]:
        newest, oldest = versions[first], versions[last]
        since = castore.Store.record(busy, oldest)["at"]
        until = castore.Store.record(busy, newest)["at"]
        assert list(busy.audit(since=since, until=until)) == versions[first : last + 1]
        found = list(busy.audit(since=since, until=until, agent="writer"))
        assert found == [
            version
            for version in versions[first : last + 1]
            if version.manifest.agent.id == "writer"
        ]
    assert list(busy.audit(since="2026-09-21", until="2026-09-22")) == versions
    assert list(busy.audit(until="2026-09-20")) == []


def test_a_source_is_a_version_an_artifact_or_its_digest(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    first = store.commit("out", cwd=tmp_path).version
    whole = store.commit("out/report.md", name="a", cwd=tmp_path, sources=("out@v1",)).version
    part = store.commit(
        "out/report.md", name="b", cwd=tmp_path, sources=("out@v1:report.md",)
    ).version
    digest = store.set_of(first).get("report.md").content.digest.hex()  # type: ignore[union-attr]
    assert list(store.audit(source="out@v1")) == [part, whole]
    assert list(store.audit(source=first.id.hex())) == [part, whole]
    assert list(store.audit(source="out@v1:report.md")) == [part, whole]
    assert list(store.audit(source="out@v1:data")) == [whole]
    assert list(store.audit(source=digest)) == [part]
    assert list(store.audit(source="f" * 64)) == []
    with pytest.raises(errors.RefNotFound):
        store.audit(source="nothing")
    with pytest.raises(errors.InvalidInput, match="not a file"):
        store.audit(source="out:data/a.csv")
    with pytest.raises(errors.InvalidInput, match="not a file"):
        store.audit(source="out@v1:data/a.csv")


@pytest.mark.parametrize("rows", [1, 3, 4_096])
def test_a_branch_as_a_source_is_any_of_its_versions(
    busy: castore.Store, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few rows and steps, so that the branch is walked many times, and in many views.
    monkeypatch.setattr(audit_source, "_ROWS", rows)
    monkeypatch.setattr(audit_source, "_STEPS", rows)
    line = {version.id for version in busy.log("sales")}
    expected = [
        version
        for version in busy.log()
        if any(source.target in line for source in version.manifest.sources)
    ]
    assert len(expected) > 10
    assert list(busy.audit(source="sales")) == expected
    assert list(busy.audit(source="sales", limit=3)) == expected[:3]
    assert 0 < len(list(busy.audit(source="sales@v1"))) < len(expected)
    assert [v for v in expected if v.manifest.agent.id == "writer"] == list(
        busy.audit(source="sales", agent="writer")
    )
    since = castore.Store.record(busy, expected[7])["at"]
    until = castore.Store.record(busy, expected[3])["at"]
    assert list(busy.audit(source="sales", since=since, until=until)) == expected[3:8]


def test_an_artifact_of_any_version_of_a_branch(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    store.commit("out", cwd=tmp_path)
    report = store.commit("out/data", name="a", cwd=tmp_path, sources=("out@v1:report.md",)).version
    (out / "report.md").write_text("another")
    store.commit("out", cwd=tmp_path)
    whole = store.commit("out/data", name="b", cwd=tmp_path, sources=("out@v2",)).version
    store.commit("out/report.md", name="c", cwd=tmp_path, sources=("out@v2:data",))
    assert list(store.audit(source="out:report.md")) == [whole, report]
    assert len(list(store.audit(source="out"))) == 3
    assert list(store.audit(source="out@latest:report.md")) == [whole]
    assert list(unmatched(store, Criteria(source="out:reprt.md"))) == [
        "the newest version there has no artifact 'reprt.md'; did you mean report.md?"
    ]
    assert list(unmatched(store, Criteria(source="out:report.md"))) == []


def test_a_period_is_both_ends(busy: castore.Store) -> None:
    day = castore.Store.record(busy, list(busy.log())[-1])["at"][:10]
    found = list(busy.audit(during=day))
    assert found
    assert found == list(busy.audit(since=day, until=day))
    assert list(busy.audit(during=day[:7], until="2026-09-01")) == []
    with pytest.raises(errors.InvalidInput, match="a period"):
        busy.audit(during="2d")


def test_values_that_no_version_has_are_told_with_near_ones(busy: castore.Store) -> None:
    def told(**criteria: str) -> list[str]:
        return list(unmatched(busy, Criteria(**criteria)))

    assert told(agent="writer", type="dataset", spec="sales", author="bob", run="run-3") == []
    assert told(agent="writr") == ["no agent is called 'writr'; did you mean writer?"]
    assert told(agent="writer@9")[0].startswith("no agent is called 'writer@9'; did you mean wri")
    assert told(spec="Sale") == ["no spec is called 'Sale'; did you mean sales?"]
    # A branch is no spec, though a version without one has a row by it.
    assert told(spec="report") == ["no spec is called 'report'; known: sales"]
    assert told(author="nn@example.org", type="datset") == [
        "no author is called 'nn@example.org'; did you mean ann@example.org or "
        "Ann <Ann@Example.org>?",
        "no type 'datset'; did you mean dataset?",
    ]
    assert told(format="zip")[0].startswith("no format is called 'zip'; known: ")
    assert told(run="zzz") == ["no run is called 'zzz'"]


def test_only_what_a_branch_or_tag_holds_is_told(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    agent = castore.Context(agent=castore.Agent("writer", "7"), run="r")
    (tmp_path / "s.spec.yaml").write_text(
        "spec: s\nversion: '1'\nartifacts: [{name: gone, type: page, format: html, path: g.html}]\n"
    )
    with pytest.raises(errors.IncompleteSet):
        store.commit(spec=tmp_path / "s.spec.yaml", context=agent)
    assert list_partials(store)
    assert list(store.audit(agent="writer")) == []
    first = store.commit("out", cwd=tmp_path, context=agent).version
    create_branch(store, "side", first, by="x")
    (out / "report.md").write_text("another")
    second = store.commit("out", cwd=tmp_path, name="side", context=agent).version
    assert [found.label for found in store.audit(agent="writer")] == ["side@v2", "out@v1"]
    store.tag("kept", "side@v2")
    delete_branch(store, "side", by="x")
    assert [found.id for found in store.audit(agent="writer")] == [second.id, first.id]
    delete_branch(store, "out", by="x")
    assert [found.id for found in store.audit(agent="writer")] == [second.id, first.id]


def test_a_version_and_those_before_it(store: castore.Store, tmp_path: Path) -> None:
    for number, name in enumerate(["sales", "sales", "other", "sales"]):
        with store.session(name, author="ann") as session:
            session.write("a.json", str(number))
            session.commit()
    create_branch(store, "side", store.resolve("sales@v2").version, by="x")
    with store.session("side", author="bob", sources=["other"]) as session:
        session.write("a.json", "9")
        session.commit()
    times = [version.manifest.at for version in store.log("sales")]

    def told(**criteria: str) -> list[str]:
        found = list(store.audit(**criteria))
        assert indexed(store, Criteria(**criteria))
        return [version.label for version in found]

    assert told(rev="sales") == ["sales@v3", "sales@v2", "sales@v1"]
    assert told(rev="side") == ["side@v3", "sales@v2", "sales@v1"]
    assert told(rev="sales~1") == ["sales@v2", "sales@v1"]
    assert told(rev="side", author="ann") == ["sales@v2", "sales@v1"]
    assert told(rev="sales", author="bob") == []
    assert told(rev="side", source="other") == ["side@v3"]
    assert told(rev="sales", source="other") == []
    middle = format_moment(times[1])
    assert told(rev="sales", since=middle, until=middle) == ["sales@v2"]
    store.deploy("sales@v2", "prod", by="x")
    assert told(rev="side", deployed="prod") == ["sales@v2"]
    assert told(rev="other", deployed="prod") == []
    for wrong in ("nope", "sales@v9"):
        with pytest.raises(errors.RefNotFound):
            told(rev=wrong)
    with pytest.raises(errors.InvalidInput, match="names an artifact"):
        told(rev="sales:a.json")


@settings(max_examples=5)
@given(only=CRITERIA, version=st.sampled_from([1, 2]))
def test_older_rows_give_the_same_answers(only: Criteria, version: int) -> None:
    with tempfile.TemporaryDirectory() as folder, castore.init(folder) as store:
        for number, format in enumerate(["json", "csv", "json"]):
            context = castore.Context(
                author="Ann <ann@example.org>", agent=castore.Agent("writer", "7"), workspace="w1",
                run="run-1", trace="t1",
            )  # fmt: skip
            with store.session("sales", context=context) as session:
                session.write(f"a.{format}", str(number))
                session.commit()
        with store.session("report", sources=["sales@v1"]) as session:
            session.write("b.md", "2")
            session.commit()
        widened(store.database, version)
        assert list(audit(store, only)) == walked(store, only)
        assert indexed(store, only) == (
            not (only.author or only.workspace or only.type or only.format)
        )
        assert list(store.audit(type="dataset")) == walked(store, Criteria(type="dataset"))
        assert [found.version.label for found in store.find(type="dataset")] == [
            "sales@v3", "sales@v2", "sales@v1",
        ]  # fmt: skip
        store.reindex()
        assert indexed(store, only)
        assert list(audit(store, only)) == walked(store, only)
        assert store.fsck(full=True).ok


def test_what_cannot_be_read_is_refused(busy: castore.Store) -> None:
    with pytest.raises(errors.InvalidInput, match="not a time"):
        busy.audit(since="some day")
    with pytest.raises(errors.InvalidInput):
        busy.audit(agent="@7")
    with pytest.raises(TypeError):
        busy.audit(colour="red")


def test_a_row_that_lies_is_not_believed(store: castore.Store) -> None:
    """Rows stand for values by 16 bytes: one under a wrong value must not make a version match."""
    with store.session("out", run="run-1") as session:
        session.write("a.json", "1")
        version = session.commit()
    forged = lookup_key(Index.RUN, "run-2", version.manifest.at, version.id)
    edit(store.database, "lookup", lambda rows: rows.update({forged: b""}))
    assert list(store.audit(run="run-1")) == [version]
    assert list(store.audit(run="run-2")) == []
    assert not store.fsck(full=True).ok
    store.reindex()
    assert store.fsck(full=True).ok
