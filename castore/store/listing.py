"""Listings: the artifacts of a version, and the files in its folders, without a checkout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from castore.content.trees import iter_tree, look_up, walk_tree
from castore.errors import InvalidInput, RefNotFound, TypeMismatch
from castore.model.artifact_set import Artifact, ExternalContent, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.names import near_names, quoted
from castore.model.pages import TREE, Entry
from castore.store.records import held_id, location, maker
from castore.store.removals import purged_ids
from castore.store.selectors import Resolved
from castore.store.store import Store, as_held
from castore.store.version import Version

_NEAR: Final = 1_000


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """One artifact of a version; `made_by` is the version that made it, another one if carried.

    `purged` tells that its content, or something in its folder, was purged; `uri` where an external
    one is, `held` that the bytes of such a one are here too.
    """

    artifact: Artifact
    title: str
    made_by: Version
    purged: bool = False
    uri: str = ""
    held: bool = False

    @property
    def kind(self) -> str:
        """file, folder or external."""
        return _kind(self.artifact)


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One file or folder; `digest` is a file's BLAKE3, b"" for a folder or where unknown.

    `size` is in bytes, of a folder those of all files below, -1 where unknown. `purged` tells that
    its content, or something below it, was purged.
    """

    path: str
    kind: str
    size: int
    digest: Id = b""
    executable: bool = False
    purged: bool = False

    def as_json(self) -> dict[str, Any]:
        """The entry as data."""
        return {
            "path": self.path,
            "kind": self.kind,
            "size": self.size if self.size >= 0 else None,
            "digest": self.digest.hex() or None,
            "executable": self.executable,
            "purged": self.purged,
        }


def list_artifacts(store: Store, version: Version) -> list[ListedArtifact]:
    """The artifacts of a version, by name; raises ObjectNotFound for a forgotten version."""
    titles = version.manifest.titles
    gone = store.database.read(purged_ids)
    return [
        ListedArtifact(
            artifact,
            titles.get(artifact.name, ""),
            maker(store, version, artifact.name),
            held_id(artifact.content) in gone,
            location(version.manifest, artifact.name) or "",
            as_held(store, artifact) is not artifact,
        )
        for artifact in store.set_of(version).artifacts
    ]


def list_folder(
    store: Store, resolved: Resolved, *, recursive: bool = False
) -> Iterator[ListedEntry]:
    """What a selector names, as entries read while they are asked for, each folder before its own.

    A version: its artifacts at their places. An artifact that is a folder, or a folder in it: the
    entries there, with paths inside the artifact. A file: itself. Raises RefNotFound for a path
    that is not there.
    """
    gone = store.database.read(purged_ids)
    if resolved.artifact is None:
        return _of_version(store, resolved.version, gone, recursive=recursive)
    return _of_artifact(store, resolved.artifact, resolved.path, gone, recursive=recursive)


def draw_tree(entries: Iterable[ListedEntry]) -> Iterator[str]:
    """A recursive listing as a tree of lines, folders with a `/` at the end."""
    root: dict[str, Any] = {}
    for entry in entries:
        here = root
        for component in entry.path.split("/"):
            here = here.setdefault(component, {})
        if entry.kind == "folder":
            here.setdefault("", {})
    return _branches(root, "")


def named_file(store: Store, found: Resolved) -> FileContent:
    """The one file that a selector names; raises what says why it is none, and what to type."""
    text, artifact = found.selector.text, found.artifact
    if artifact is None:
        names = [member.name for member in store.set_of(found.version).artifacts]
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InvalidInput(
            f"{text!r} is a version; name one of its artifacts: {shown}",
            fix=f"cas cat {quoted(f'{text}:{names[0]}')}" if names else f"cas ls {quoted(text)}",
        )
    artifact = as_held(store, artifact)
    if isinstance(artifact.content, ExternalContent):
        uri = location(found.version.manifest, artifact.name) or "an unknown place"
        raise TypeMismatch(
            f"{text!r} is external: its bytes are not here but at {uri}",
            fix=f"cas internalize {quoted(found.version.label)} {quoted(artifact.name)}",
        )
    above = text.removesuffix(f"/{found.path}")
    try:
        entry = named_entry(store, artifact, found.path)
    except RefNotFound as error:
        error.fix = f"cas ls -R {quoted(above)}"
        raise
    if entry is None or entry.kind == TREE:
        raise TypeMismatch(f"{text!r} is a folder; name a file in it", fix=f"cas ls {quoted(text)}")
    return FileContent(entry.id, entry.size, entry.mode)


def _of_version(
    store: Store, version: Version, gone: Set[Id], *, recursive: bool
) -> Iterator[ListedEntry]:
    for artifact in sorted(store.set_of(version).artifacts, key=lambda found: found.path):
        yield _listed(artifact, gone)
        if recursive and isinstance(artifact.content, TreeContent):
            for path, entry in walk_tree(store.reader.tree_page, artifact.content.id):
                yield _listed_entry(f"{artifact.path}/{path.decode()}", entry, gone)


def _of_artifact(
    store: Store, artifact: Artifact, path: str, gone: Set[Id], *, recursive: bool
) -> Iterator[ListedEntry]:
    entry = named_entry(store, artifact, path)
    if entry is None:
        listed = _listed(artifact, gone)
        yield ListedEntry(artifact.name, listed.kind, listed.size, listed.digest)
        return
    if entry.kind != TREE:
        yield _listed_entry(path or artifact.name, entry, gone)
        return
    prefix = f"{path.strip('/')}/" if path else ""
    if recursive:
        for below, found in walk_tree(store.reader.tree_page, entry.id):
            yield _listed_entry(prefix + below.decode(), found, gone)
    else:
        for found in iter_tree(store.reader.tree_page, entry.id):
            yield _listed_entry(prefix + found.name.decode(), found, gone)


def named_entry(store: Store, artifact: Artifact, path: str) -> Entry | None:
    """The file or folder at a path in an artifact; None for an external one that is not here."""
    content = as_held(store, artifact).content
    path = path.strip("/")
    if isinstance(content, TreeContent):
        if not path:
            return Entry(b"", TREE, content.id, content.size, 0)
        entry = look_up(store.reader.tree_page, content.id, path)
        if entry is None:
            raise _no_such_path(store, artifact.name, content.id, path)
        return entry
    if path:
        raise RefNotFound(f"{artifact.name!r} is no folder: there is no {path!r} in it")
    if isinstance(content, ExternalContent):
        return None
    return Entry(b"", "file", content.digest, content.size, content.mode)


def _no_such_path(store: Store, artifact: str, root: Id, path: str) -> RefNotFound:
    some = islice(walk_tree(store.reader.tree_page, root), _NEAR)
    near = near_names(path, [found.decode() for found, _ in some])
    fix = f"cas ls {quoted(f'REV:{artifact}')}"
    return RefNotFound(f"{artifact!r} has no {path!r} in it{near}", fix=fix)


def _kind(artifact: Artifact) -> str:
    if isinstance(artifact.content, TreeContent):
        return "folder"
    return "external" if isinstance(artifact.content, ExternalContent) else "file"


def _listed(artifact: Artifact, gone: Set[Id]) -> ListedEntry:
    content = artifact.content
    digest = b"" if isinstance(content, TreeContent) else content.digest
    executable = isinstance(content, FileContent) and content.mode == 1
    purged = held_id(content) in gone
    return ListedEntry(artifact.path, _kind(artifact), content.size, digest, executable, purged)


def _listed_entry(path: str, entry: Entry, gone: Set[Id]) -> ListedEntry:
    purged = entry.id in gone
    if entry.kind == TREE:
        return ListedEntry(path, "folder", entry.size, purged=purged)
    return ListedEntry(path, "file", entry.size, entry.id, entry.mode == 1, purged)


def _branches(folder: dict[str, Any], indent: str) -> Iterator[str]:
    names = [name for name in folder if name]
    for name in names:
        last = name == names[-1]
        below = folder[name]
        yield f"{indent}{'└── ' if last else '├── '}{name}{'/' if below else ''}"
        yield from _branches(below, indent + ("    " if last else "│   "))
