"""Diffs of one path: a file or folder inside a folder artifact, between two versions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from castore.content.trees import look_up
from castore.errors import RefNotFound
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id
from castore.model.names import quoted
from castore.model.pages import TREE, Entry
from castore.store.diff import FILES, ArtifactChange
from castore.store.diff_trees import FileChange, diff_folders
from castore.store.selectors import find_artifact
from castore.store.store import Store
from castore.store.version import Version


def diff_path(
    store: Store, old: Version | None, new: Version, artifact: str, path: str
) -> ArtifactChange | None:
    """How one path in an artifact differs, as a change of the artifact in that path; None if not.

    Only what lies at the path is read; `files` are named from the artifact, as in a whole diff.
    Raises RefNotFound where the path is in neither version.
    """
    before, after = (_entry(store, side, artifact, path) for side in (old, new))
    left, right = (store.set_of(side).get(artifact) if side else None for side in (old, new))
    if before is None and after is None:
        find_artifact(store, new if left is None else (old or new), artifact)
        raise RefNotFound(
            f"{artifact!r} has no {path!r} in it, in neither version",
            fix=f"cas ls -R {quoted(f'{new.label}:{artifact}')}",
        )
    changes = _changes(store, before, after, path)
    files = tuple(islice(changes, FILES))
    more = sum(1 for _ in changes)
    return ArtifactChange(artifact, left, right, (), files, more) if files else None


def _entry(store: Store, version: Version | None, artifact: str, path: str) -> Entry | None:
    """What lies at a path in an artifact of a version, None where nothing does."""
    member = store.set_of(version).get(artifact) if version else None
    if member is None or not isinstance(member.content, TreeContent):
        return None
    return look_up(store.reader.tree_page, member.content.id, path)


def _changes(
    store: Store, before: Entry | None, after: Entry | None, path: str
) -> Iterator[FileChange]:
    old, new = _folder(before), _folder(after)
    if old != new:
        for change in diff_folders(store.reader.tree_page, old, new):
            yield FileChange(f"{path}/{change.path}", change.old, change.new)
    left = before if old is None else None
    right = after if new is None else None
    if left != right:
        yield FileChange(path, left, right)


def _folder(entry: Entry | None) -> Id | None:
    return entry.id if entry is not None and entry.kind == TREE else None
