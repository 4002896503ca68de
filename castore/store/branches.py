"""Branches: names that move with each commit, and the versions that lost a race."""

from __future__ import annotations

from collections.abc import Callable

from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput, RefMoved, RefNotFound
from castore.model.ids import Id, short
from castore.model.names import near_names
from castore.model.refs import HEADS, LOST, TAGS, branch_ref
from castore.store.presence import held_version, require_stored
from castore.store.store import Store
from castore.store.version import Version, version_in


def list_branches(store: Store) -> list[Version]:
    """The tip of every branch, sorted by name."""

    def read(tables: Reading) -> list[Version]:
        refs = tables.refs(HEADS)
        return [version_in(tables, id, name.removeprefix(HEADS)) for name, id in refs]

    return store.database.read(read)


def list_lost(store: Store) -> list[Version]:
    """Versions whose branch moved before they could be published, sorted by branch."""

    def read(tables: Reading) -> list[Version]:
        return [version_in(tables, id, _lost_branch(name)) for name, id in tables.refs(LOST)]

    return store.database.read(read)


def create_branch(store: Store, name: str, version: Version, *, by: str) -> Version:
    """Make a branch that begins at `version`; raises Conflict when the name is taken."""
    ref = branch_ref(name)
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete; a branch holds complete versions only")
    at = store.now()

    def transact(tables: Writing) -> None:
        if tables.ref(TAGS + name) or tables.tombstone(TAGS + name):
            raise Conflict(f"a tag is called {name!r}: a branch and a tag may not share a name")
        require_stored(tables, version)
        if not tables.add_if_new(ref, version.id):
            raise Conflict(f"branch {name!r} exists", fix=f"cas log {name}")
        _record(tables, "branch", at, by, (ref, b"", version.id))

    store.database.write(transact)
    return Version(version.id, version.manifest, name)


def move_branch(
    store: Store, name: str, version: Version, *, by: str, expect: Id | None = None
) -> Version:
    """Point an existing branch at `version`, forwards or backwards; gives back where it was.

    Raises RefNotFound, and RefMoved when it is not at `expect`.
    """
    ref = branch_ref(name)
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete; a branch holds complete versions only")
    at = store.now()

    def transact(tables: Writing) -> Callable[[], Version]:
        current = _current(tables, name, expect)
        require_stored(tables, version)
        before = held_version(tables, current, name)
        tables.set_if_equals(ref, current, version.id)
        _record(tables, "branch-move", at, by, (ref, current, version.id))
        return before

    return store.database.write(transact)()


def delete_branch(store: Store, name: str, *, by: str, expect: Id | None = None) -> Version:
    """Take a branch away and give back its tip; its versions stay until gc's grace has passed."""
    ref = branch_ref(name)
    at = store.now()

    def transact(tables: Writing) -> Callable[[], Version]:
        current = _current(tables, name, expect)
        before = held_version(tables, current, name)
        tables.remove_if_equals(ref, current)
        _record(tables, "branch-delete", at, by, (ref, current, b""))
        return before

    return store.database.write(transact, urgent=True)()


def _current(tables: Writing, name: str, expect: Id | None) -> Id:
    current = tables.ref(HEADS + name)
    if current is None:
        known = [ref.removeprefix(HEADS) for ref, _ in tables.refs(HEADS)]
        raise RefNotFound(
            f"no branch is called {name!r}{near_names(name, known)}", fix="cas branch"
        )
    if expect is not None and current != expect:
        raise RefMoved(f"branch {name!r} is at {short(current)}, not at {short(expect)}")
    return current


def _record(tables: Writing, op: str, at: int, by: str, moved: tuple[str, Id, Id]) -> None:
    tables.append_operation(op, op_id="", at=at, by=by, why="", refs=[moved], detail={})
    tables.bump_generation()


def _lost_branch(ref: str) -> str:
    return ref.removeprefix(LOST).rpartition("/")[0]
