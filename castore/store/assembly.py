"""Assembly: from staged artifacts and a parent to a checked set and its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from castore.content.reader import ObjectReader
from castore.errors import InvalidInput
from castore.model.artifact_set import Artifact, ArtifactSet, make_set
from castore.model.ids import Id
from castore.model.manifest import PARTIAL, Manifest, Source, SpecPin
from castore.store.conformance import Conformance, conform, guessed_faults
from castore.store.intent import Intent
from castore.store.store import Store
from castore.store.version import Version


@dataclass(frozen=True, slots=True)
class Staged:
    """What a session has made: artifacts, their titles, URIs of external ones, sources."""

    artifacts: Mapping[str, Artifact]
    titles: Mapping[str, str]
    locations: Mapping[str, str]
    sources: Sequence[Source]


@dataclass(frozen=True, slots=True)
class Assembly:
    """A whole set on top of a parent: its members, whom the carried ones come from, its checks."""

    members: ArtifactSet
    carried: Mapping[str, Id]
    conformance: Conformance


def assemble(
    store: Store, reader: ObjectReader, intent: Intent, staged: Staged, parent: Version | None
) -> Assembly:
    """The set that results on top of `parent`: made, resumed and carried artifacts, checked.

    `reader` gives the content that the checks read, also what is not written yet. Raises
    InvalidInput when the rest is to be carried and there is no parent.
    """
    artifacts: dict[str, Artifact] = {}
    carried: dict[str, Id] = {}
    if intent.only:
        if parent is None:
            raise InvalidInput(
                f"--only needs a version to carry the rest from; {intent.branch} has none",
                fix="commit all artifacts once, without --only",
            )
        artifacts, carried = _carried(store, intent, parent)
    if intent.resumed is not None:
        artifacts.update(intent.resumed.artifacts)
        carried = {n: id for n, id in carried.items() if n not in intent.resumed.artifacts}
        carried.update(intent.resumed.carried)
    artifacts.update(staged.artifacts)
    carried = {name: id for name, id in carried.items() if name not in staged.artifacts}
    conformance = _conform(reader, intent, staged, artifacts)
    return Assembly(make_set(artifacts.values()), carried, conformance)


def draft_manifest(
    store: Store,
    intent: Intent,
    staged: Staged,
    assembly: Assembly,
    pin: SpecPin,
    message: str,
) -> Manifest:
    """The manifest of an assembly, before it stands on a parent."""
    context = intent.context
    names = {artifact.name for artifact in assembly.members.artifacts}
    resumed = intent.resumed.titles if intent.resumed else {}
    titles = {**resumed, **staged.titles}
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
        sources=_bound(staged.sources, names),
        checks=assembly.conformance.checks,
        carried=tuple(assembly.carried.items()),
        missing=assembly.conformance.missing,
        failed=assembly.conformance.failed,
        titles={name: title for name, title in titles.items() if name in names},
        locations=tuple((n, uri, "") for n, uri in staged.locations.items() if n in names),
        meta=dict(intent.meta),
    )


def on_top_of(draft: Manifest, parent: Version | None) -> Manifest:
    """The draft with its parent and number, and what it says of artifacts carried from there."""
    if parent is None:
        return draft
    above = parent.manifest
    carried = {name for name, _ in draft.carried}
    titles = {n: t for n, t in above.titles.items() if n in carried} | dict(draft.titles)
    locations = tuple(row for row in above.locations if row[0] in carried)
    return replace(
        draft,
        parents=(parent.id,),
        number=parent.number + 1,
        titles=titles,
        locations=(*draft.locations, *locations),
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
        kept = artifact
        if declared is not None:
            kept = replace(
                artifact, type=declared.type, format=declared.format, path=declared.place
            )
        artifacts[name] = kept
        carried[name] = earlier.get(name, parent.id)
    return artifacts, carried


def _conform(
    reader: ObjectReader, intent: Intent, staged: Staged, artifacts: Mapping[str, Artifact]
) -> Conformance:
    if intent.spec is not None:
        return conform(reader, intent.spec.spec, intent.spec.files, artifacts)
    warnings = [
        warning
        for artifact in staged.artifacts.values()
        for warning in guessed_faults(reader, artifact)
    ]
    return Conformance(warnings=tuple(warnings))


def _bound(sources: Sequence[Source], names: set[str]) -> tuple[Source, ...]:
    for source in sources:
        if source.artifact and source.artifact not in names:
            raise InvalidInput(
                f"source {source.artifact}={source.selector}: the set has no artifact "
                f"{source.artifact!r}"
            )
    return tuple(sources)
