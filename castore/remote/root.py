"""The root: the one mutable object of a bucket; nothing is in the bucket that it does not lead to.

Canonical encoding, at most 4 MiB. `refs`, `tombs`, `forgotten` and `purged` are lists in the form
`{lists: [[list id, upload, rows], ...], rows: [...]}`: above 2,000 rows or 512 KiB they stand in
pages of their own, of no more than that, each the canonical `{rows: [...]}` whose id is keyed for
"list", and `rows` is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from castore.errors import CorruptObject, InvalidInput, InvalidName, UnsupportedFormat
from castore.model.encoding import decode, encode, encode_item
from castore.model.fields import Fields, read_row
from castore.model.ids import Id, named_id
from castore.model.limits import (
    FORMAT,
    ID_BYTES,
    INDEXES_MAX,
    MIB,
    ROOT_BYTES,
    ROOT_LIST_BYTES,
    ROOT_LISTS,
    ROOT_PAGES_BYTES,
    ROOT_ROWS,
    UPLOADS_MAX,
    WRITERS_MAX,
    WRITES_KEPT,
)
from castore.model.refs import HEADS, TAGS, branch_ref, tag_ref
from castore.remote.keys import UPLOAD_BYTES

_KEYS: Final = (
    "features", "forgotten", "format", "gc_round", "indexes", "notes", "project", "purged", "refs",
    "serial", "tombs", "uploads", "uuid", "writes",
)  # fmt: skip
_FEATURES: Final = ("optional", "read", "write")
_UUID_BYTES: Final = 16
_PAGE_BYTES: Final = 4 * MIB

ReadPage: TypeAlias = Callable[[bytes, Id], bytes]
"""Fetches the page of a long list, by its upload and id."""
WritePage: TypeAlias = Callable[[Id, bytes], bytes]
"""Stores the page of a long list under its id; the upload that it is in now."""


class Removed(NamedTuple):
    """Why a version was forgotten or content purged; `op` is the word of the store that did it."""

    at: int
    by: str
    op: str
    why: str


class IndexName(NamedTuple):
    """An index that root lists: the upload it is in, its id, and what it holds."""

    upload: bytes
    id: Id
    blocks: int
    members: int
    bytes: int


class Seal(NamedTuple):
    """How many notes a bucket has and what their sorted ids hash to: none can be withheld."""

    notes: int
    hash: Id


class _Page(NamedTuple):
    id: Id
    upload: bytes
    rows: int


def seal_notes(ids: Sequence[Id] | set[Id]) -> Seal:
    """The seal of these notes."""
    return Seal(len(ids), named_id("notes", b"".join(sorted(ids))))


NO_NOTES: Final = seal_notes(())


@dataclass(frozen=True, slots=True)
class Root:
    """What a bucket holds.

    `refs` and `tombs` are names as in a store, of branches and tags only. `uploads` tells of each
    writer's upload (16 bytes) the round of collection it was registered in. `writes` has the last
    writes of each client, by which one whose response was lost finds out whether it landed.
    `features` are those that must be understood to write, `optional` those that need not be; such
    as must be understood to read are refused at once.
    """

    project: bytes
    uuid: bytes
    serial: int = 1
    refs: Mapping[str, Id] = field(default_factory=dict)
    tombs: frozenset[str] = frozenset()
    indexes: tuple[IndexName, ...] = ()
    notes: Seal = NO_NOTES
    forgotten: Mapping[Id, Removed] = field(default_factory=dict)
    purged: Mapping[Id, Removed] = field(default_factory=dict)
    uploads: Mapping[bytes, int] = field(default_factory=dict)
    writes: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    gc_round: int = 0
    optional: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    pages: tuple[_Page, ...] = ()

    def wrote(self, client: bytes, write: bytes) -> bool:
        """Whether this write of a client is among its last that landed."""
        return write in self.writes.get(client, ())

    def noting(self, client: bytes, write: bytes) -> dict[bytes, tuple[bytes, ...]]:
        """`writes` with one more, of so many clients that they do not fill a root.

        Who is left out and lost an answer just then looks for what it wrote.
        """
        others = {known: kept for known, kept in self.writes.items() if known != client}
        while len(others) >= WRITERS_MAX:
            others.pop(min(others))
        return {**others, client: (*self.writes.get(client, ()), write)[-WRITES_KEPT:]}


def encode_root(root: Root, write_page: WritePage) -> bytes:
    """The bytes of a root; its long lists are stored in pages first, where they changed.

    Raises InvalidInput for lists that are too long.
    """
    known = {page.id: page.upload for page in root.pages}

    room = ROOT_PAGES_BYTES

    def listed(rows: list[Any]) -> dict[str, Any]:
        nonlocal room
        parts = _parts(rows)
        if len(parts) < 2:
            return {"lists": [], "rows": rows}
        pages = []
        for part in parts:
            data = encode({"rows": part})
            room -= len(data)
            if room < 0:
                raise InvalidInput(
                    f"the lists of a root would have more than {ROOT_PAGES_BYTES} bytes",
                    fix="use several buckets",
                )
            id = list_id(data)
            upload = known.get(id) or write_page(id, data)
            pages.append([id, upload, len(part)])
        return {"lists": pages, "rows": []}

    return encode(
        {
            "features": {
                "optional": list(root.optional),
                "read": [],
                "write": list(root.features),
            },
            "forgotten": listed(_removed_rows(root.forgotten)),
            "format": FORMAT,
            "gc_round": root.gc_round,
            "indexes": [list(index) for index in root.indexes],
            "notes": {"count": root.notes.notes, "hash": root.notes.hash},
            "project": root.project,
            "purged": listed(_removed_rows(root.purged)),
            "refs": listed([[name, id] for name, id in sorted(root.refs.items())]),
            "serial": root.serial,
            "tombs": listed(sorted(root.tombs)),
            "uploads": {upload.hex(): at for upload, at in root.uploads.items()},
            "uuid": root.uuid,
            "writes": {client.hex(): list(ids) for client, ids in root.writes.items()},
        }
    )


def decode_root(data: bytes, read_page: ReadPage) -> Root:
    """The root with these bytes; raises CorruptObject, UnsupportedFormat."""
    value = decode(data, limit=ROOT_BYTES, what="root")
    version = value.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UnsupportedFormat(f"the bucket has format {version}; this castore knows {FORMAT}")
    fields = Fields(value, "root", _KEYS)
    fields.integer("format", FORMAT, FORMAT)
    pages: list[_Page] = []
    room = ROOT_PAGES_BYTES

    def bounded(upload: bytes, id: Id) -> bytes:
        nonlocal room
        data = read_page(upload, id)
        room -= len(data)
        if room < 0:
            raise CorruptObject(f"root: its lists have more than {ROOT_PAGES_BYTES} bytes")
        return data

    def listed(key: str) -> Iterator[Any]:
        return _read_list(fields.raw(key), f"root: {key}", bounded, pages)

    notes = Fields(fields.raw("notes"), "root: notes", ("count", "hash"))
    optional, features = _read_features(fields.raw("features"))
    return Root(
        project=fields.blob("project", (_UUID_BYTES,)),
        uuid=fields.blob("uuid", (_UUID_BYTES,)),
        serial=fields.integer("serial", 1),
        refs=_read_refs(listed("refs")),
        tombs=_read_tombs(listed("tombs")),
        indexes=fields.items("indexes", _read_index, INDEXES_MAX, sort=False),
        notes=Seal(notes.integer("count", 0), notes.id("hash")),
        forgotten=_read_removed(listed("forgotten"), "root: forgotten"),
        purged=_read_removed(listed("purged"), "root: purged"),
        uploads=_read_uploads(fields.raw("uploads")),
        writes=_read_writes(fields.raw("writes")),
        gc_round=fields.integer("gc_round", 0),
        optional=optional,
        features=features,
        pages=tuple(pages),
    )


def list_id(data: bytes) -> Id:
    """The id of a page of a long list."""
    return named_id("list", data)


def _parts(rows: list[Any]) -> list[list[Any]]:
    parts: list[list[Any]] = []
    room = 0
    for row in rows:
        size = len(encode_item(row))
        if not parts or len(parts[-1]) >= ROOT_ROWS or size > room:
            parts.append([])
            room = ROOT_LIST_BYTES
        parts[-1].append(row)
        room -= size
    return parts


def _removed_rows(removed: Mapping[Id, Removed]) -> list[Any]:
    return [[id, *row] for id, row in sorted(removed.items())]


def _read_list(value: Any, what: str, read_page: ReadPage, pages: list[_Page]) -> Iterator[Any]:
    """The rows of a list, page after page: whoever takes them stops at the first that is wrong."""
    fields = Fields(value, what, ("lists", "rows"))
    yield from fields.items("rows", _anything, ROOT_ROWS, sort=False)
    for id, upload, count in fields.items("lists", _read_page_row, ROOT_LISTS, sort=False):
        data = read_page(upload, id)
        if list_id(data) != id:
            raise CorruptObject(f"{what}: page {id.hex()} has other bytes than its name says")
        page = Fields(decode(data, limit=_PAGE_BYTES, what=what), what, ("rows",))
        found = page.items("rows", _anything, ROOT_ROWS, sort=False)
        if len(found) != count:
            raise CorruptObject(f"{what}: page {id.hex()} has {len(found)} rows, not {count}")
        pages.append(_Page(id, upload, count))
        yield from found


def _anything(value: Any, _what: str) -> Any:
    return value


def _read_page_row(value: Any, what: str) -> list[Any]:
    row = read_row(value, what, bytes, bytes, int)
    if len(row[0]) != ID_BYTES or len(row[1]) != UPLOAD_BYTES:
        raise CorruptObject(f"{what}: a row of a wrong shape")
    return row


def _read_index(value: Any, what: str) -> IndexName:
    upload, id, blocks, members, size = read_row(value, what, bytes, bytes, int, int, int)
    if len(upload) != UPLOAD_BYTES or len(id) != ID_BYTES or min(blocks, members, size) < 0:
        raise CorruptObject(f"{what}: a row of a wrong shape")
    return IndexName(upload, id, blocks, members, size)


def _read_name(value: Any) -> str:
    kind, slash, name = value.partition("/") if isinstance(value, str) else ("", "", "")
    with suppress(InvalidName):
        if kind + slash == HEADS:
            return branch_ref(name)
        if kind + slash == TAGS:
            return tag_ref(name)
    raise CorruptObject("root: the name of a ref is malformed")


def _read_tombs(rows: Iterable[Any]) -> frozenset[str]:
    tombs: set[str] = set()
    last = ""
    for row in rows:
        name = _read_name(row)
        if name <= last:
            raise CorruptObject("root: tombs: not sorted")
        tombs.add(name)
        last = name
    return frozenset(tombs)


def _read_refs(rows: Iterable[Any]) -> dict[str, Id]:
    refs: dict[str, Id] = {}
    last = ""
    for row in rows:
        name, id = read_row(row, "root: refs", str, bytes)
        if _read_name(name) <= last or len(id) != ID_BYTES:
            raise CorruptObject("root: refs: not sorted, or not an id")
        refs[name], last = id, name
    return refs


def _read_removed(rows: Iterable[Any], what: str) -> dict[Id, Removed]:
    found: dict[Id, Removed] = {}
    last = b""
    for row in rows:
        id, at, by, op, why = read_row(row, what, bytes, int, str, str, str)
        if len(id) != ID_BYTES or id <= last or at < 0:
            raise CorruptObject(f"{what}: not sorted, or a row of a wrong shape")
        found[id], last = Removed(at, by, op, why), id
    return found


def _read_uploads(value: Any) -> dict[bytes, int]:
    if not isinstance(value, dict) or len(value) > UPLOADS_MAX:
        raise CorruptObject("root: uploads: malformed")
    if any(type(at) is not int or at < 0 for at in value.values()):
        raise CorruptObject("root: uploads: malformed")
    return {_read_hex(key, "uploads"): at for key, at in value.items()}


def _read_writes(value: Any) -> dict[bytes, tuple[bytes, ...]]:
    if not isinstance(value, dict):
        raise CorruptObject("root: writes: malformed")
    found = {}
    for key, ids in value.items():
        bad = type(ids) is not list or len(ids) > WRITES_KEPT
        if bad or any(type(id) is not bytes or len(id) != _UUID_BYTES for id in ids):
            raise CorruptObject("root: writes: malformed")
        found[_read_hex(key, "writes")] = tuple(ids)
    return found


def _read_hex(key: str, what: str) -> bytes:
    try:
        value = bytes.fromhex(key)
    except ValueError:
        value = b""
    if len(value) != UPLOAD_BYTES or value.hex() != key:
        raise CorruptObject(f"root: {what}: {key[:40]!r} is not 32 hex digits")
    return value


def _read_features(value: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    fields = Fields(value, "root: features", _FEATURES)
    for key in ("read", "write", "optional"):
        names = fields.raw(key)
        if type(names) is not list or any(type(name) is not str for name in names):
            raise CorruptObject(f"root: features: {key}: malformed")
    needed = fields.raw("read")
    if needed:
        raise UnsupportedFormat(
            f"the bucket needs {', '.join(map(repr, needed[:5]))}, which this castore does not know"
        )
    return tuple(fields.raw("optional")), tuple(fields.raw("write"))
