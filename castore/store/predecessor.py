"""The version before: where a session finds the content that its own is likely to be much like."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

from castore.content.earlier import EarlierFolder
from castore.content.moved import MovedFiles, plain_name
from castore.database.reading import Index, Reading
from castore.errors import CastoreError
from castore.model.artifact_set import Artifact, Content, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.limits import MIB
from castore.model.refs import branch_ref
from castore.store.store import Store

# Some of the newest may be forgotten.
_NEWEST: Final = 4
# An artifact of which only the size speaks: trying a base in vain costs as much as storing it.
_LEAST_BYTES: Final = 512
_MOST_BYTES: Final = 2 * MIB
_NEAR: Final = 0.25


class Predecessor:
    """Artifacts by name: at the tip of a branch, else in the newest version of its spec.

    What is in neither stands for that whose name differs in numbers only, if there is one. What had
    another name there, or lay in another folder, is found by the name of its file, else, if it is
    small, by its size. Nothing is read before it is asked. What cannot be read is not there.
    """

    def __init__(self, store: Store, branch: str, spec: str) -> None:
        self._store = store
        self._branch = branch
        self._spec = spec
        self._tip: dict[str, Artifact] | None = None
        self._plain: list[dict[bytes, list[str]]] | None = None
        self._newest: dict[str, Artifact] | None = None
        self._moved: MovedFiles | None = None

    def file(
        self, name: str, hint: str = "", size: Callable[[], int | None] = lambda: None
    ) -> FileContent | None:
        """The file that an artifact was; `hint` is what its file is called now, `size` its size."""
        found = self._content(name)
        if isinstance(found, FileContent):
            return found
        known, bytes_now = self._files(), size()
        for called in (hint or name, name):
            moved = known.nearest(called.encode(), bytes_now)
            if moved is not None:
                return moved
        return self._of_size(hint or name, bytes_now)

    def folder(self, name: str) -> EarlierFolder:
        """The folder that an artifact was, empty if it was none."""

        def find_root() -> Id | None:
            found = self._content(name)
            return found.id if isinstance(found, TreeContent) else None

        def elsewhere(path: str, size: int) -> FileContent | None:
            # The folder has looked through its own files.
            own = self._content(name)
            if all(artifact.content == own for artifact in self._likeliest().values()):
                return None
            return self._files().nearest(path.encode(), size)

        reader, load = self._store.near_reader, self._store.database.load
        return EarlierFolder(reader, load, find_root, elsewhere)

    def _content(self, name: str) -> Content | None:
        for members in self._sets():
            if name in members:
                return members[name].content
        # A release, or a day: its name differs in numbers from the one before, which is the last.
        for members, releases in zip(self._sets(), self._releases(), strict=True):
            like = releases.get(plain_name(name.encode()), ())
            if like:
                last = next((other for other in reversed(like) if other < name), like[0])
                return members[last].content
        return None

    def _sets(self) -> Iterator[dict[str, Artifact]]:
        """What each artifact was, in the versions that come into question, the likeliest first."""
        if self._tip is None:
            self._tip = self._artifacts(self._ids_at_tip())
        yield self._tip
        if self._newest is None:
            self._newest = self._artifacts(self._ids_of_spec())
        yield self._newest

    def _releases(self) -> list[dict[bytes, list[str]]]:
        """For each of these versions the names of artifacts in order, by what is plain of them."""
        if self._plain is None:
            self._plain = []
            for members in self._sets():
                names: dict[bytes, list[str]] = {}
                for name in sorted(members):
                    names.setdefault(plain_name(name.encode()), []).append(name)
                self._plain.append(names)
        return self._plain

    def _likeliest(self) -> dict[str, Artifact]:
        return next((members for members in self._sets() if members), {})

    def _files(self) -> MovedFiles:
        """The files of all artifacts, by the names they had."""
        if self._moved is None:
            self._moved = moved = MovedFiles()
            members = self._likeliest().values()
            for artifact in members:
                if isinstance(artifact.content, FileContent):
                    for path in dict.fromkeys((artifact.path, artifact.name)):
                        moved.add(path.encode(), artifact.content)
            for artifact in members:
                if isinstance(artifact.content, TreeContent):
                    with contextlib.suppress(CastoreError):
                        moved.add_folder(self._store.near_reader, artifact.content.id)
        return self._moved

    def _of_size(self, name: str, size: int | None) -> FileContent | None:
        """The file artifact with the same ending that is nearest in size, if it is near."""
        if size is None or not _LEAST_BYTES <= size <= _MOST_BYTES:
            return None
        ending = PurePosixPath(name).suffix
        found = [
            (abs(artifact.content.size - size), artifact.content)
            for artifact in self._likeliest().values()
            if isinstance(artifact.content, FileContent)
            and ending in (PurePosixPath(artifact.name).suffix, PurePosixPath(artifact.path).suffix)
        ]
        apart, near = min(found, key=lambda row: row[0], default=(0, None))
        return near if near is not None and apart <= _NEAR * size else None

    def _artifacts(self, versions: Sequence[Id]) -> dict[str, Artifact]:
        """The artifacts of the first of these versions that can be read."""
        for id in versions:
            with contextlib.suppress(CastoreError):
                reader = self._store.near_reader
                members = reader.set(reader.manifest(id).set)
                return {artifact.name: artifact for artifact in members.artifacts}
        return {}

    def _ids_at_tip(self) -> list[Id]:
        ref = branch_ref(self._branch)
        id = self._store.database.read(lambda tables: tables.ref(ref))
        return [id] if id else []

    def _ids_of_spec(self) -> list[Id]:
        """The newest versions of the spec, on whatever branch."""
        spec = self._spec or self._branch

        def newest(tables: Reading) -> list[Id]:
            return [id for _, id in islice(tables.lookup(Index.SPEC, spec), _NEWEST)]

        return self._store.database.read(newest)
