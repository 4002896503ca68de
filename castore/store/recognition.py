"""Recognition: what of a store lies at a place on disk, told by its bytes alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from castore.content.absent import look_for
from castore.content.folders import FolderScan, Rules
from castore.content.sources import opened
from castore.content.trees import build_tree
from castore.database.reading import Reading
from castore.errors import InvalidInput, NotFound, RefNotFound
from castore.model.artifact_set import ArtifactSet, Content, FileContent, TreeContent
from castore.model.ids import Id, Kind, content_id_of
from castore.model.limits import FOLDER_DEPTH
from castore.model.manifest import SpecPin
from castore.model.pages import FILE, TREE
from castore.store.find import sets_with, versions_with
from castore.store.store import Store
from castore.store.version import Version, version_in

LOOKED_AT: Final = 1_000
"""Versions of one set, and sets that hold one file, that are looked at."""
_LISTED: Final = 5
_NEVER: Final = frozenset((".git", ".cas"))
_READ: Final = 1 << 20
_BATCH: Final = 256

_Folder: TypeAlias = "dict[str, FileContent | _Folder]"


def as_path(what: str | os.PathLike[str]) -> Path | None:
    """The place on disk that an argument means, if it means one: text that begins with . or /."""
    if isinstance(what, str) and not what.startswith((".", "/")):
        return None
    return Path(what)


def content_at(path: Path) -> FileContent | TreeContent:
    """The content of a file or folder as a commit would store it; nothing is stored.

    Raises NotFound, InvalidInput, InvalidName.
    """
    if not os.path.lexists(path):
        raise NotFound(f"{str(path)!r} does not exist", fix=look_for(path))
    if not path.is_dir():
        return _hashed(str(path), follow=True)
    scan = FolderScan(os.path.abspath(path))
    return _tree(_scanned(scan, scan.root, "", scan.rules, 0))


def _scanned(scan: FolderScan, path: str, prefix: str, rules: Rules, depth: int) -> _Folder:
    listing, rules = scan.take(path, prefix, rules, depth)
    found: _Folder = {name: _hashed(f"{path}/{name}") for name in listing.files}
    for below in listing.folders:
        inside = f"{prefix}{below.name}/"
        found[below.name] = _scanned(scan, below.path, inside, rules, depth + 1)
    return found


def spec_with(store: Store, digest: Id) -> SpecPin | None:
    """The spec that has these bytes, or a file that its checks name; None if there is none."""

    def read(tables: Reading) -> SpecPin | None:
        for holder, kind in tables.containers(digest):
            if kind is Kind.MANIFEST:
                pin = version_in(tables, holder).manifest.spec
                if digest == pin.source or digest in dict(pin.files).values():
                    return pin
        return None

    return store.database.read(read)


class Recognised(NamedTuple):
    """The versions that have exactly the bytes of a folder, newest first."""

    set_id: Id
    versions: tuple[Version, ...]


def recognise_set(
    store: Store, path: Path, progress: Callable[[int], None] | None = None
) -> Recognised:
    """The versions whose artifacts are exactly the files below a folder, each at its place.

    Every file is read, whatever a `.casignore` says and whatever is remembered of it: hidden files,
    other rights to execute and one file too many make another set. `.git` and `.cas` are not looked
    into, external artifacts and empty folders do not count. Holds some hundred bytes a file.
    Raises RefNotFound that names what differs from the nearest version, InvalidInput for links.
    """
    if not path.is_dir():
        raise NotFound(f"{str(path)!r} is no folder")
    disk = _Disk(path, progress)
    if not disk.files:
        raise InvalidInput(f"{str(path)!r} holds no files")
    nearest: tuple[list[str], Version] | None = None
    for set_id in _candidates(store, disk):
        versions = tuple(islice(versions_with(store, {set_id}), LOOKED_AT))
        if not versions:
            continue
        differences = disk.differences(store.set_of(versions[0]))
        if not differences:
            return Recognised(set_id, versions)
        if nearest is None or len(differences) < len(nearest[0]):
            nearest = (differences, versions[0])
    raise _unknown(path, nearest)


def _unknown(path: Path, nearest: tuple[list[str], Version] | None) -> RefNotFound:
    message = f"no version has exactly the files of {str(path)!r}"
    if nearest is None:
        return RefNotFound(f"{message}, nor one of them", fix="cas log", differences=[])
    differences, version = nearest
    more = f" and {len(differences) - _LISTED} more" if len(differences) > _LISTED else ""
    shown = ", ".join(differences[:_LISTED]) + more
    return RefNotFound(
        f"{message}; the nearest is {version.label}: {shown}",
        fix=f"cas checkout {version.label}",
        nearest=version.id.hex(),
        differences=differences,
    )


def _candidates(store: Store, disk: _Disk) -> Iterator[Id]:
    """The sets that hold the file which the fewest hold: what has all files has that one too.

    Where a file is stored nowhere there is no such set, but one that is near.
    """
    held = store.database.read(partial(_held, digests=list(disk.digests())))
    if not held:
        return
    rarest = min(held, key=lambda digest: (held[digest], digest))
    yield from islice(sorted(sets_with(store, rarest)), LOOKED_AT)


def _held(tables: Reading, digests: list[Id]) -> dict[Id, int]:
    """How many folders and sets hold each of these contents directly, without those in none."""
    counts = {id: sum(1 for _ in islice(tables.containers(id), _BATCH)) for id in digests}
    return {id: count for id, count in counts.items() if count}


class _Disk:
    """The files below one folder, all of them, by their bytes."""

    def __init__(self, root: Path, progress: Callable[[int], None] | None) -> None:
        self.files: dict[str, FileContent] = {}
        self._progress = progress
        self._top = self._read(os.path.abspath(root), "", 0)
        self._trees: dict[str, TreeContent] = {}

    def digests(self) -> set[Id]:
        """The digest of every file."""
        return {file.digest for file in self.files.values()}

    def differences(self, members: ArtifactSet) -> list[str]:
        """What a set has otherwise: names of artifacts, and files that belong to none."""
        found = []
        places = []
        for artifact in members.artifacts:
            content = artifact.content
            if not isinstance(content, (FileContent, TreeContent)):
                continue
            places.append(artifact.path)
            here = self._at(artifact.path)
            if here is None:
                found.append(f"{artifact.name} is not there")
            elif here != content:
                found.append(f"{artifact.name} differs")
        prefixes = tuple(f"{place}/" for place in places)
        exact = frozenset(places)
        found += (
            f"{path} is too many"
            for path in self.files
            if path not in exact and not path.startswith(prefixes)
        )
        return found

    def _at(self, place: str) -> Content | None:
        """What lies at a place: a file, or a folder as the tree it would be stored as."""
        here: FileContent | _Folder = self._top
        for component in place.split("/"):
            if isinstance(here, FileContent) or component not in here:
                return None
            here = here[component]
        if isinstance(here, FileContent):
            return here
        if place not in self._trees:
            self._trees[place] = _tree(here)
        return self._trees[place]

    def _read(self, folder: str, prefix: str, depth: int) -> _Folder:
        if depth > FOLDER_DEPTH:
            raise InvalidInput(f"{folder}: folders nested deeper than {FOLDER_DEPTH}")
        found: _Folder = {}
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            mode = entry.stat(follow_symlinks=False).st_mode
            if entry.name in _NEVER and stat.S_ISDIR(mode):
                continue
            name, path = prefix + entry.name, f"{folder}/{entry.name}"
            if stat.S_ISDIR(mode):
                found[entry.name] = self._read(path, name + "/", depth + 1)
            else:
                found[entry.name] = self.files[name] = _hashed(path, self._progress)
        return found


def _hashed(
    path: str, progress: Callable[[int], None] | None = None, *, follow: bool = False
) -> FileContent:
    """A file as it would be stored; raises InvalidInput for a link and what is no file."""

    def read(descriptor: int) -> bytes:
        piece = os.read(descriptor, _READ)
        if progress is not None:
            progress(len(piece))
        return piece

    with opened(path, follow=follow) as (descriptor, found):
        digest, size = content_id_of(iter(partial(read, descriptor), b""))
        return FileContent(digest, size, found.st_mode >> 6 & 1)


def _tree(folder: _Folder) -> TreeContent:
    rows = []
    for name, below in folder.items():
        if isinstance(below, FileContent):
            rows.append((os.fsencode(name), FILE, below.digest, below.size, below.mode))
        else:
            tree = _tree(below)
            rows.append((os.fsencode(name), TREE, tree.id, tree.size, 0))
    built = build_tree(rows)
    return TreeContent(built.root, built.size)
