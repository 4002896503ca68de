"""Stores that share a bucket, for tests: commits, clones, and a look into the bucket."""

from __future__ import annotations

import os
from pathlib import Path

import castore
from castore.content.blocks import decode_block
from castore.remote.pack import read_pack
from castore.remote.transport import Transport
from castore.store.opening import clock
from castore.store.sync_clone import clone
from castore.store.verify import fsck

NAME = "origin"


def commit(store: castore.Store, branch: str, **artifacts: bytes) -> castore.Version:
    """A version of these artifacts."""
    with store.session(name=branch) as session:
        for name, data in artifacts.items():
            session.add(name, data)
        return session.commit()


def copy_of(transport: Transport, folder: Path) -> castore.Store:
    """A clone of a bucket."""
    made, _ = clone(transport, folder, now=clock, entropy=os.urandom, configure=lambda _: None)
    return castore.Store(made.database, now=clock, entropy=os.urandom)


def refs(store: castore.Store, prefix: str = "heads/") -> dict[str, bytes]:
    """What refs of a store name."""
    return dict(store.database.read(lambda tables: tables.refs(prefix)))


def members(transport: Transport) -> set[bytes]:
    """The ids of everything that lies in any pack of a bucket."""
    found: set[bytes] = set()
    for item in transport.list("packs/"):
        id = bytes.fromhex(item.key.rsplit("/", 1)[1])
        for placed in read_pack(transport.get(item.key).data, id)[1]:
            found.update(member.id for member in decode_block(placed.block, item.key).members)
    return found


def sound(store: castore.Store) -> None:
    """Nothing is wrong with a store."""
    found = list(fsck(store, full=True).lines())
    assert found == []
