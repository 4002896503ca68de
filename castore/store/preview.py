"""Previews: what a commit would store, found out without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from castore.content.globs import match_glob, split_glob
from castore.content.ingest import Ingestor
from castore.content.sink import Batch
from castore.errors import InvalidInput
from castore.model.artifact_set import Artifact, Content, ExternalContent, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.pages import EMPTY_FOLDER
from castore.store.conformance import Conformance, check_on_disk, conform, guessed_on_disk
from castore.store.externals import absent_file
from castore.store.gather import Gathered, Input
from castore.store.intent import Intent, kept_notices
from castore.store.said import said_sources
from castore.store.secrets_found import allowed_notices, faults_of, guard_for
from castore.store.sources import doubts, parse_sources
from castore.store.store import Store
from castore.store.version import Version

# States of artifacts that leave a set as it is.
_KEPT: Final = {"unchanged", "carried"}


@dataclass(frozen=True, slots=True)
class PreviewedArtifact:
    """One artifact of a preview: its bytes, and new, changed, unchanged, carried or missing."""

    name: str
    state: str
    size: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a commit would do: the branch, the number it would get, artifacts and bytes.

    `faults` are those that a refusal would list; `identical`
    says that nothing differs from the parent. `stands` is the version that would be given back with
    nothing written. `warnings` are those of the commit itself.
    """

    branch: str
    number: int
    parent: Version | None
    artifacts: tuple[PreviewedArtifact, ...]
    new_bytes: int
    known_bytes: int
    stored_bytes: int
    missing: tuple[str, ...]
    faults: tuple[Mapping[str, Any], ...]
    identical: bool
    warnings: tuple[str, ...]
    stands: Version | None = None


class _CountingSink:
    """A sink that only remembers which objects it was given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: set[Id] = set()

    def known(self, ids: Sequence[Id]) -> set[Id]:
        """Those stored, or given to this sink before."""
        wanted = list(ids)
        stored = self._store.database.read(lambda tables: tables.present(wanted))
        return stored | (self._seen & set(wanted))

    def write(self, batch: Batch) -> set[Id]:
        """Remember the batch's members; nothing is ever written, nothing vanishes."""
        for block in batch.blocks:
            self._seen.update(member.id for member in block.members)
        return set()


def preview_inputs(
    store: Store, intent: Intent, gathered: Gathered, parent: Version | None, links: str
) -> Preview:
    """Read and cut every input as a commit would, counting what is new."""
    before = (
        {a.name: a for a in store.set_of(parent).artifacts}
        if parent and store.forgotten(parent) is None
        else {}
    )
    rows: list[PreviewedArtifact] = []
    faults: list[Mapping[str, Any]] = []
    unchecked: list[str] = []
    guard = guard_for(store, intent.allow_secrets)
    with Ingestor(_CountingSink(store), guard=guard) as ingestor:
        for found in gathered.inputs:
            matched: list[str] = []
            guard.artifact, guard.root = found.name, str(found.path)
            content = _ingest(ingestor, found, links, matched)
            if found.glob and content == TreeContent(EMPTY_FOLDER, 0):
                continue
            wrong, unsure = _checked(intent, found, content, matched)
            faults += wrong
            unchecked += unsure
            state = "new" if found.name not in before else "changed"
            if found.name in before and before[found.name].content == content:
                state = "unchanged"
            rows.append(PreviewedArtifact(found.name, state, _size(content)))
        ingestor.flush()
        tally, skipped = ingestor.tally, tuple(ingestor.notices)
    made = {row.name for row in rows}
    resumed = intent.resumed.artifacts if intent.resumed else {}
    kept = {name: artifact for name, artifact in resumed.items() if name not in made}
    rows += [PreviewedArtifact(name, "staged", _size(kept[name].content)) for name in kept]
    if intent.only:
        carried = {
            name: artifact
            for name, artifact in before.items()
            if name not in intent.only and (not intent.spec or intent.spec.spec.get(name))
        }
        rows += [PreviewedArtifact(n, "carried", _size(a.content)) for n, a in carried.items()]
        kept |= carried
    stored = _kept(store, intent, kept)
    faults += stored.faults
    unchecked += stored.warnings
    names = {row.name for row in rows}
    states = {row.state for row in rows}
    declared = intent.spec.spec.artifacts if intent.spec else ()
    return Preview(
        branch=intent.branch,
        number=parent.number + 1 if parent else 1,
        parent=parent,
        artifacts=tuple(sorted(rows, key=lambda row: row.name)),
        new_bytes=tally.new_bytes,
        known_bytes=tally.known_bytes,
        stored_bytes=tally.stored_bytes,
        missing=tuple(d.name for d in declared if d.required and d.name not in names),
        faults=(*faults, *faults_of(guard.findings)),
        identical=bool(before) and before.keys() == names and not states - _KEPT,
        warnings=(
            *kept_notices(intent, made, (parent.id,) if parent else ()),
            *doubts(store, said_sources(intent, parse_sources(store, intent.sources))),
            *allowed_notices(guard),
            *skipped,
            *unchecked,
        ),
    )


def _checked(
    intent: Intent, found: Input, content: Content, matched: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The faults and warnings of what one input would be stored as."""
    if intent.spec is None:
        if isinstance(content, FileContent):
            return [], guessed_on_disk(found.name, found.path, content)
        return [], []
    declared, files = intent.spec.spec.get(found.name), intent.spec.files
    if declared is None:
        detail = f"spec {intent.spec.spec.id} declares no artifact of this name"
        return [{"artifact": found.name, "check": "declared", "detail": detail, "line": None}], []
    if found.uri:
        return [], absent_file(found.name, found.uri)
    if not found.glob:
        return check_on_disk(declared, found.path, files)
    faults, warnings = check_on_disk(declared, found.path, files, folder=_size(content))
    place, _ = split_glob(found.glob)
    for path in matched:
        file = found.path / place / path
        wrong, unsure = check_on_disk(declared, file, files, below=path)
        faults += wrong
        warnings += unsure
    return faults, warnings


def _kept(store: Store, intent: Intent, artifacts: Mapping[str, Artifact]) -> Conformance:
    """The faults and warnings of what would be carried or gone on with, under today's spec."""
    if intent.spec is None:
        return Conformance()
    declared = tuple(one for one in intent.spec.spec.artifacts if one.name in artifacts)
    here = {one.name: artifacts[one.name] for one in declared}
    spec = replace(intent.spec.spec, artifacts=declared)
    return conform(store.reader, spec, intent.spec.files, here)


def _ingest(ingestor: Ingestor, found: Input, links: str, matched: list[str]) -> Content:
    """What an input would be stored as; the paths that its glob matches go into `matched`."""
    if found.stdin:
        raise InvalidInput(f"{found.name}=-: a dry run cannot read standard input")
    if found.uri:
        return ExternalContent()
    if found.glob:
        place, pattern = split_glob(found.glob)
        matches = match_glob(pattern)

        def only(path: str) -> bool:
            if matches(path):
                matched.append(path)
                return True
            return False

        return ingestor.add_folder(found.path / place, links=links, only=only)
    if found.path.is_dir():
        return ingestor.add_folder(found.path, links=links)
    return ingestor.add_path(found.path)


def _size(content: Content) -> int:
    if isinstance(content, (FileContent, TreeContent)):
        return content.size
    return max(content.size, 0)
