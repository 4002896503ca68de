"""The bundle: refs with all that they need in one file, which is read and verified without a store.

Little endian:

     0  8  magic 89 43 41 53 42 44 0d 0a
     8  1  format = 1        9  1  zero       10  2  flags: none       12  4  zero
    16 16  random: the upload that its packs, indexes and lists are of
    32     parts: u8 type, 7 zero, u64 size > 0, 32 id, then so many bytes

The types are 1 pack, 2 index, 3 page of a long list of root, 4 head. Each part is there once; the
head is the last and ends with the file. Its id is BLAKE3, keyed for "bundle", of its bytes: it
vouches for every byte of the file, since root names the indexes, and these the packs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, NamedTuple, Self

from castore.content.absent import unreadable
from castore.errors import CorruptObject, InvalidInput, UnsupportedFormat
from castore.model.encoding import decode, encode
from castore.model.fields import Fields, read_row
from castore.model.ids import Id, named_id
from castore.model.limits import (
    BUNDLE_NEEDS,
    BUNDLE_PARTS,
    FORMAT,
    ID_BYTES,
    INDEX_BYTES,
    MIB,
    PACK_BYTES,
    ROOT_BYTES,
)
from castore.model.names import quoted
from castore.remote.index import Catalogue, Index
from castore.remote.keys import UPLOAD_BYTES, index_key, list_key, pack_key
from castore.remote.pack import pack_id
from castore.remote.root import IndexName, Root, WritePage, decode_root, encode_root
from castore.remote.transport import Got, KeyAbsent, Listed

MAGIC: Final = bytes.fromhex("894341 534244 0d0a")
HEADER: Final = Struct("<8sBBHI16s")
PART: Final = Struct("<B7sQ32s")
_PART_ZERO: Final = bytes(7)
_LIST_BYTES: Final = 4 * MIB
_HEAD_BYTES: Final = ROOT_BYTES + MIB
_KEYS: Final = ("at", "by", "needs", "root")


class PartType(IntEnum):
    """What a part of a bundle is."""

    PACK = 1
    INDEX = 2
    LIST = 3
    HEAD = 4


_LARGEST: Final = {
    PartType.PACK: PACK_BYTES,
    PartType.INDEX: INDEX_BYTES,
    PartType.LIST: _LIST_BYTES,
    PartType.HEAD: _HEAD_BYTES,
}


class Part(NamedTuple):
    """A part of a bundle: what it is, its id, and where its bytes are."""

    type: PartType
    id: Id
    offset: int
    size: int


class Needed(NamedTuple):
    """A version that a store must have before it takes a bundle in, and what it was called."""

    id: Id
    label: str


class BundleHead(NamedTuple):
    """What a bundle tells of itself: when and by whom it was made, what it begins after, its root.

    What `needs` lead to is not in the bundle, but for notes. Of the root `refs`, `indexes`,
    `notes`, `forgotten` and `purged` count.
    """

    at: int
    by: str
    needs: tuple[Needed, ...]
    root: Root


def encode_head(head: BundleHead, write_page: WritePage) -> bytes:
    """The bytes of a head; pages of long lists are stored first."""
    return encode(
        {
            "at": head.at,
            "by": head.by,
            "needs": [list(need) for need in sorted(head.needs)],
            "root": encode_root(head.root, write_page),
        }
    )


def decode_head(data: bytes, read_page: Callable[[bytes, Id], bytes]) -> BundleHead:
    """The head with these bytes; raises CorruptObject, UnsupportedFormat."""
    fields = Fields(decode(data, limit=_HEAD_BYTES, what="head"), "head", _KEYS)
    root = fields.raw("root")
    if type(root) is not bytes:
        raise CorruptObject("head: root: not bytes")
    needs = fields.items("needs", _read_need, BUNDLE_NEEDS, sort=False)
    if list(needs) != sorted(set(needs)):
        raise CorruptObject("head: needs: not sorted, or with duplicates")
    at, by = fields.integer("at", 0), fields.text("by")
    return BundleHead(at, by, needs, decode_root(root, read_page))


def head_id(data: bytes) -> Id:
    """The id of the head with these bytes, by which a bundle is called."""
    return named_id("bundle", data)


class BundleWriter:
    """A bundle being written to a file from its beginning, part after part."""

    def __init__(self, file: BinaryIO, uuid: bytes) -> None:
        self.uuid = uuid
        self._file = file
        self._begun = 0
        self.bytes = HEADER.size
        file.write(HEADER.pack(MAGIC, FORMAT, 0, 0, 0, uuid))

    def add(self, type: PartType, id: Id, data: bytes) -> None:
        """Add a part; no more after the head."""
        if self._begun == BUNDLE_PARTS:
            raise InvalidInput(
                f"more than {BUNDLE_PARTS} parts in one bundle", fix="bundle fewer branches at once"
            )
        self._begun += 1
        self._file.write(PART.pack(type, _PART_ZERO, len(data), id))
        self._file.write(data)
        self.bytes += PART.size + len(data)

    def finish(self, head: BundleHead) -> Id:
        """Add the head; the id of the bundle."""

        def write_page(id: Id, data: bytes) -> bytes:
            self.add(PartType.LIST, id, data)
            return self.uuid

        data = encode_head(head, write_page)
        if len(data) > _HEAD_BYTES:
            raise InvalidInput(
                f"the head would have {len(data)} bytes, more than {_HEAD_BYTES}",
                fix="bundle fewer branches at once",
            )
        id = head_id(data)
        self.add(PartType.HEAD, id, data)
        return id


class BundleFile:
    """A bundle that is read: also a `Transport` of a bucket that nobody changes.

    Opening reads the heads of parts and compares the head; `compare` compares all else. Safe for
    several threads. Raises InvalidInput where the file cannot be read, CorruptObject for one that
    is no bundle or is damaged, UnsupportedFormat for one of a newer castore.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable("bundle", path, error) from None
        try:
            self.size = os.fstat(self._file).st_size
            self.uuid = self._read_header()
            self.parts = self._scan()
            self._named = {self._key(part): part for part in self.parts}
            self.id, self.head = self._read_head()
        except OSError as error:
            self.close()
            raise unreadable("bundle", path, error) from None
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The path, as given."""
        return str(self.path)

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        """See `Transport.get`."""
        part = self._named.get(key)
        if part is None:
            raise KeyAbsent(f"{self.url} has no {key!r}")
        end = part.size if length is None else min(part.size, start + length)
        return Got(self._read(part.offset + start, end - start), part.id.hex())

    def list(self, prefix: str) -> Iterator[Listed]:
        """See `Transport.list`."""
        return (
            Listed(key, part.size) for key, part in self._named.items() if key.startswith(prefix)
        )

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:  # noqa: ARG002
        """Raises InvalidInput: a bundle never changes."""
        raise InvalidInput(f"{self.url} is a bundle, which never changes")

    def replace(self, key: str, data: bytes, etag: str) -> str:  # noqa: ARG002
        """Raises InvalidInput: a bundle never changes."""
        raise InvalidInput(f"{self.url} is a bundle, which never changes")

    def delete(self, keys: Sequence[str]) -> None:  # noqa: ARG002
        """Raises InvalidInput: a bundle never changes."""
        raise InvalidInput(f"{self.url} is a bundle, which never changes")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def index(self, name: IndexName) -> Index:
        """An index that root lists; raises CorruptObject."""
        part = self._named.get(index_key(name.upload, name.id))
        if part is None:
            raise self._damaged(f"index {name.id.hex()} is not in it")
        index = Index(self._read(part.offset, part.size), name.id)
        told = (index.blocks_count, index.members_count, part.size)
        if told != (name.blocks, name.members, name.bytes):
            raise self._damaged(f"index {name.id.hex()} is not as its head tells")
        return index

    def catalogue(self) -> Catalogue:
        """Where all in it lies; raises CorruptObject unless every part is led to, and is there."""
        catalogue = Catalogue([self.index(name) for name in self.head.root.indexes])
        root = self.head.root
        led = {index_key(name.upload, name.id) for name in root.indexes}
        led |= {pack_key(*pack) for index in catalogue.indexes for pack in index.packs()}
        led |= {list_key(page.upload, page.id) for page in root.pages} | {self._key(self.parts[-1])}
        odd = led ^ self._named.keys()
        if odd or len(led) != len(self.parts):
            name = min(odd, default="a part that is there twice")
            raise self._damaged(f"{name}: not in it, or not led to by its head")
        return catalogue

    def compare(self, progress: Callable[[int], None] | None = None) -> None:
        """Compare every pack with its id; `progress` is told bytes. Raises CorruptObject."""
        for part in self.parts:
            if part.type is PartType.PACK:
                if pack_id(self._read(part.offset, part.size)) != part.id:
                    raise self._damaged(f"pack {part.id.hex()} has other bytes than its name says")
                if progress is not None:
                    progress(part.size)

    def _read_header(self) -> bytes:
        data = os.pread(self._file, HEADER.size, 0)
        if len(data) < HEADER.size or data[: len(MAGIC)] != MAGIC:
            raise CorruptObject(
                f"{self.url} is no bundle, or its beginning is damaged", where=self.url
            )
        _, version, zero, flags, zeros, uuid = HEADER.unpack(data)
        if version != FORMAT or flags:
            raise UnsupportedFormat(
                f"{self.url}: format {version}, flags {flags}; this castore knows {FORMAT}"
            )
        if zero or zeros:
            raise self._damaged("its beginning is not as it should be")
        assert isinstance(uuid, bytes)
        return uuid

    def _scan(self) -> Sequence[Part]:
        parts: list[Part] = []
        at = HEADER.size
        while not parts or parts[-1].type is not PartType.HEAD:
            if len(parts) == BUNDLE_PARTS:
                raise self._damaged(f"it has more than {BUNDLE_PARTS} parts")
            type, zero, size, id = PART.unpack(self._read(at, PART.size))
            at += PART.size
            if zero != _PART_ZERO or type not in _LARGEST or not 0 < size <= _LARGEST[type]:
                raise self._damaged(f"no part begins at {at - PART.size}")
            if size > self.size - at:
                raise self._damaged(f"it ends within a part, at {self.size}")
            parts.append(Part(PartType(type), id, at, size))
            at += size
        if at != self.size:
            raise self._damaged(f"its parts end at {at}, the file at {self.size}")
        return parts

    def _key(self, part: Part) -> str:
        match part.type:
            case PartType.PACK:
                return pack_key(self.uuid, part.id)
            case PartType.INDEX:
                return index_key(self.uuid, part.id)
            case PartType.LIST:
                return list_key(self.uuid, part.id)
        return f"head/{part.id.hex()}"

    def _read_head(self) -> tuple[Id, BundleHead]:
        part = self.parts[-1]
        data = self._read(part.offset, part.size)
        if head_id(data) != part.id:
            raise self._damaged("its head has other bytes than its name says")

        def read_page(upload: bytes, id: Id) -> bytes:
            try:
                return self.get(list_key(upload, id)).data
            except KeyAbsent:
                raise self._damaged(f"page {id.hex()} of its head is not in it") from None

        head = decode_head(data, read_page)
        if head.root.uuid != self.uuid:
            raise self._damaged("its head is of another bundle")
        return part.id, head

    def _read(self, start: int, length: int) -> bytes:
        """Bytes of the file; raises CorruptObject where it ends before."""
        data = os.pread(self._file, length, start) if length > 0 else b""
        while data and len(data) < length:
            more = os.pread(self._file, length - len(data), start + len(data))
            if not more:
                break
            data += more
        if len(data) < length:
            raise self._damaged(f"it ends at {start + len(data)}, too early")
        return data

    def _damaged(self, what: str) -> CorruptObject:
        return CorruptObject(
            f"{self.url} is damaged: {what}",
            where=self.url,
            fix=f"cas bundle verify {quoted(self.url)}",
        )


def _read_need(value: object, what: str) -> Needed:
    id, label = read_row(value, what, bytes, str)
    if len(id) != ID_BYTES:
        raise CorruptObject(f"{what}: not an id")
    return Needed(id, label)


assert HEADER.size == 16 + UPLOAD_BYTES
assert PART.size == 16 + ID_BYTES
