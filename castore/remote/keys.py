"""Keys: where the objects of a bucket lie."""

from __future__ import annotations

from typing import Final

from castore.model.ids import Id

ROOT: Final = "root"
IDENTITY: Final = "castore.json"
ROOTS: Final = "roots/"
PACKS: Final = "packs/"
INDEXES: Final = "index/"
LISTS: Final = "lists/"
INBOX: Final = "notes/inbox/"

UPLOAD_BYTES: Final = 16
"""The name of an upload: the folder of what one writer sends."""


def root_key(serial: int) -> str:
    """Where the root of this serial is kept for repair."""
    return f"{ROOTS}{serial:020d}"


def pack_key(upload: bytes, id: Id) -> str:
    """Where a pack lies."""
    return f"{PACKS}{upload.hex()}/{id.hex()}"


def index_key(upload: bytes, id: Id) -> str:
    """Where an index lies."""
    return f"{INDEXES}{upload.hex()}/{id.hex()}"


def list_key(upload: bytes, id: Id) -> str:
    """Where a page of a long list of root lies."""
    return f"{LISTS}{upload.hex()}/{id.hex()}"


def inbox_key(id: Id) -> str:
    """Where a note waits for somebody who may write."""
    return f"{INBOX}{id.hex()}"


def upload_of(key: str) -> bytes | None:
    """The upload that a pack, index or list belongs to; None for any other key."""
    parts = key.split("/")
    if len(parts) != 3 or f"{parts[0]}/" not in (PACKS, INDEXES, LISTS):
        return None
    try:
        upload = bytes.fromhex(parts[1])
    except ValueError:
        return None
    return upload if len(upload) == UPLOAD_BYTES else None
