"""Hypothesis strategies for the values of the object model."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from castore.model.artifact_set import (
    Artifact,
    ArtifactSet,
    Content,
    ExternalContent,
    FileContent,
    TreeContent,
    make_set,
)
from castore.model.manifest import Agent, CheckResult, Manifest, Source, SpecPin
from castore.model.note import SUBJECTS, Note
from castore.model.pages import Branching, Entry, Part

ids = st.binary(min_size=32, max_size=32)
ids_or_empty = st.one_of(st.just(b""), ids)
sizes = st.integers(0, (1 << 63) - 1)
text = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True).filter(
    lambda name: not (name[0] == "v" and name[1:].isdigit())
)
component_names = (
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
    .filter(lambda name: name not in (".", ".."))
    .map(str.encode)
)
metas = st.dictionaries(
    text, st.one_of(text, st.integers(-(1 << 63), (1 << 64) - 1), st.booleans(), st.binary())
)
extensions = st.dictionaries(text.filter(lambda key: not key.startswith("!")), st.binary())

atoms = st.one_of(
    text, st.binary(max_size=40), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1)
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)
maps: st.SearchStrategy[dict[str, Any]] = st.dictionaries(text, values, max_size=5)

contents: st.SearchStrategy[Content] = st.one_of(
    st.builds(FileContent, ids, sizes, st.integers(0, 1)),
    st.builds(TreeContent, ids, sizes),
    st.builds(ExternalContent, ids_or_empty, st.integers(-1, (1 << 63) - 1)),
)


@st.composite
def sets(draw: st.DrawFn) -> ArtifactSet:
    """Sets of up to six artifacts, each at its own top-level place."""
    chosen = draw(st.lists(names, unique=True, max_size=6))
    made = make_set(
        Artifact(name, draw(text), draw(text), f"{name}/{draw(names)}", draw(contents))
        for name in chosen
    )
    return ArtifactSet(made.artifacts, draw(extensions))


entries = st.lists(
    st.one_of(
        st.builds(Entry, component_names, st.just("file"), ids, sizes, st.integers(0, 1)),
        st.builds(Entry, component_names, st.just("tree"), ids, sizes, st.just(0)),
    ),
    unique_by=lambda entry: entry.name,
    max_size=20,
).map(lambda found: sorted(found, key=lambda entry: entry.name))

branchings = st.lists(
    st.builds(Branching, component_names, ids, st.integers(1, 1 << 40), sizes),
    unique_by=lambda row: row.name,
    min_size=1,
    max_size=20,
).map(lambda found: sorted(found, key=lambda row: row.name))

chunks = st.lists(st.builds(Part, ids, st.integers(1, 256 * 1024)), min_size=1, max_size=20)

sources = st.builds(
    Source,
    artifact=text,
    target=ids_or_empty,
    target_artifact=text,
    selector=text,
    label=text,
    uri=text,
    digest=ids_or_empty,
    size=st.integers(-1, 1 << 62),
    pinned=st.booleans(),
    evidence=st.sampled_from(("claimed", "observed")),
)
spec_pins = st.builds(
    SpecPin,
    id=names,
    version=text,
    source=ids_or_empty,
    contract=ids_or_empty,
    path=text,
    files=st.lists(st.tuples(text, ids), unique_by=lambda row: row[0], max_size=3).map(tuple),
)
results = st.sampled_from(("passed", "skipped"))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Manifests that are consistent: numbers fit parents, the complete have no faults."""
    parents = tuple(draw(st.lists(ids, unique=True, max_size=4)))
    partial = draw(st.booleans())
    outcome = st.sampled_from(("passed", "failed", "skipped")) if partial else results
    faults = st.lists(text, unique=True, max_size=3) if partial else st.just([])
    return Manifest(
        set=draw(ids),
        spec=draw(spec_pins),
        branch=draw(names),
        at=draw(st.integers(0, 1 << 60)),
        number=draw(st.integers(2, 1 << 40)) if parents else 1,
        parents=parents,
        state="partial" if partial else "complete",
        agent=Agent(draw(text), draw(text)),
        author=draw(text),
        run=draw(text),
        trace=draw(text),
        workspace=draw(text),
        operation=draw(text),
        folder=draw(text),
        message=draw(text),
        sources=tuple(draw(st.lists(sources, max_size=3))),
        checks=tuple(draw(st.lists(st.builds(CheckResult, text, text, outcome, text), max_size=3))),
        carried=tuple(
            draw(st.lists(st.tuples(text, ids), unique_by=lambda row: row[0], max_size=3))
        ),
        missing=tuple(draw(faults)),
        failed=tuple(draw(faults)),
        titles=draw(st.dictionaries(text, text, max_size=3)),
        locations=tuple(draw(st.lists(st.tuples(text, text, text), max_size=3))),
        attachments=tuple(
            draw(st.lists(st.tuples(text, ids, sizes), unique_by=lambda row: row[0], max_size=3))
        ),
        meta=draw(metas),
        ext=draw(extensions),
    )


@st.composite
def notes(draw: st.DrawFn) -> Note:
    """Notes of every subject."""
    subject = draw(st.sampled_from(sorted(SUBJECTS)))
    allowed = SUBJECTS[subject]
    value = draw(st.sampled_from(allowed)) if allowed else draw(text.filter(bool))
    kinds = ("manifest", "note") if subject in ("signature", "comment") else ("manifest",)
    return Note(
        scope=draw(st.binary(min_size=16, max_size=16)),
        target=draw(ids),
        target_kind=draw(st.sampled_from(kinds)),
        subject=subject,
        value=value,
        by=draw(text),
        at=draw(st.integers(0, 1 << 60)),
        text=draw(text),
        after=tuple(draw(st.lists(ids, max_size=3))),
        replaces=tuple(draw(st.lists(ids, max_size=3))),
        meta=draw(metas),
        ext=draw(extensions),
    )
