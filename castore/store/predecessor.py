"""The version before: where a session finds the content that its own is likely to be much like."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from castore.content.earlier import EarlierFolder
from castore.database.reading import Index, Reading
from castore.errors import CastoreError
from castore.model.artifact_set import Content, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.refs import branch_ref
from castore.store.store import Store

# Some of the newest may be forgotten.
_NEWEST: Final = 4


class Predecessor:
    """Artifacts by name: at the tip of a branch, else in the newest version of its spec.

    Nothing is read before it is asked. What cannot be read is not there.
    """

    def __init__(self, store: Store, branch: str, spec: str) -> None:
        self._store = store
        self._branch = branch
        self._spec = spec
        self._tip: dict[str, Content] | None = None
        self._newest: dict[str, Content] | None = None

    def file(self, name: str) -> FileContent | None:
        """The file that an artifact was."""
        found = self._content(name)
        return found if isinstance(found, FileContent) else None

    def folder(self, name: str) -> EarlierFolder:
        """The folder that an artifact was, empty if it was none."""

        def find_root() -> Id | None:
            found = self._content(name)
            return found.id if isinstance(found, TreeContent) else None

        return EarlierFolder(self._store.reader, self._store.database.load, find_root)

    def _content(self, name: str) -> Content | None:
        for members in self._sets():
            if name in members:
                return members[name]
        return None

    def _sets(self) -> Iterator[dict[str, Content]]:
        """What each artifact was, in the versions that come into question, the likeliest first."""
        if self._tip is None:
            self._tip = self._contents(self._ids_at_tip())
        yield self._tip
        if self._newest is None:
            self._newest = self._contents(self._ids_of_spec())
        yield self._newest

    def _contents(self, versions: Sequence[Id]) -> dict[str, Content]:
        """The artifacts of the first of these versions that can be read."""
        for id in versions:
            with contextlib.suppress(CastoreError):
                reader = self._store.reader
                members = reader.set(reader.manifest(id).set)
                return {artifact.name: artifact.content for artifact in members.artifacts}
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
