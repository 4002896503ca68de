"""Assembly: from staged artifacts and a parent to a checked set and its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from castore.content.ingest import Ingestor
from castore.content.reader import ObjectReader
from castore.errors import InvalidInput
from castore.model.artifact_set import Artifact, ArtifactSet, FileContent, make_set
from castore.model.ids import Id
from castore.model.manifest import PARTIAL, Manifest, Source, SpecPin
from castore.spec.declaration import Declared
from castore.store.conformance import Conformance, conform, guessed_faults
from castore.store.intent import Intent, Resumed
from castore.store.promises import promised
from castore.store.said import check_bound, said, said_sources
from castore.store.store import Store
from castore.store.version import Version


@dataclass(frozen=True, slots=True)
class Made:
    """What a session has made: artifacts, their titles, URIs and tags of external ones, sources."""

    artifacts: Mapping[str, Artifact]
    titles: Mapping[str, str]
    locations: Mapping[str, tuple[str, str]]
    sources: Sequence[Source]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A whole set on top of a parent: its members, whom the carried ones come from, its checks."""

    members: ArtifactSet
    carried: Mapping[str, Id]
    conformance: Conformance


def assemble(
    store: Store,
    reader: ObjectReader,
    intent: Intent,
    staged: Made,
    parent: Version | None,
    earlier: Assembly | None = None,
) -> Assembly:
    """The set that results on top of `parent`: made, resumed and carried artifacts, checked.

    `reader` gives the content that the checks read, also what is not written yet. The same members
    as in an `earlier` attempt are not checked again: quick writers would else starve a slow one.
    Raises InvalidInput when the rest is to be carried and there is no parent.
    """
    artifacts: dict[str, Artifact] = {}
    carried: dict[str, Id] = {}
    if intent.only:
        check_only(intent, parent)
        assert parent is not None
        artifacts, carried = _carried(store, intent, parent)
    if intent.resumed is not None:
        artifacts.update(_resumed(intent, intent.resumed))
    artifacts.update(staged.artifacts)
    made = staged.artifacts.keys() | (intent.resumed.artifacts if intent.resumed else {}).keys()
    carried = {name: id for name, id in carried.items() if name not in made}
    members = make_set(artifacts.values())
    if earlier is not None and earlier.members == members:
        return Assembly(members, carried, earlier.conformance)
    return Assembly(members, carried, _conform(store, reader, intent, staged, artifacts))


def check_only(intent: Intent, parent: Version | None) -> None:
    """Refuse `only` where there is no version to carry the rest from; raises InvalidInput."""
    if intent.only and parent is None:
        raise InvalidInput(
            f"--only needs a version to carry the rest from; {intent.branch} has none",
            fix="commit all artifacts once, without --only",
        )


def pin_spec(store: Store, ingestor: Ingestor, intent: Intent) -> SpecPin:
    """The pin of the intent's spec, whose bytes and named files are stored with the version."""
    spec = intent.spec
    if spec is None:
        return SpecPin(id=intent.branch)
    for data in (spec.text, *spec.files.values()):
        ingestor.add_bytes(data)
    return spec.pin(store.root)


def draft_manifest(
    store: Store,
    intent: Intent,
    staged: Made,
    assembly: Assembly,
    pin: SpecPin,
    message: str,
    *,
    partial: bool = False,
) -> Manifest:
    """The manifest of an assembly, before it stands on a parent.

    Raises InvalidInput for a source of an artifact that is neither in the set nor missing; one that
    is kept incomplete on purpose may still get it.
    """
    context, message, meta = said(intent, message)
    names = {artifact.name for artifact in assembly.members.artifacts}
    resumed = intent.resumed
    if not partial:
        check_bound(staged.sources, names.union(assembly.conformance.missing))
    titles = {**_resumed_titles(intent), **staged.titles}
    locations = {**(resumed.locations if resumed else {}), **staged.locations}
    return Manifest(
        set=assembly.members.id,
        spec=pin,
        branch=intent.branch,
        at=store.now(),
        agent=context.agent,
        author=context.author,
        run=context.run,
        trace=context.trace,
        workspace=context.workspace,
        operation=context.operation,
        folder=intent.folder,
        message=message,
        sources=said_sources(intent, staged.sources, names),
        checks=assembly.conformance.checks,
        carried=tuple(assembly.carried.items()),
        missing=assembly.conformance.missing,
        failed=assembly.conformance.failed,
        titles={name: title for name, title in titles.items() if name in names},
        locations=tuple((n, *place) for n, place in locations.items() if n in names),
        meta=meta,
    )


def on_top_of(draft: Manifest, parent: Version | None) -> Manifest:
    """The draft with its parent and number, and what it says of artifacts carried from there."""
    if parent is None:
        return draft
    above = parent.manifest
    carried = {name for name, _ in draft.carried}
    titles = dict(draft.titles) | {n: t for n, t in above.titles.items() if n in carried}
    locations = {row[0]: row for row in draft.locations}
    locations |= {row[0]: row for row in above.locations if row[0] in carried}
    return replace(
        draft,
        parents=(parent.id,),
        number=parent.number + 1,
        titles=titles,
        locations=tuple(locations.values()),
    )


def sealed(draft: Manifest, parent: Version | None) -> Manifest:
    """The draft as an incomplete version."""
    return replace(on_top_of(draft, parent), state=PARTIAL)


def _carried(
    store: Store, intent: Intent, parent: Version
) -> tuple[dict[str, Artifact], dict[str, Id]]:
    """What the parent has and this session does not make; what the spec dropped is not carried."""
    spec = intent.spec.spec if intent.spec else None
    earlier = dict(parent.manifest.carried)
    artifacts: dict[str, Artifact] = {}
    carried: dict[str, Id] = {}
    for artifact in store.set_of(parent).artifacts:
        name = artifact.name
        declared = spec.get(name) if spec else None
        if name in intent.only or (spec and declared is None):
            continue
        artifacts[name] = _as_declared(artifact, declared)
        carried[name] = earlier.get(name, parent.id)
    return artifacts, carried


def _resumed(intent: Intent, resumed: Resumed) -> dict[str, Artifact]:
    """What is taken from an earlier attempt, at the places and as the formats of today's spec."""
    spec = intent.spec.spec if intent.spec else None
    return {
        name: _as_declared(artifact, spec.get(name) if spec else None)
        for name, artifact in resumed.artifacts.items()
    }


def _as_declared(artifact: Artifact, declared: Declared | None) -> Artifact:
    if declared is None:
        return artifact
    return replace(artifact, type=declared.type, format=declared.format, path=declared.place)


def _resumed_titles(intent: Intent) -> dict[str, str]:
    """Titles of what an earlier attempt made; a stage keeps none, the spec may declare them."""
    if intent.resumed is None:
        return {}
    declared = intent.spec.spec.artifacts if intent.spec else ()
    return {**intent.resumed.titles, **{d.name: d.title for d in declared if d.title}}


def _conform(
    store: Store,
    reader: ObjectReader,
    intent: Intent,
    staged: Made,
    artifacts: Mapping[str, Artifact],
) -> Conformance:
    if intent.spec is not None:
        return conform(reader, intent.spec.spec, intent.spec.files, artifacts)
    far = set(promised(store, (i for a in staged.artifacts.values() for i in _file(a))))
    warnings = [
        warning
        for artifact in staged.artifacts.values()
        # A guess is not worth fetching what workers staged elsewhere.
        if far.isdisjoint(_file(artifact))
        for warning in guessed_faults(reader, artifact)
    ]
    return Conformance(warnings=tuple(warnings))


def _file(artifact: Artifact) -> tuple[Id, ...]:
    return (artifact.content.digest,) if isinstance(artifact.content, FileContent) else ()
