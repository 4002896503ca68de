"""What is in a cache and not in its bucket: in a sound one, and in one that is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from castore.content.blocks import decode_block
from castore.database.reading import Reading
from castore.database.relics import Relics
from castore.database.tables import STAGE_BATCH
from castore.errors import CastoreError
from castore.model.ids import Id, Kind, short
from castore.model.limits import ID_BYTES
from castore.model.refs import HEADS, LOST, PARTIALS, REMOTES, TAGS
from castore.remote.bucket import Bucket, look
from castore.remote.index import Catalogue
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.store.caches import owes
from castore.store.collect_roots import INTERNALIZE
from castore.store.opening import FOLDER
from castore.store.salvage_history import believed, replayed
from castore.store.stages import staged_sessions
from castore.store.store import Store
from castore.store.sync_need import find_need
from castore.store.sync_removals import lacks, removals_of
from castore.store.version import version_in

_SHOWN: Final = 10
_KINDS: Final = {HEADS: "on", LOST: "lost from", PARTIALS: "incomplete, of", TAGS: "tagged"}


# A bucket that nothing was pushed to.
EMPTY: Final = Root(bytes(16), bytes(16)), Catalogue(())


class _Nothing:
    """Keeps no index."""

    def index(self, _: Id) -> None:
        """None of any."""

    def keep_index(self, id: Id, data: bytes) -> None:
        """Do nothing."""


def bucket_now(transport: Transport) -> tuple[Root, Catalogue]:
    """The root of a bucket and all that it leads to, for who knows nothing of it yet."""
    identity = look(transport)
    if identity is None:
        return EMPTY
    bucket = Bucket(transport, identity, client=b"", entropy=os.urandom)
    root = bucket.read().root
    return root, bucket.catalogue(root, _Nothing())


def unsent_here(store: Store, root: Root, there: Catalogue) -> list[str]:
    """What a cache has and the bucket has not, a line each for people."""

    def read(tables: Reading) -> tuple[dict[str, Id], list[str], set[bytes]]:
        refs = {ref: id for ref, id in tables.refs() if not ref.startswith(REMOTES)}
        only = {ref: id for ref, id in refs.items() if not (there.has(id) or id in root.forgotten)}
        stages = {
            stage.session
            for stage in tables.stages()
            if not all(there.has(id) for id in tables.staged_ids(stage.session))
        }
        return refs, [_line(tables, ref, id) for ref, id in only.items()], stages

    refs, lines, stages = store.database.read(read)
    if lacks(root, store.database.read(partial(removals_of, root=root))):
        lines.append("what was forgotten, purged or deleted here: cas push tells the bucket of it")
    need = find_need(store, list(refs.values()), there, root.forgotten, root.purged)
    for found in staged_sessions(store):
        if found.id in stages:
            lines.append(f"{found.header.run}  an incomplete set on {found.header.branch}")
    brought = store.database.read(partial(_brought_in, there=there))
    if brought:
        lines.append(f"bytes of external artifacts that were brought in, {brought}")
    if need.notes:
        lines.append(f"notes that did not arrive, {len(need.notes)}: cas push sends them")
    elif need.objects and not lines:
        lines.append(f"objects that did not arrive, {need.objects}")
    return _bounded(lines)


def _brought_in(tables: Reading, there: Catalogue) -> int:
    """How many files that live elsewhere were brought in: no push takes them along."""
    ops = (operation for operation in tables.operations() if operation.op == INTERNALIZE)
    held = {digest for operation in ops for digest in operation.detail.get("held", ())}
    return sum(not there.has(digest) for digest in tables.present(held))


def readable_here_only(home: Path, root: Root, there: Catalogue) -> list[str]:
    """What can still be read in a damaged cache and the bucket has not, a line each.

    Where neither refs nor the log tell for sure, every version that can be read counts.
    """
    try:
        relics = Relics(home / FOLDER)
    except CastoreError:
        return []
    with relics:

        def lacks(id: Id) -> bool:
            return not (there.has(id) or id in root.forgotten or id in root.purged)

        log = believed(relics)
        lines = {
            id: f"{short(id)}  {_named(ref)}"
            for ref, ids in _places(relics, whole=log.whole).items()
            for id in ids
            if id and not ref.startswith(REMOTES) and lacks(id)
        }
        sure = log.whole and log.entries
        kinds = (Kind.NOTE,) if sure else (Kind.NOTE, Kind.MANIFEST)
        notes = 0
        for id, kind in _members(relics) if owes(home) or not sure else ():
            if kind not in kinds or id in lines or not lacks(id):
                continue
            if kind is Kind.NOTE:
                notes += 1
            else:
                lines[id] = f"{short(id)}  a version"
        found = list(lines.values())
        if notes:
            found.append(f"notes that did not arrive, {notes}")
        if any(lacks(id) for id in _staged(relics)):
            found.append("content of a set that is incomplete")
        return _bounded(found)


def _places(relics: Relics, *, whole: bool) -> dict[str, set[Id]]:
    """Where refs are, or may be where the log is not whole."""
    log = believed(relics)
    last = replayed(relics.operation(entry) for entry in log.entries)
    if whole and last:
        return {ref: {ids[-1]} for ref, ids in last.items()}
    found = {ref: {id} for ref, id in relics.refs.items()}
    for ref, ids in relics.stray_refs.items():
        found.setdefault(ref, set()).update(ids)
    for ref, places in last.items():
        found.setdefault(ref, set()).add(places[-1])
    return found


def _staged(relics: Relics) -> Iterator[Id]:
    """The content of sessions that have not ended."""
    for key, value in relics.rows["stage"]:
        if key.startswith(STAGE_BATCH) and len(value) % ID_BYTES == 0:
            yield from (value[at : at + ID_BYTES] for at in range(0, len(value), ID_BYTES))


def _members(relics: Relics) -> Iterator[tuple[Id, Kind]]:
    """The objects of all blocks that can be read."""
    at = 0
    while at < relics.blocks:
        try:
            block = decode_block(relics.block(at), "", checked=False)
        except CastoreError:
            block = None
        if block is not None:
            yield from ((member.id, member.kind) for member in block.members)
        at += 1


def _line(tables: Reading, ref: str, id: Id) -> str:
    """One ref of a cache for people: its version, when it was made and what was said."""
    try:
        manifest = version_in(tables, id, "").manifest
    except CastoreError:
        return f"{short(id)}  {_named(ref)}"
    at = datetime.fromtimestamp(manifest.at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")
    said = manifest.message.splitlines()[:1]
    return "  ".join([short(id), _named(ref), at, *said])


def _named(ref: str) -> str:
    for room, words in _KINDS.items():
        if ref.startswith(room):
            name = ref.removeprefix(room)
            return f"{words} {name.rpartition('/')[0] if room == LOST else name}"
    return ref


def _bounded(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"and {more} more"] if more > 0 else lines
