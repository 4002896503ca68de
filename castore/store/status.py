"""Status: the work folder against the head of its branch, and today's spec against the head's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from castore.database.sink import StatCache
from castore.errors import RefNotFound, Unavailable
from castore.model.artifact_set import (
    Artifact,
    Content,
    ExternalContent,
    TreeContent,
)
from castore.model.manifest import SpecPin
from castore.spec.declaration import Declared
from castore.store.diff import FieldChange, spec_changes
from castore.store.diff_trees import FileChange, diff_folders
from castore.store.gather import Given, Input, gather_declared, gather_plain
from castore.store.selectors import tip
from castore.store.specs import SpecFile, read_spec, relative
from castore.store.store import Store
from castore.store.version import Version
from castore.store.work_folder import WorkHasher, folder_names

FILES: Final = 1_000
"""Changed files kept for one folder artifact; the rest is counted."""
UNCHANGED: Final = "unchanged"


@dataclass(frozen=True, slots=True)
class WorkArtifact:
    """One artifact in the work folder against the head.

    `state` is unchanged, modified, new (not in the head), missing (in the head or declared, not in
    the folder), undeclared (in the folder, not in the spec) or external (not compared). `content`
    is what lies in the folder, `stored` what the head has; `files` are the changed files of a
    folder, at most FILES, `more_files` counts the others.
    """

    name: str
    state: str
    path: str
    required: bool = True
    stored: Content | None = None
    content: Content | None = None
    files: tuple[FileChange, ...] = ()
    more_files: int = 0

    @property
    def differs(self) -> bool:
        """Whether a commit would make another set for it: what is not declared is left out."""
        if self.state == "missing":
            return self.required or self.stored is not None
        return self.state not in (UNCHANGED, "external", "undeclared")

    def as_json(self) -> dict[str, Any]:
        """The artifact as data."""
        return {
            "name": self.name,
            "state": self.state,
            "path": self.path,
            "required": self.required,
            "stored": _content_record(self.stored),
            "work": _content_record(self.content),
            "files": [change.as_json() for change in self.files],
            "more_files": self.more_files,
        }


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """The state of a work folder.

    `head` is None where nothing was committed to the branch yet. `spec` lists what differs between
    the head's spec and today's: id, version, contract. `absent` is the recorded spec or folder that
    is not there (a clone, CI): then there is nothing to compare, and `artifacts` is empty.
    """

    branch: str
    head: Version | None
    folder: str = ""
    spec_path: str = ""
    spec_version: str = ""
    spec: tuple[FieldChange, ...] = ()
    artifacts: tuple[WorkArtifact, ...] = ()
    absent: str = ""

    @property
    def clean(self) -> bool:
        """Whether a commit now would make the same set under the same contract."""
        return not (
            self.absent
            or self.head is None
            or self.spec
            or any(found.differs for found in self.artifacts)
        )

    def as_json(self) -> dict[str, Any]:
        """The status as data."""
        return {
            "branch": self.branch,
            "head": self.head.id.hex() if self.head else None,
            "label": self.head.label if self.head else None,
            "folder": self.folder or None,
            "spec_path": self.spec_path or None,
            "spec_version": self.spec_version or None,
            "spec": [
                {"field": change.field, "old": change.old or None, "new": change.new or None}
                for change in self.spec
            ],
            "artifacts": [found.as_json() for found in self.artifacts],
            "absent": self.absent or None,
            "clean": self.clean,
        }


def status(
    store: Store,
    branch: str = "",
    *,
    spec: Path | None = None,
    folder: Path | None = None,
    links: str = "refuse",
    progress: Callable[[int], None] | None = None,
) -> WorkStatus:
    """The work folder against the newest version of `branch`, which defaults to the spec's id.

    Without `spec` and `folder`, those that the newest version recorded are looked at. Unchanged
    files are known by the stat cache and not read; nothing but that cache is ever written.
    Raises InvalidSpec, InvalidInput for what a commit would refuse, RefNotFound.
    """
    loaded = read_spec(spec) if spec is not None else None
    branch = branch or (loaded.spec.id if loaded else "")
    head = tip(store, branch) if branch else None
    if head is None and loaded is None and folder is None:
        raise RefNotFound(
            f"branch {branch!r} has no version, and no spec says what to compare",
            fix="cas commit PATH",
        )
    if loaded is None and folder is None and head is not None:
        recorded = _recorded(store, head)
        if recorded.absent:
            return recorded
        if recorded.spec_path:
            loaded = read_spec(store.root / recorded.spec_path)
        if recorded.folder:
            folder = store.root / recorded.folder
    cache = StatCache(store.database)
    hasher = WorkHasher(cache, links=links, progress=progress)
    if loaded is not None:
        found = _against_spec(store, branch, head, loaded, folder, hasher)
    else:
        assert folder is not None
        found = _against_folder(store, branch, head, folder, hasher)
    _remember(store, hasher, cache)
    return found


def _recorded(store: Store, head: Version) -> WorkStatus:
    """Where the head was committed from, or what of it is `absent`."""
    manifest = head.manifest
    found = WorkStatus(head.branch, head, manifest.folder, manifest.spec.path)
    for place in (manifest.spec.path, manifest.folder):
        if place and not os.path.lexists(store.root / place):
            return replace(found, absent=place)
    if not manifest.spec.path and not manifest.folder:
        return replace(found, absent="the folder, which was not recorded")
    return found


def _against_spec(
    store: Store,
    branch: str,
    head: Version | None,
    spec: SpecFile,
    folder: Path | None,
    hasher: WorkHasher,
) -> WorkStatus:
    given = Given({}, (str(folder),) if folder is not None else ())
    gathered = gather_declared(spec, given, store.root)
    base = gathered.folder or spec.base
    inputs = {found.name: found for found in gathered.inputs}
    stored = _stored(store, head)
    rows = [
        _compare(store, _declared(declared, inputs), stored.get(declared.name), hasher, declared)
        for declared in spec.spec.artifacts
    ]
    names = {declared.name for declared in spec.spec.artifacts}
    rows += [_gone(artifact) for name, artifact in stored.items() if name not in names]
    rows += list(_undeclared(spec, base))
    pin = spec.pin(store.root)
    return WorkStatus(
        branch=branch,
        head=head,
        folder=relative(base, store.root),
        spec_path=pin.path,
        spec_version=pin.version,
        spec=spec_changes(head.manifest.spec, pin) if head else (),
        artifacts=tuple(rows),
    )


def _against_folder(
    store: Store, branch: str, head: Version | None, folder: Path, hasher: WorkHasher
) -> WorkStatus:
    stored = _stored(store, head)
    inputs: tuple[Input, ...] = ()
    if folder_names(folder):
        inputs = gather_plain(Given({}, (str(folder),)), store.root).inputs
    rows = [_compare(store, found, stored.get(found.name), hasher) for found in inputs]
    names = {found.name for found in inputs}
    rows += [_gone(artifact) for name, artifact in stored.items() if name not in names]
    pinned = bool(head and head.manifest.spec.version)
    return WorkStatus(
        branch=branch,
        head=head,
        folder=relative(folder, store.root),
        spec=spec_changes(head.manifest.spec, SpecPin(branch)) if head and pinned else (),
        artifacts=tuple(sorted(rows, key=lambda row: row.name)),
    )


def _stored(store: Store, head: Version | None) -> dict[str, Artifact]:
    return (
        {a.name: a for a in store.set_of(head).artifacts}
        if head and store.forgotten(head) is None
        else {}
    )


def _declared(declared: Declared, inputs: dict[str, Input]) -> Input:
    return inputs.get(declared.name) or Input(declared.name, uri=declared.uri)


def _compare(
    store: Store,
    given: Input,
    stored: Artifact | None,
    hasher: WorkHasher,
    declared: Declared | None = None,
) -> WorkArtifact:
    before = stored.content if stored else None
    path = declared.path if declared else given.name
    row = WorkArtifact(given.name, "", path, declared.required if declared else True, before)
    if given.uri or (declared is not None and declared.storage == "external"):
        return replace(row, state="external")
    if given.path == Path() and not given.glob:
        return replace(row, state="missing")
    content = hasher.content(given)
    if given.glob and stored is None and content == hasher.empty():
        return replace(row, state="missing")
    if content == before:
        return replace(row, state=UNCHANGED, content=content)
    files, more = _changed_files(store, before, content, hasher)
    state = "modified" if stored else "new"
    return replace(row, state=state, content=content, files=files, more_files=more)


def _gone(artifact: Artifact) -> WorkArtifact:
    state = "external" if isinstance(artifact.content, ExternalContent) else "missing"
    return WorkArtifact(artifact.name, state, artifact.path, stored=artifact.content)


def _undeclared(spec: SpecFile, base: Path) -> Iterator[WorkArtifact]:
    """Top-level entries of the base that no place covers; the spec's own files are expected."""
    covered = {declared.place.split("/")[0] for declared in spec.spec.artifacts}
    covered |= {declared.path.split("/")[0] for declared in spec.spec.artifacts}
    own = {spec.path, *(spec.path.parent / name for name in spec.files)}
    for name in folder_names(base):
        if name in covered or Path(os.path.normpath(base / name)) in own:
            continue
        yield WorkArtifact(name, "undeclared", name, required=False)


def _changed_files(
    store: Store, before: Content | None, after: Content, hasher: WorkHasher
) -> tuple[tuple[FileChange, ...], int]:
    if not isinstance(before, TreeContent) or not isinstance(after, TreeContent):
        return (), 0
    files: list[FileChange] = []
    more = 0
    read_page = hasher.page_reader(store.reader.tree_page)
    for change in diff_folders(read_page, before.id, after.id):
        if len(files) < FILES:
            files.append(change)
        else:
            more += 1
    return tuple(files), more


def _remember(store: Store, hasher: WorkHasher, cache: StatCache) -> None:
    """Keep the digests that are stored, so that the next status need not read those files.

    Others are left out: a commit would take a cached digest for stored, and find it is not.
    """
    try:
        hasher.keep_stored(lambda ids: store.database.read(lambda tables: tables.present(ids)))
        cache.flush()
    except Unavailable:
        # A cache that cannot be written now is no reason not to answer.
        return


def _content_record(content: Content | None) -> dict[str, Any] | None:
    if content is None:
        return None
    if isinstance(content, TreeContent):
        return {"kind": "tree", "digest": None, "size": content.size, "content": content.id.hex()}
    kind = "external" if isinstance(content, ExternalContent) else "file"
    return {
        "kind": kind,
        "digest": content.digest.hex() or None,
        "size": content.size if content.size >= 0 else None,
        "content": content.digest.hex() or None,
    }
