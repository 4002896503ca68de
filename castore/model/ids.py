"""Ids: content is named by its plain BLAKE3, structured objects by BLAKE3 keyed with their kind."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, TypeAlias

from blake3 import blake3

from castore.errors import InvalidInput
from castore.model.limits import ID_BYTES, PREFIX_SHOWN

Id: TypeAlias = bytes
"""32 bytes of BLAKE3."""

KEY_CONTEXT: Final = "castore format 1 object: "


class Kind(IntEnum):
    """What an object is; the number stands in blocks and index rows, the name in keys and text."""

    CHUNK = 1
    LAYOUT = 2
    TREE = 3
    SET = 4
    MANIFEST = 5
    NOTE = 6


def derive_key(name: str) -> bytes:
    """The 32-byte key of structures called `name`: BLAKE3's derive_key mode over no material."""
    return blake3(b"", derive_key_context=KEY_CONTEXT + name).digest()


_KEYS: Final[dict[Kind, bytes]] = {
    kind: derive_key(kind.name.lower()) for kind in Kind if kind is not Kind.CHUNK
}
_CONTRACT_KEY: Final = derive_key("contract")
_OPERATION_KEY: Final = derive_key("operation")
_NAMED: Final = ("bundle", "index", "list", "notes", "pack")
_NAMED_KEYS: Final = {name: derive_key(name) for name in _NAMED}


def named_id(name: str, data: bytes) -> Id:
    """BLAKE3 of some bytes, keyed for structures called `name` that are no objects."""
    return blake3(data, key=_NAMED_KEYS[name]).digest()


def content_id(data: bytes | memoryview) -> Id:
    """The id of raw bytes, a chunk or a whole file: plain BLAKE3, what `b3sum` prints."""
    return blake3(data).digest()


def content_id_of(pieces: Iterable[bytes | memoryview]) -> tuple[Id, int]:
    """The id and the size in bytes of content that comes in pieces."""
    hasher = blake3()
    size = 0
    for piece in pieces:
        hasher.update(piece)
        size += len(piece)
    return hasher.digest(), size


def object_id(kind: Kind, payload: bytes | memoryview) -> Id:
    """The id of an object: plain BLAKE3 for a chunk, keyed by its kind for all others."""
    if kind is Kind.CHUNK:
        return content_id(payload)
    return blake3(payload, key=_KEYS[kind]).digest()


def contract_id(payload: bytes) -> Id:
    """The id of a spec's contract, from its canonical encoding."""
    return blake3(payload, key=_CONTRACT_KEY).digest()


def operation_hash(payload: bytes) -> Id:
    """The chain hash of one encoded operation-log record."""
    return blake3(payload, key=_OPERATION_KEY).digest()


def short(id: Id) -> str:
    """The first 12 hex digits, as ids are shown on a screen."""
    return id.hex()[:PREFIX_SHOWN]


def parse_id(text: str) -> Id:
    """The id written as 64 hex digits; raises InvalidInput otherwise."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != ID_BYTES or len(text) != 2 * ID_BYTES:
        raise InvalidInput(f"{text!r} is not an id: 64 hex digits are needed")
    return value
