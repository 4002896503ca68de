"""Newer sources: what the inputs of a version are today, by the selectors they were taken with."""

from __future__ import annotations

from typing import Final, NamedTuple

from castore.errors import InvalidInput, NotFound, ObjectNotFound
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id, short
from castore.model.manifest import Source
from castore.model.names import quoted
from castore.model.status import Status, fold
from castore.store.notes import notes_about
from castore.store.pinning import digest_file, uri_path
from castore.store.selectors import Resolved, resolve
from castore.store.store import Store
from castore.store.version import Version

SOURCE: Final = "source"
WITHDRAWN: Final = "withdrawn"
REJECTED: Final = "rejected"
UNKNOWN: Final = "unknown"


class Change(NamedTuple):
    """One thing that is otherwise with a source today; `fix` is what to type if not a commit."""

    reason: str
    old: str
    new: str
    detail: str
    fix: str = ""


class Sources:
    """The sources of versions as they are today; resolves each selector and reads each file once.

    What lies elsewhere and cannot be compared is told in `unchecked`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._resolved: dict[str, Resolved | NotFound | InvalidInput] = {}
        self._standing: dict[Id, Status] = {}
        self._digests: dict[str, tuple[Id, int] | str] = {}
        self.unchecked: dict[str, str] = {}

    def changes(self, source: Source, maker: Version) -> list[Change]:
        """What is otherwise today with a source of `maker`."""
        if not source.target:
            return self._outside(source)
        old, new, found = source_name(source), "", []
        today = self._today(source.selector)
        if not isinstance(today, Resolved):
            detail = f"{source.selector} means nothing here today: {today.message}"
            found.append(Change(UNKNOWN, old, "", detail, today.fix or "cas branch"))
        elif self._differs(source, today, maker):
            new = today.version.label + (f":{today.artifact.name}" if today.artifact else "")
            detail = f"{source.selector} is {new} today"
            found.append(Change(SOURCE, old, new, detail))
        fix = "" if new else _choose(source)
        status = self._status(source.target)
        if status.lifecycle == "withdrawn":
            found.append(Change(WITHDRAWN, old, new, f"{old} was withdrawn", fix))
        if status.rejecters:
            who = ", ".join(status.rejecters)
            found.append(Change(REJECTED, old, new, f"{old} was rejected by {who}", fix))
        return found

    def _today(self, selector: str) -> Resolved | NotFound | InvalidInput:
        if selector not in self._resolved:
            try:
                self._resolved[selector] = resolve(self._store, selector)
            except (NotFound, InvalidInput) as error:
                self._resolved[selector] = error
        return self._resolved[selector]

    def _status(self, id: Id) -> Status:
        if id not in self._standing:
            self._standing[id] = fold(notes_about(self._store, id), id)
        return self._standing[id]

    def _differs(self, source: Source, today: Resolved, maker: Version) -> bool:
        """Whether the selector means other bytes now, and not what was made from the source."""
        version = today.version
        if version.id == source.target:
            return False
        above = self._store.database.read(lambda t: t.ancestor(version.id, maker.number))
        return above != maker.id and not self._same_bytes(source, today)

    def _same_bytes(self, source: Source, today: Resolved) -> bool:
        artifact = today.artifact
        try:
            target = self._store.version(source.target)
            if artifact is None:
                return target.set_id == today.version.set_id
            if source.digest and not isinstance(artifact.content, TreeContent):
                return source.digest == artifact.content.digest
            before = self._store.set_of(target).get(source.target_artifact)
        except ObjectNotFound:
            return False
        return before is not None and before.content == artifact.content

    def _outside(self, source: Source) -> list[Change]:
        """A file is compared where it is here and was pinned; nothing else is ever fetched."""
        path = uri_path(source.uri)
        if path is None or not source.pinned:
            self.unchecked[source.uri] = f"{source.uri} lies elsewhere"
            return []
        if not path.is_file():
            self.unchecked[source.uri] = f"{source.uri} is not here"
            return []
        if source.uri not in self._digests:
            size = path.stat().st_size
            try:
                same = size == source.size
                self._digests[source.uri] = digest_file(path) if same else (b"", size)
            except InvalidInput as error:
                self._digests[source.uri] = error.message
        now = self._digests[source.uri]
        if isinstance(now, str):
            self.unchecked[source.uri] = now
            return []
        digest, size = now
        if (digest, size) == (source.digest, source.size):
            return []
        detail = f"{source.uri} has other bytes today"
        return [Change(SOURCE, short(source.digest), short(digest) or f"{size} bytes", detail)]


def source_name(source: Source) -> str:
    """What a source is called: the version it was, else as it was typed."""
    return source.label or source.uri or source.selector or short(source.target)


def _choose(source: Source) -> str:
    """How to find another version of a source whose selector still means a bad one."""
    return f"cas log {quoted(source.label.partition(':')[0].partition('@')[0])}"
