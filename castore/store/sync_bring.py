"""Bringing: files that were left in a bucket, fetched when they are read."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set

from castore.content.layouts import iter_parts
from castore.content.reader import ObjectReader
from castore.database.sink import StageSink
from castore.model.ids import Id
from castore.remote.fetching import BlockFetcher, FarObjects
from castore.remote.index import Catalogue, Index
from castore.remote.root import Root
from castore.remote.transport import Transport
from castore.store.stages import worker_header
from castore.store.store import Store
from castore.store.sync_fetch import record_removals
from castore.store.sync_remote import connect
from castore.store.sync_take import Intake
from castore.store.sync_walk import LackWalk


def bring(
    store: Store,
    name: str,
    transport: Transport,
    ids: Sequence[Id],
    staged: Sequence[Index] = (),
    *,
    sharing: Set[Id] | None = None,
) -> list[Id]:
    """Fetch promised files and store them; those that this remote has not.

    With `sharing` only those come whose chunk lists have one of these chunks. What was `staged`
    counts too. Each is compared with its digest; what was purged there is so here from then on.
    Raises CorruptObject, RemoteError.
    """
    remote = connect(store, name, transport)

    def fetch(root: Root, listed: Catalogue) -> list[Id]:
        if not root.purged.keys().isdisjoint(ids):
            record_removals(store, root)
        catalogue = Catalogue((*listed.indexes, *staged))
        there = [id for id in ids if catalogue.has(id)]
        fetcher = BlockFetcher(transport)
        far = FarObjects(catalogue, fetcher)
        reader = ObjectReader(far.load)
        walk = LackWalk(store, catalogue, reader, root)
        walk.files(there if sharing is None else [i for i in there if _shares(reader, i, sharing)])
        walk.bases()
        header = worker_header(store.now(), os.getpid())
        sink = StageSink(store.database, store.entropy(16), header=header)
        try:
            intake = Intake(store, sink, fetcher, far, walk.lack)
            intake.content()
            intake.objects()
        finally:
            sink.discard()
        return [id for id in ids if id not in there]

    return remote.at_rest(fetch)


def _shares(reader: ObjectReader, file: Id, chunks: Set[Id]) -> bool:
    """Whether a file of several chunks has one of these."""
    root = reader.layout_root(file)
    return root is not None and any(
        part.id in chunks for part in iter_parts(reader.layout_page, root)
    )
