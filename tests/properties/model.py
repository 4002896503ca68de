"""The model of a store: a dict of refs, moved by an operation log, over a dict of versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import castore
from castore.database.operations import Operation, RefMove
from castore.errors import (
    CastoreError,
    Conflict,
    InvalidInput,
    ObjectNotFound,
    RefMoved,
    RefNotFound,
)
from castore.model.ids import Id, Kind
from castore.model.refs import HEADS, TAGS
from tests.properties.contents import alive, dead
from tests.properties.sayings import Sayings

# What no undo takes back, and what an undo of the newest does not pass over.
DEEDS = frozenset({
    "approve", "comment", "deploy", "deploy-remove", "dismiss", "mark", "reject", "request-review",
    "revoke", "tag", "tag-delete", "pin", "unpin", "purge",
})  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """Where every ref was, and what was pinned, after the operation with this number."""

    sequence: int
    refs: Mapping[str, Id]
    pins: frozenset[Id]


@dataclass
class Model:
    """What the store must hold: versions by id, where names lead, and the log that led there.

    `versions` holds the files of everything stored, of incomplete sets as well, whose ids are in
    `sealed`; `parents` also knows those that were collected. `forgotten` leads from a version to
    the operation that forgot it, `emptied` holds those whose content was collected since. What has
    bytes in common with one of `purged` is read and stored no more. `said` is what notes say.
    """

    versions: dict[Id, dict[str, bytes]] = field(default_factory=dict)
    parents: dict[Id, Id | None] = field(default_factory=dict)
    sealed: set[Id] = field(default_factory=set)
    refs: dict[str, Id] = field(default_factory=dict)
    pins: set[Id] = field(default_factory=set)
    log: list[Operation] = field(default_factory=list)
    forgotten: dict[Id, int] = field(default_factory=dict)
    emptied: set[Id] = field(default_factory=set)
    purged: list[bytes] = field(default_factory=list)
    said: Sayings = field(default_factory=Sayings)

    def add(self, id: Id, parent: Id | None, content: dict[str, bytes], spec: str) -> None:
        """A version that was made under the spec of this id."""
        self.versions[id], self.parents[id] = content, parent
        self.said.specs[id] = spec

    def keep(self, ids: set[Id]) -> None:
        """Only these versions are stored any more, and what was said about them."""
        self.versions = {id: data for id, data in self.versions.items() if id in ids}
        self.said.keep(ids)

    def dead(self, data: bytes) -> bool:
        """Whether nobody reads or stores this content any more."""
        return dead(self.purged, data)

    def content(self, id: Id) -> dict[str, bytes | None]:
        """The files of a version as they are read: None for one that was purged."""
        return alive(self.purged, self.versions[id])

    def apply(self, operation: Operation) -> None:
        """What an entry of the log did, which begins where the entry before it ended."""
        assert operation.sequence == len(self.log) + 1
        for name, old, new in operation.refs:
            assert self.refs.pop(name, b"") == old, f"{operation} does not follow"
            if new:
                self.refs[name] = new
        if operation.op == "pin":
            self.pins.add(operation.detail["id"])
        elif operation.op == "unpin":
            self.pins.remove(operation.detail["id"])
        elif operation.op == "forget":
            self.forgotten.update(dict.fromkeys(operation.detail["versions"], operation.sequence))
        elif operation.op == "undo" and operation.detail["op"] == "forget":
            for id in operation.detail["versions"]:
                assert self.forgotten.pop(id) == operation.detail["sequence"]
        self.log.append(operation)

    def moment(self) -> Moment:
        """How things stand now."""
        return Moment(len(self.log), dict(self.refs), frozenset(self.pins))

    def under(self, prefix: str) -> dict[str, Id]:
        """The refs whose names begin so, by the rest of the name."""
        return under(self.refs, prefix)

    def complete(self) -> list[Id]:
        """Every stored version that is no incomplete set and not forgotten, oldest first.

        Ids differ from run to run, so that nothing that is drawn may go by their order.
        """
        return [id for id in self.versions if id not in self.sealed and id not in self.forgotten]

    def unnamed(self) -> list[Id]:
        """Those that nothing names."""
        named = {*self.refs.values(), *self.pins}
        return [id for id in self.complete() if id not in named]

    def forgettable(self) -> list[Id]:
        """Those that nothing names, and that are nowhere deployed."""
        deployed = self.said.deployed().values()
        return [id for id in self.unnamed() if id not in deployed]

    def gone(self, id: Id) -> bool:
        """Whether a version was forgotten, or something in it purged."""
        return id in self.forgotten or None in self.content(id).values()

    def pinned(self) -> list[Id]:
        """Those that are pinned, oldest first."""
        return [id for id in self.parents if id in self.pins]

    def chain(self, id: Id | None) -> list[Id]:
        """A version and its ancestors."""
        found = []
        while id is not None:
            found.append(id)
            id = self.parents[id]
        return found

    def lines(self) -> dict[str, list[Id]]:
        """Each branch and its versions, newest first."""
        return {branch: self.chain(id) for branch, id in self.under(HEADS).items()}

    def reached(self) -> set[Id]:
        """The versions that refs and pins lead to."""
        return {id for root in (*self.refs.values(), *self.pins) for id in self.chain(root)}

    def made_by(self, operation: str, branch: str) -> list[Id]:
        """The stored versions that commits with this operation id made on a branch."""
        moves = [e.refs[0] for e in self.log if e.op == "commit" and e.op_id == operation]
        return [id for ref, _, id in moves if ref == HEADS + branch and id in self.versions]

    def undoable(self) -> Operation | None:
        """The newest operation that moved a branch, is no undo, and stands."""
        return self._newest()[0]

    def passed_over(self) -> bool:
        """Whether somebody did something after that which no undo takes back."""
        return self._newest()[1]

    def _newest(self) -> tuple[Operation | None, bool]:
        undone, deed = set(), False
        for entry in reversed(self.log):
            if entry.sequence in undone:
                continue
            if entry.op == "undo":
                undone.add(entry.detail["sequence"])
            elif entry.op == "forget" or any(n.startswith(HEADS) for n, _, _ in entry.refs):
                return entry, deed
            elif entry.op in DEEDS:
                deed = True
        return None, False

    def undo(
        self, sequence: int | None, refs: Mapping[str, Id]
    ) -> tuple[RefMove, ...] | type[CastoreError]:
        """The moves that undoing makes when refs are like this, or how it is refused."""
        entry = self.undoable() if sequence is None else self.log[sequence - 1]
        if entry is None:
            return RefNotFound
        if sequence is None and self.passed_over():
            return InvalidInput
        if entry.op == "forget":
            held = [id for id, by in self.forgotten.items() if by == entry.sequence]
            if not held:
                return Conflict
            lost = any(id not in self.versions or id in self.emptied for id in held)
            return ObjectNotFound if lost else ()
        names = [name for name, _, _ in entry.refs]
        if not any(name.startswith(HEADS) for name in names):
            return InvalidInput
        assert not any(name.startswith(TAGS) for name in names)
        if any(old and old not in self.versions for _, old, _ in entry.refs):
            return ObjectNotFound
        given_up = any(old in self.forgotten for _, old, _ in entry.refs)
        if any(refs.get(name, b"") != new for name, _, new in entry.refs):
            return RefMoved
        if given_up:
            return ObjectNotFound
        return tuple((name, new, old) for name, old, new in entry.refs)


def under(refs: Mapping[str, Id], prefix: str) -> dict[str, Id]:
    """The refs whose names begin so, by the rest of the name."""
    return {name.removeprefix(prefix): id for name, id in refs.items() if name.startswith(prefix)}


def stored(store: castore.Store) -> set[Id]:
    """Every version in the store."""
    return store.database.read(
        lambda tables: {id for id, row in tables.object_rows() if row.kind is Kind.MANIFEST}
    )


def notes(store: castore.Store) -> set[Id]:
    """Every note in the store."""
    return store.database.read(
        lambda tables: {id for id, row in tables.object_rows() if row.kind is Kind.NOTE}
    )


def emptied(store: castore.Store, model: Model) -> set[Id]:
    """The forgotten versions that are stored without their sets."""
    ids = stored(store) & model.forgotten.keys()
    sets = {id: store.version(id).set_id for id in ids}
    here = store.database.read(lambda tables: tables.present(sets.values()))
    return {id for id, held in sets.items() if held not in here}


def content_of(store: castore.Store, version: castore.Version) -> dict[str, bytes | None]:
    """The files of a version, read back; None for one that was purged."""
    rev = version.id.hex()
    names = [member.name for member in store.set_of(version).artifacts]
    return {name: read_back(store, f"{rev}:{name}") for name in names}


def read_back(store: castore.Store, selector: str) -> bytes | None:
    """A file, or None if it was purged."""
    try:
        return store.read_bytes(selector)
    except ObjectNotFound as error:
        if error.attributes.get("state") != "purged":
            raise
        return None


def agrees(store: castore.Store, model: Model, moment: Moment, ids: Iterable[Id] = ()) -> None:
    """A store's names, pins, branches, histories and content are those of the model then.

    The content of `ids` is compared besides that of branches.
    """
    assert store.database.read(lambda tables: dict(tables.refs())) == moment.refs
    assert {pin.version.id for pin in store.pins()} == moment.pins
    heads = under(moment.refs, HEADS)
    assert {version.branch: version.id for version in store.branches()} == heads
    assert dict(store.tags()).keys() == under(moment.refs, TAGS).keys()
    for branch, id in heads.items():
        chain = [(version.id, version.number) for version in store.log(branch)]
        walked = model.chain(id)
        assert chain == list(zip(walked, range(len(walked), 0, -1), strict=True))
        for past, number in chain:
            assert store.resolve(f"{branch}@v{number}").version.id == past
    for id in {*heads.values(), *ids}:
        assert content_of(store, store.version(id)) == model.content(id)
