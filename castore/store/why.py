"""Why something is stored: the shortest chain from a root down to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from castore.content.blocks import decode_block
from castore.content.deltas import block_place, raw_bytes
from castore.content.reader import ObjectReader
from castore.database.operations import Operation
from castore.database.reading import Index, Reading
from castore.database.tables import State
from castore.errors import Ambiguous, InvalidInput, ObjectNotFound, RefNotFound
from castore.model.artifact_set import ExternalContent, TreeContent, decode_set
from castore.model.ids import Id, Kind, parse_id
from castore.model.limits import PREFIX_MIN
from castore.model.note import decode_note
from castore.model.pages import Entry, decode_layout, decode_tree
from castore.store.collect_roots import content_ids, grace_of
from castore.store.selectors import resolve
from castore.store.stages import staged_sessions
from castore.store.store import Store, as_held

LOOKED_AT: Final = 1_000_000
"""Objects above the one asked about, beyond which the search gives up."""
_BATCH: Final = 256
_SCAN_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Link:
    """One object of a chain; `name` is what it is called in the one above, if it has a name."""

    id: Id
    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """What keeps an object: the root and the links from there down to it; none if nothing does."""

    id: Id
    kind: str
    root: str = ""
    chain: tuple[Link, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether anything keeps it."""
        return bool(self.root)

    def as_json(self) -> dict[str, Any]:
        """The answer as data."""
        return {
            "id": self.id.hex(),
            "kind": self.kind,
            "kept": self.kept,
            "root": self.root or None,
            "chain": [
                {"id": link.id.hex(), "kind": link.kind, "name": link.name or None}
                for link in self.chain
            ],
        }


def why(store: Store, text: str, *, grace: int | None = None) -> Why:
    """What keeps what `text` means: a version, an artifact, an id or digest or its beginning.

    `grace` is that of the collection asked about, in microseconds; None: as configured. Raises
    RefNotFound, Ambiguous, InvalidInput if too much holds the object.
    """
    return explain(store, meant(store, text), grace=grace)


def meant(store: Store, text: str) -> Id:
    """The id of the object that a selector, an id or the beginning of one means."""
    digits = text.lower()
    if len(digits) >= PREFIX_MIN and not digits.strip("0123456789abcdef") and len(digits) <= 64:
        if len(digits) == 64:
            id = parse_id(digits)
            if store.database.read(lambda tables: tables.object_row(id)) is not None:
                return id
        found = store.database.read(lambda tables: tables.ids_with_prefix(digits, 10))
        if len(found) > 1:
            raise Ambiguous(
                f"{text!r} begins {len(found)} ids or more",
                candidates=[id.hex() for id, _ in found],
                fix="type more of it",
            )
        if found:
            return found[0][0]
    try:
        resolved = resolve(store, text)
    except ObjectNotFound as error:
        raise RefNotFound(error.message, fix=error.fix) from None
    if resolved.artifact is None:
        return resolved.version.id
    artifact = as_held(store, resolved.artifact)
    if isinstance(artifact.content, ExternalContent):
        raise InvalidInput(f"{text!r} is external: its bytes are not in this store")
    content = next(content_ids(artifact))
    return _inside(store, content, resolved.path, text) if resolved.path else content


def _inside(store: Store, page: Id, path: str, text: str) -> Id:
    for name in path.split("/"):
        found = next((row for row in _entries(store, page) if row.name == name.encode()), None)
        if found is None:
            raise RefNotFound(f"{text!r}: there is no {name!r}", fix="cas ls -R")
        page = found.id
    return page


def _entries(store: Store, page: Id) -> Iterator[Entry]:
    for row in decode_tree(store.reader.tree_page(page)).entries:
        if isinstance(row, Entry):
            yield row
        else:
            yield from _entries(store, row.id)


def explain(store: Store, id: Id, *, grace: int | None = None) -> Why:
    """What keeps an object of this store; breadth first upwards, so the chain is a shortest.

    The operation log, which lets go in time, is told only where nothing else keeps it.
    """
    row = store.database.read(lambda tables: tables.object_row(id))
    if row is None or row.state is not State.STORED:
        raise RefNotFound(f"{id.hex()} is not stored", fix="cas find --digest DIGEST")
    roots, logged = _roots(store), _logged_roots(store, grace_of(store, grace))
    below: dict[Id, Id] = {id: b""}
    level = [id]
    for_now = b""
    while level:
        for found in level:
            if found in roots:
                return Why(id, _word(row.kind), roots[found], tuple(_chain(store, found, below)))
            if found in logged:
                for_now = for_now or found
        level = list(_above(store, level, below))
        if len(below) > LOOKED_AT:
            raise InvalidInput(f"more than {LOOKED_AT:,} objects hold {id.hex()}")
    if for_now:
        return Why(id, _word(row.kind), logged[for_now], tuple(_chain(store, for_now, below)))
    return Why(id, _word(row.kind))


def _above(store: Store, level: list[Id], below: dict[Id, Id]) -> Iterator[Id]:
    """What holds the objects of a level directly and was not seen yet."""
    unheld = []
    for at in range(0, len(level), _BATCH):
        batch = level[at : at + _BATCH]
        for id, kind, holders in store.database.read(partial(_holders, ids=batch)):
            if kind in (Kind.CHUNK, Kind.LAYOUT):
                unheld.append(id)
            for holder in holders:
                if holder not in below:
                    below[holder] = id
                    yield holder
    if unheld:
        # No table leads from a chunk to the layouts it is in: all of them are looked at.
        wanted = set(unheld)
        start: int | None = 0
        while start is not None:
            pairs, start = store.database.read(partial(_layouts, wanted=wanted, start=start))
            for holder, id in pairs:
                if holder not in below:
                    below[holder] = id
                    yield holder


def _holders(tables: Reading, ids: Iterable[Id]) -> list[tuple[Id, Kind, list[Id]]]:
    found = []
    reader = ObjectReader(tables.load)
    for id in ids:
        row = tables.object_row(id)
        if row is None:
            continue
        above = [
            holder
            for holder, kind in tables.containers(id)
            # Another id may begin alike: only what names this one in full holds it.
            if id in reader.payload(holder, kind)
            and (
                kind is not Kind.MANIFEST
                or row.kind is not Kind.SET
                or tables.forgotten(holder) is None
            )
        ]
        if row.kind is Kind.MANIFEST:
            above += (child for _, child in tables.lookup(Index.CHILD, id))
        if row.kind is Kind.NOTE:
            stored = tables.load(id)
            block = decode_block(stored.block, block_place(stored.block_number))
            start, end = block.span(stored.slot)
            above.append(decode_note(block.frame[start:end]).target)
        found.append((id, row.kind, above))
    return found


def _layouts(
    tables: Reading, wanted: set[Id], start: int
) -> tuple[list[tuple[Id, Id]], int | None]:
    """(layout page, what it holds of `wanted`) of a slice of blocks, and where to go on."""
    found: list[tuple[Id, Id]] = []
    for seen, (number, info) in enumerate(tables.block_infos(start)):
        if seen == _SCAN_ROWS:
            return found, number
        if not info.metadata:
            continue
        where = block_place(number)
        block = decode_block(tables.block(number) or b"", where)
        slots = [s for s, member in enumerate(block.members) if member.kind is Kind.LAYOUT]
        raw = raw_bytes(block, tables.load, where) if slots else b""
        for slot in slots:
            begin, end = block.span(slot)
            for part in decode_layout(raw[begin:end]).parts:
                if part.id in wanted:
                    found.append((block.members[slot].id, part.id))
    return found, None


def _logged_roots(store: Store, grace: int) -> dict[Id, str]:
    """What the operation log still holds, and by which entry: the newest."""
    roots: dict[Id, str] = {}
    since = store.now() - grace
    for operation in store.database.read(partial(_logged, since=since)) if grace else ():
        for _, old, new in operation.refs:
            for id in (new, old):
                roots.setdefault(id, f"operation {operation.sequence} ({operation.op})")
    return roots


def _roots(store: Store) -> dict[Id, str]:
    """What is a root and why: refs before pins before sessions."""
    roots: dict[Id, str] = {}
    for stage in staged_sessions(store):
        name = f"session of run {stage.header.run}"
        ids = store.database.read(lambda tables, id=stage.id: list(tables.staged_ids(id)))  # type: ignore[misc]
        roots.update(dict.fromkeys(ids, name))
        for artifact in stage.artifacts.values():
            roots.update(dict.fromkeys(content_ids(artifact), name))
    for id, reason in store.database.read(lambda tables: tables.pins()):
        roots[id] = f"pin: {reason}" if reason else "pin"
    roots.update((id, name) for name, id in store.database.read(lambda tables: tables.refs()))
    return roots


def _logged(tables: Reading, since: int) -> list[Operation]:
    return [
        operation
        for operation in islice(tables.operations(), LOOKED_AT)
        if operation.at >= since and operation.refs
    ]


def _chain(store: Store, top: Id, below: dict[Id, Id]) -> Iterator[Link]:
    """The links from the root's object down to the one asked about."""
    name = ""
    id = top
    while id:
        row = store.database.read(partial(Reading.object_row, id=id))
        kind = row.kind if row else Kind.CHUNK
        label = store.version(id).label if kind is Kind.MANIFEST else name
        yield Link(id, _word(kind), label)
        name = _name_in(store, id, kind, below[id]) if below[id] else ""
        id = below[id]


def _name_in(store: Store, holder: Id, kind: Kind, id: Id) -> str:
    """What `id` is called in the object that holds it."""
    reader = store.reader
    namers: dict[Kind, Callable[[bytes], Iterator[tuple[Id, str]]]] = {
        Kind.SET: _artifacts,
        Kind.TREE: _names,
    }
    if kind not in namers:
        return ""
    return next((n for held, n in namers[kind](reader.payload(holder, kind)) if held == id), "")


def _artifacts(payload: bytes) -> Iterator[tuple[Id, str]]:
    for artifact in decode_set(payload).artifacts:
        content = artifact.content
        yield content.id if isinstance(content, TreeContent) else content.digest, artifact.name


def _names(payload: bytes) -> Iterator[tuple[Id, str]]:
    for row in decode_tree(payload).entries:
        if isinstance(row, Entry):
            yield row.id, row.name.decode()


def _word(kind: Kind) -> str:
    return kind.name.lower()
