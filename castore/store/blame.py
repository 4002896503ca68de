"""Blame: which version made an artifact, and which one gave it the bytes it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from castore.content.trees import look_up
from castore.errors import InvalidInput, ObjectNotFound, RefNotFound
from castore.model.artifact_set import Artifact, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.values import frozen
from castore.store.find import Wanted, find
from castore.store.lineage import Begin
from castore.store.moments import format_moment
from castore.store.recognition import as_path, content_at
from castore.store.records import maker_record
from castore.store.selectors import resolve
from castore.store.store import Store
from castore.store.version import Version

PLACES: Final = 10_000
"""Places that hold the bytes of a file on disk, of which each branch's newest is told."""

_State = tuple[Id, int]


@frozen
class Blame:
    """Who made one artifact of a version, or a file in it at `path`, and who changed it last.

    `made` is the version that made the artifact, another one than `version` if it was carried; None
    where that is not stored here, `made_id` is known all the same. `changed` is the newest version,
    along first parents, in which its bytes were not those of the version before, which is
    `before`; None where it came in with `changed`. `complete` is False where the history that is
    stored here ends before that: then `changed` is the oldest known to have these bytes.
    """

    version: Version
    artifact: str
    path: str
    digest: Id
    made_id: Id
    made: Version | None
    changed: Version
    before: Version | None = None
    complete: bool = True

    @property
    def name(self) -> str:
        """`branch@vN:artifact/path`."""
        return f"{self.version.label}:{self.artifact}" + (f"/{self.path}" if self.path else "")

    def as_json(self) -> dict[str, Any]:
        """The answer as data."""
        return {
            "version": self.version.id.hex(),
            "label": self.version.label,
            "artifact": self.artifact,
            "path": self.path or None,
            "content": self.digest.hex() or None,
            "made_id": self.made_id.hex(),
            "made": _record(self.made),
            "changed": _record(self.changed),
            "before": _record(self.before),
            "complete": self.complete,
        }


def blame(
    store: Store, what: Begin, *, progress: Callable[[int], None] | None = None
) -> list[Blame]:
    """Who made and who last changed what `what` names: each artifact of a version, one, or a file.

    `what` is a selector with or without `:artifact[/path]`, or a path (text that begins with `.` or
    `/`): then one answer for each branch and artifact whose versions hold these bytes, about the
    newest that does. Reads history back to the last change; `progress` is told the versions read.
    Raises RefNotFound, InvalidInput, ObjectNotFound for a forgotten version.
    """
    path = as_path(what)
    if path is not None:
        return _on_disk(store, path, progress)
    try:
        resolved = resolve(store, str(what))
    except (RefNotFound, InvalidInput):
        # A name of nothing that is stored, but of something that lies here.
        if not os.path.lexists(what):
            raise
        return _on_disk(store, Path(what), progress)
    if resolved.artifact is not None:
        names = {resolved.artifact.name: resolved.path.strip("/")}
        if _state(store, resolved.artifact, resolved.path) is None:
            raise RefNotFound(
                f"{resolved.artifact.name!r} has no {resolved.path!r} in it",
                fix=f"cas ls -R {resolved.version.label}:{resolved.artifact.name}",
            )
    else:
        members = store.set_of(resolved.version)
        names = dict.fromkeys((artifact.name for artifact in members.artifacts), "")
    return _blame(store, resolved.version, names, progress)


def _on_disk(store: Store, path: Path, progress: Callable[[int], None] | None) -> list[Blame]:
    content = content_at(path)
    digest = content.id if isinstance(content, TreeContent) else content.digest
    newest: dict[tuple[str, str], tuple[Version, str]] = {}
    for found in islice(find(store, Wanted(digest=digest.hex())), PLACES):
        key = (found.version.branch, f"{found.artifact.name}/{found.path}")
        newest.setdefault(key, (found.version, found.path))
    if not newest:
        raise RefNotFound(
            f"no version holds the bytes of {os.fspath(path)!r}",
            fix="cas status",
            digest=digest.hex(),
        )
    rows = []
    for (_, place), (version, inside) in newest.items():
        name = place.partition("/")[0]
        rows += _blame(store, version, {name: inside}, progress)
    return rows


def _blame(
    store: Store,
    version: Version,
    names: Mapping[str, str],
    progress: Callable[[int], None] | None,
) -> list[Blame]:
    """`names` are artifacts of the version, each with a path in it or ""."""
    now = _states(store, version, names)
    changes = _last_changes(store, version, names, now, progress)
    makers = dict(version.manifest.carried)
    rows = []
    for name, path in sorted(names.items()):
        state, made_id = now.get(name), makers.get(name, version.id)
        changed, before, complete = changes[name]
        rows.append(
            Blame(
                version=version,
                artifact=name,
                path=path,
                digest=state[0] if state else b"",
                made_id=made_id,
                made=version if made_id == version.id else _stored(store, made_id),
                changed=changed,
                before=before,
                complete=complete,
            )
        )
    return rows


_Change = tuple[Version, Version | None, bool]


def _last_changes(
    store: Store,
    version: Version,
    names: Mapping[str, str],
    now: Mapping[str, _State],
    progress: Callable[[int], None] | None,
) -> dict[str, _Change]:
    """For each name the version that brought its state, the one before, whether that is sure."""
    found: dict[str, _Change] = {}
    left = dict(names)
    while left:
        if progress is not None:
            progress(1)
        version = _shared_maker(store, version, left)
        parents = version.manifest.parents
        parent = _stored(store, parents[0], version.branch) if parents else None
        then: Mapping[str, _State] | None = None
        if parent is not None:
            same = parent.set_id == version.set_id
            then = now if same else _states_if_kept(store, parent, left)
        if parent is None or then is None:
            found.update(dict.fromkeys(left, (version, None, not parents)))
            break
        for name in [name for name in left if then.get(name) != now.get(name)]:
            found[name] = (version, parent if name in then else None, True)
            del left[name]
        version = parent
    return found


def _states_if_kept(
    store: Store, version: Version, names: Mapping[str, str]
) -> dict[str, _State] | None:
    try:
        return _states(store, version, names)
    except ObjectNotFound:
        return None


def _shared_maker(store: Store, version: Version, names: Mapping[str, str]) -> Version:
    """The newest version back to which all these artifacts were only carried on, or this one.

    Whatever is carried was carried by every version since the one that made it.
    """
    makers = dict(version.manifest.carried)
    if any(name not in makers for name in names):
        return version
    candidates = [_stored(store, makers[name], version.branch) for name in names]
    known = [maker for maker in candidates if maker is not None]
    if len(known) < len(candidates):
        return version
    newest = max(known, key=lambda maker: maker.number)
    above = store.database.read(lambda tables: tables.ancestor(version.id, newest.number))
    return newest if above == newest.id else version


def _states(store: Store, version: Version, names: Mapping[str, str]) -> dict[str, _State]:
    """The content and mode of each of these artifacts, or of the file in it, that is there."""
    members = store.set_of(version)
    found: dict[str, _State] = {}
    for artifact in members.artifacts:
        if artifact.name in names:
            state = _state(store, artifact, names[artifact.name])
            if state is not None:
                found[artifact.name] = state
    return found


def _state(store: Store, artifact: Artifact, path: str) -> _State | None:
    content, path = artifact.content, path.strip("/")
    if isinstance(content, TreeContent):
        if not path:
            return content.id, 0
        entry = look_up(store.reader.tree_page, content.id, path)
        return (entry.id, entry.mode) if entry else None
    if path:
        return None
    if isinstance(content, FileContent):
        return content.digest, content.mode
    return content.digest, content.size


def _stored(store: Store, id: Id, branch: str = "") -> Version | None:
    try:
        return store.version(id, branch)
    except ObjectNotFound:
        return None


def _record(version: Version | None) -> dict[str, Any] | None:
    """Who made a version, as data."""
    if version is None:
        return None
    manifest = version.manifest
    made = maker_record(version)
    return {
        **made,
        "at": format_moment(manifest.at),
        "author": manifest.author or None,
        "message": manifest.message,
    }
