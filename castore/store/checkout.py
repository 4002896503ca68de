"""Checkout: a version's artifacts as files in a folder, verified, all of them or none."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from castore.errors import (
    CastoreError,
    CorruptObject,
    InvalidInput,
    ObjectNotFound,
    StoreFull,
    WouldOverwrite,
)
from castore.model.artifact_set import Artifact, ExternalContent
from castore.model.ids import Id
from castore.model.names import check_stored_path, quoted
from castore.store.checkout_write import ArtifactWriter, Written
from castore.store.materialise import (
    Placement,
    check_component,
    open_folder,
    remove_tree,
    write_error,
)
from castore.store.promises import keep_promises
from castore.store.selectors import find_artifact
from castore.store.store import Store, as_held
from castore.store.version import Version

TEMPORARY: Final = ".cas-checkout-"
_LISTED: Final = 8


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """One external artifact, which is not written: its place, where it is, what is known of it."""

    artifact: str
    path: str
    uri: str
    digest: Id
    size: int


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a checkout wrote below `destination`, and what it could only list."""

    version: Version
    destination: Path
    written: tuple[Written, ...]
    external: tuple[Elsewhere, ...] = ()

    @property
    def files(self) -> int:
        """Files written."""
        return sum(item.files for item in self.written)

    @property
    def size(self) -> int:
        """Bytes written."""
        return sum(item.size for item in self.written)

    def as_json(self) -> dict[str, Any]:
        """The checkout as data."""
        return {
            "version": self.version.id.hex(),
            "label": self.version.label,
            "destination": str(self.destination),
            "files": self.files,
            "size": self.size,
            "written": [
                {
                    "artifact": item.artifact,
                    "path": item.path,
                    "size": item.size,
                    "files": item.files,
                }
                for item in self.written
            ],
            "external": [
                {
                    "artifact": item.artifact,
                    "path": item.path,
                    "uri": item.uri or None,
                    "digest": item.digest.hex() or None,
                    "size": item.size if item.size >= 0 else None,
                }
                for item in self.external
            ],
        }


def checkout(
    store: Store,
    version: Version,
    artifacts: Sequence[str] = (),
    destination: Path | None = None,
    *,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Checkout:
    """Write artifacts of a version, all by default, each at its place below `destination`.

    The default destination is `./NAME-vN`. It must be absent (it appears by one rename) or empty;
    with `force` files at the very places of the set are replaced, by rename, and others stay. Every
    byte is compared with its digest before any file appears; on any failure what was there before
    is there again. `progress` is told the bytes written since it was last told.

    Raises WouldOverwrite, RefNotFound for an unknown artifact, InvalidName for names that this file
    system cannot tell apart, CorruptObject, ObjectNotFound, StoreFull, InvalidInput.
    """
    chosen = [as_held(store, one) for one in _chosen(store, version, artifacts)]
    target = Path(os.path.abspath(destination or default_destination(version)))
    _check_places(store, chosen, target)
    stored = [artifact for artifact in chosen if not isinstance(artifact.content, ExternalContent)]
    keep_promises(store, [artifact.content for artifact in stored])
    with _destination(target, store.entropy(8).hex(), force=force) as folder:
        _check_room(folder, sum(artifact.content.size for artifact in stored), target)
        writer = ArtifactWriter(store, folder, progress)
        try:
            written = [
                _write(writer, version, artifact, [one.name for one in chosen])
                for artifact in sorted(stored, key=lambda artifact: artifact.path.split("/"))
            ]
        finally:
            writer.close()
    elsewhere = tuple(_elsewhere(version, chosen))
    return Checkout(version, target, tuple(written), external=elsewhere)


def default_destination(version: Version) -> Path:
    """Where a version is checked out unless told otherwise: `NAME-vN`, a partial `NAME-partial`."""
    name = version.branch.replace("/", "-") or "version"
    return Path(f"{name}-v{version.number}" if version.manifest.complete else f"{name}-partial")


def _write(
    writer: ArtifactWriter, version: Version, artifact: Artifact, names: Sequence[str]
) -> Written:
    """Write an artifact of those named; the exception for one that cannot be read names it."""
    try:
        return writer.artifact(artifact)
    except (CorruptObject, ObjectNotFound) as error:
        error.message = f"artifact {artifact.name!r} of {version.label}: {error.message}"
        error.args = (error.message,)
        error.attributes["artifact"] = artifact.name
        others = [quoted(name) for name in names if name != artifact.name]
        if 0 < len(others) <= _LISTED:
            error.fix = f"cas checkout {quoted(version.label)} {' '.join(others)}"
        raise


def _elsewhere(version: Version, artifacts: Sequence[Artifact]) -> Iterator[Elsewhere]:
    uris = {name: uri for name, uri, _ in version.manifest.locations}
    for artifact in artifacts:
        content = artifact.content
        if isinstance(content, ExternalContent):
            uri = uris.get(artifact.name, "")
            yield Elsewhere(artifact.name, artifact.path, uri, content.digest, content.size)


def _chosen(store: Store, version: Version, names: Sequence[str]) -> list[Artifact]:
    if not names:
        return list(store.set_of(version).artifacts)
    return [find_artifact(store, version, name) for name in dict.fromkeys(names)]


def _check_places(store: Store, artifacts: Sequence[Artifact], target: Path) -> None:
    for artifact in artifacts:
        check_stored_path(artifact.path, f"artifact {artifact.name!r}")
        components = artifact.path.encode().split(b"/")
        for depth, component in enumerate(components):
            check_component(component, components[:depth])
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(store.folder)):
        raise InvalidInput(
            f"{str(target)!r} lies in the store's own folder", fix="choose another folder with -o"
        )


@contextlib.contextmanager
def _destination(target: Path, token: str, *, force: bool) -> Iterator[int]:
    """A fresh folder to write into, whose content is at `target` when the block ends well."""
    try:
        existing = open_folder(str(target))
    except FileNotFoundError:
        existing = -1
    except NotADirectoryError:
        raise WouldOverwrite(
            f"{str(target)!r} is a file", fix="choose another folder with -o", path=str(target)
        ) from None
    except OSError as error:
        raise write_error(error, str(target)) from None
    if existing < 0:
        with _new_folder(target, TEMPORARY + token) as folder:
            yield folder
        return
    try:
        if not force and os.listdir(existing):
            raise WouldOverwrite(
                f"{str(target)!r} exists and is not empty",
                fix="choose another folder with -o, or replace the version's own files with -f",
                path=str(target),
            )
        with _existing_folder(target, existing, TEMPORARY + token, force=force) as folder:
            yield folder
    finally:
        os.close(existing)


@contextlib.contextmanager
def _new_folder(target: Path, temporary: str) -> Iterator[int]:
    made = _make_parents(target)
    try:
        parent = open_folder(str(target.parent))
        try:
            with _fresh(temporary, parent) as folder:
                yield folder
            os.rename(temporary, target.name, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            remove_tree(temporary, parent)
            os.close(parent)
    except BaseException as error:
        for folder_made in made:
            with contextlib.suppress(OSError):
                os.rmdir(folder_made)
        if isinstance(error, OSError):
            raise _new_folder_error(error, target) from None
        raise


def _new_folder_error(error: OSError, target: Path) -> CastoreError:
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
        return WouldOverwrite(
            f"{str(target)!r} appeared while it was being written", path=str(target)
        )
    return write_error(error, str(target))


@contextlib.contextmanager
def _existing_folder(target: Path, existing: int, temporary: str, *, force: bool) -> Iterator[int]:
    try:
        with _fresh(temporary, existing) as work:
            os.mkdir("new", dir_fd=work)
            os.mkdir("old", dir_fd=work)
            staged, aside = open_folder("new", work), open_folder("old", work)
            try:
                yield staged
                placement = Placement(staged, existing, aside, force, target)
                placement.check()
                try:
                    placement.move()
                except BaseException:
                    placement.undo()
                    raise
            finally:
                os.close(staged)
                os.close(aside)
    except OSError as error:
        raise write_error(error, str(target)) from None
    finally:
        remove_tree(temporary, existing)


@contextlib.contextmanager
def _fresh(name: str, parent: int) -> Iterator[int]:
    os.mkdir(name, dir_fd=parent)
    folder = open_folder(name, parent)
    try:
        yield folder
    finally:
        os.close(folder)


def _make_parents(target: Path) -> list[Path]:
    """Make the folders above `target`; returns those that were missing, innermost first."""
    missing = list(itertools.takewhile(lambda folder: not folder.is_dir(), target.parents))
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            folder.mkdir()
            made.insert(0, folder)
    except OSError as error:
        for folder in made:
            folder.rmdir()
        raise write_error(error, str(target.parent)) from None
    return made


def _check_room(folder: int, size: int, target: Path) -> None:
    room = os.fstatvfs(folder)
    free = room.f_bavail * room.f_frsize
    if size > free:
        raise StoreFull(
            f"{str(target)!r}: {size:,} bytes are to be written, {free:,} are free",
            fix="free space there, or: -o DIR on another disk",
        )
