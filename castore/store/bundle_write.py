"""Bundling: branches and tags with all they need, and what is said of them, into one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.errors import Conflict, InvalidInput, ObjectNotFound
from castore.model.ids import Id, short
from castore.model.limits import BUNDLE_NEEDS, MIB
from castore.remote.bundle import BundleHead, BundleWriter, Needed, PartType
from castore.remote.index import Catalogue, Index, IndexWriter
from castore.remote.keys import UPLOAD_BYTES
from castore.remote.pack import NONCE_BYTES
from castore.remote.root import IndexName, Removed, Root, seal_notes
from castore.remote.transport import Got, KeyAbsent, Transport
from castore.store.mending import remote_for
from castore.store.new_file import check_new, new_file
from castore.store.promises import keep_history
from castore.store.selectors import resolve_version
from castore.store.store import PROMISED, Store
from castore.store.sync_need import Moved, Need, find_need, stored_bytes
from castore.store.sync_plan import chosen_refs
from castore.store.sync_send import PackSender

_TRIES: Final = 20
_INDEX_BYTES: Final = 8 * MIB
_NOTHING: Final = Catalogue(())


@dataclass(frozen=True, slots=True)
class BundleReport:
    """A bundle that was written, or with `dry_run` would be; `id` is of the bundle.

    `refs` are in it, and begin after `needs`. A dry run tells as `bytes` what the blocks take in
    the store.
    """

    path: Path
    id: Id
    refs: dict[str, Id]
    needs: tuple[Needed, ...]
    versions: int
    notes: int
    objects: int
    bytes: int
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "bundle": str(self.path),
            "id": self.id.hex() or None,
            "refs": {ref: id.hex() for ref, id in sorted(self.refs.items())},
            "needs": [{"id": id.hex(), "label": label} for id, label in self.needs],
            "versions": self.versions,
            "notes": self.notes,
            "objects": self.objects,
            "bytes": self.bytes,
            "dry_run": self.dry_run,
        }


def create_bundle(
    store: Store,
    path: Path,
    refs: Sequence[str] = (),
    *,
    since: Sequence[str] = (),
    force: bool = False,
    by: str = "",
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BundleReport:
    """Write branches and tags, or all of them, with what they need and what is said of them.

    What the versions `since` need is left out, but notes are not: who takes the bundle in must have
    those versions. All that is in it can be read without them. The file appears when it is whole;
    with `force` in the place of another. `progress` is told stored bytes. Raises RefNotFound,
    WouldOverwrite, InvalidInput, StoreFull, ObjectNotFound for what no remote can bring.
    """
    if len(since) > BUNDLE_NEEDS:
        raise InvalidInput(f"{len(since)} versions to begin after: at most {BUNDLE_NEEDS}")
    check_new(path, force=force)
    after = [resolve_version(store, rev) for rev in since]
    needs = tuple({v.id: Needed(v.id, v.label) for v in after}.values())
    chosen = store.database.read(lambda tables: chosen_refs(tables, refs))
    for _ in range(_TRIES):
        try:
            need = _find(store, list(chosen.values()), needs)
            if dry_run:
                stored = store.database.read(lambda tables: stored_bytes(tables, need))  # noqa: B023
                report = _report(path, chosen, needs, need)
                return replace(report, bytes=stored, dry_run=True)
            with new_file(path, force=force) as file:
                writing = _Writing(store, file, store.entropy(UPLOAD_BYTES))
                PackSender(writing, writing.uuid, _NOTHING, progress).send(need)
                root = writing.root(chosen, need)
                id = writing.writer.finish(BundleHead(store.now(), by, needs, root))
            report = _report(path, chosen, needs, need)
            return replace(report, id=id, bytes=writing.writer.bytes)
        except Moved:
            continue
    raise Conflict(
        f"garbage was collected {_TRIES} times while {str(path)!r} was written",
        fix="do the same again",
    )


class _Writing:
    """A bundle as packs are put into it: in their order, whichever was made first."""

    def __init__(self, store: Store, file: BinaryIO, uuid: bytes) -> None:
        self.store = store
        self.uuid = uuid
        self.writer = BundleWriter(file, uuid)
        self._indexes: list[IndexName] = []
        self._index = IndexWriter()
        self._index_bytes = 0
        self._made = _Made()

    @property
    def transport(self) -> Transport:
        """Holds packs until their turn comes."""
        return self._made

    def sent(self) -> list[Index]:
        """None: a bundle is written in one go."""
        return []

    def note_sent(self, pack: Id, index: Id, data: bytes) -> None:
        """Write a pack that was made."""
        self.writer.add(PartType.PACK, pack, self._made.take(pack))
        self._index.add_index(Index(data, index))
        self._index_bytes += len(data)
        if self._index_bytes >= _INDEX_BYTES:
            self._flush()

    def root(self, refs: dict[str, Id], need: Need) -> Root:
        """What the head of the bundle leads to, once all packs are written."""
        self._flush()
        forgotten, purged = self.store.database.read(lambda tables: _removals(tables, need))
        return Root(
            project=self.store.database.project,
            uuid=self.uuid,
            refs=refs,
            indexes=tuple(self._indexes),
            notes=seal_notes(need.notes),
            forgotten=forgotten,
            purged=purged,
        )

    def _flush(self) -> None:
        if not self._index.blocks:
            return
        id, data = self._index.finish(self.store.entropy(NONCE_BYTES))
        index = Index(data, id)
        self.writer.add(PartType.INDEX, id, data)
        name = IndexName(self.uuid, id, index.blocks_count, index.members_count, len(data))
        self._indexes.append(name)
        self._index, self._index_bytes = IndexWriter(), 0


class _Made:
    """A `Transport` that only takes packs, and gives each away once."""

    url = "bundle:"

    def __init__(self) -> None:
        self._packs: dict[str, bytes] = {}

    def take(self, pack: Id) -> bytes:
        """A pack that was put."""
        return self._packs.pop(pack.hex())

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:  # noqa: ARG002
        """See `Transport.put`."""
        self._packs[key.rpartition("/")[2]] = data
        return ""

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:  # noqa: ARG002
        """Raises KeyAbsent."""
        raise KeyAbsent(key)

    def replace(self, key: str, data: bytes, etag: str) -> str:  # noqa: ARG002
        """Raises KeyAbsent."""
        raise KeyAbsent(key)

    def list(self, prefix: str) -> Any:  # noqa: ARG002
        """Nothing."""
        return iter(())

    def delete(self, keys: Sequence[str]) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held that does not end with it."""


def _find(store: Store, starts: Sequence[Id], needs: Sequence[Needed]) -> Need:
    """What is to be in the bundle; what a remote promised is fetched first. Raises Moved."""
    before = [need.id for need in needs]
    for last in (False, True):
        try:
            given = find_need(store, before, _NOTHING, notes=False) if before else None
            return find_need(store, starts, _NOTHING, given=given)
        except Conflict as error:
            raise _cut(store, error) from None
        except ObjectNotFound as error:
            if last or store.bring is None or error.attributes.get("state") != PROMISED:
                raise
        keep_history(store, [*starts, *before])
    raise AssertionError


def _cut(store: Store, error: Conflict) -> Conflict:
    """The error for a history that was not fetched from its beginning."""
    name = remote_for(store)
    return Conflict(
        f"history here was cut at version {short(bytes.fromhex(error.attributes['id']))}, and a "
        "bundle has all of it but what --since leaves out",
        fix=f"cas fetch --unshallow {name}" if name else "",
        id=error.attributes["id"],
    )


def _report(path: Path, refs: dict[str, Id], needs: tuple[Needed, ...], need: Need) -> BundleReport:
    return BundleReport(
        path, b"", refs, needs, len(need.versions), len(need.notes), need.objects, 0
    )


def _removals(tables: Reading, need: Need) -> tuple[dict[Id, Removed], dict[Id, Removed]]:
    """Why versions in it lack their sets, and why content lacks."""
    return (
        _told({id: tables.forgotten(id) for id in need.versions}),
        _told({id: tables.purged(id) for id in need.purged}),
    )


def _told(removals: dict[Id, Removal | None]) -> dict[Id, Removed]:
    return {id: Removed(r.at, r.by, "", r.why) for id, r in removals.items() if r is not None}
