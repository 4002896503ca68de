"""Reading objects and files back: every byte is compared with its id before it is handed out."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from threading import Lock
from typing import Any, Final

from blake3 import blake3

from castore.content.blocks import Block, Codec, decode_block
from castore.content.deltas import Load, LoadAll, StoredObject, block_place, raw_bytes
from castore.content.descent import View, decode_chunks
from castore.content.kept import Decoded, KeptBlocks, taken_apart
from castore.content.layouts import iter_parts, layout_size, parts_in_range
from castore.errors import CorruptObject, InvalidInput, TypeMismatch
from castore.model.artifact_set import ArtifactSet, decode_set
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.limits import BLOCK_BASES, MIB
from castore.model.manifest import Manifest, decode_manifest
from castore.model.note import Note, decode_note
from castore.model.pages import Part

__all__ = ["Load", "ObjectReader", "StoredObject"]

# From this size on a whole file is decoded by threads ahead of whoever takes its bytes.
AHEAD_ABOVE: Final = 4 * MIB
_READ_THREADS: Final = 2
_GROUP_CHUNKS: Final = 12
_AHEAD_GROUPS: Final = 3
_BUFFER_BYTES: Final = 128 * 1024
_LOCKS: Final = 8


class ObjectReader:
    """Reads objects by id through `load`; safe for use by several threads if `load` is.

    With `load_all`, which threads of the reader call, big files are read some chunks at a time;
    with `view` what a delta of chunks rests on is looked up at once. Decoded deltas, blocks of many
    members and what is read next of the way to them are kept, up to 16 MiB.
    """

    def __init__(
        self, load: Load, load_all: LoadAll | None = None, view: View | None = None
    ) -> None:
        self._load = load
        self._load_all = load_all
        self._view = view
        self._kept = KeptBlocks()
        self._locks = [Lock() for _ in range(_LOCKS)]

    def payload(self, id: Id, kind: Kind) -> bytes:
        """The bytes of an object, compared with its id.

        Raises ObjectNotFound, TypeMismatch for an object of another kind, and CorruptObject. The
        root page of a layout has no id of its own: see `layout_root`.
        """
        return self._check(id, kind, self._load(id))

    def object(self, id: Id) -> tuple[Kind, bytes]:
        """The kind and bytes of an object, whatever it is; compared with its id.

        The root page of a layout is only as good as the check of its block. Raises as `payload`.
        """
        stored = self._load(id)
        if stored.kind is Kind.LAYOUT:
            return stored.kind, self._member(id, stored)
        return stored.kind, self._check(id, stored.kind, stored)

    def manifest(self, id: Id) -> Manifest:
        """The manifest of this id; raises as `payload`."""
        return decode_manifest(self.payload(id, Kind.MANIFEST))

    def set(self, id: Id) -> ArtifactSet:
        """The set of this id; raises as `payload`."""
        return decode_set(self.payload(id, Kind.SET))

    def note(self, id: Id) -> Note:
        """The note of this id; raises as `payload`."""
        return decode_note(self.payload(id, Kind.NOTE))

    def tree_page(self, id: Id) -> bytes:
        """The payload of one page of a folder; raises as `payload`."""
        return self.payload(id, Kind.TREE)

    def tree_pages(self, ids: Sequence[Id]) -> list[bytes]:
        """The payloads of some pages of folders, looked up at once; raises as `payload`."""
        if self._load_all is None:
            return [self.tree_page(id) for id in ids]
        found = zip(ids, self._load_all(ids), strict=True)
        return [self._check(id, Kind.TREE, stored) for id, stored in found]

    def layout_page(self, id: Id) -> bytes:
        """The payload of a page below the root of a layout; raises as `payload`."""
        return self.payload(id, Kind.LAYOUT)

    def layout_root(self, digest: Id) -> bytes | None:
        """The root page of the layout of a file, or None for a file that is one chunk.

        Nothing but the check of its block vouches for it: whoever reads the whole file compares
        the digest, as `stream` does. Raises ObjectNotFound, TypeMismatch, CorruptObject.
        """
        stored = self._load(digest)
        if stored.kind is Kind.CHUNK:
            return None
        if stored.kind is not Kind.LAYOUT:
            raise TypeMismatch(f"{digest.hex()} is a {_word(stored.kind)}, not a file")
        data = self._member(digest, stored)
        _root_size(digest, data)
        return data

    def open(self, digest: Id, size: int) -> io.BufferedReader:
        """A file as a seekable binary stream; each chunk is compared with its id as it is read.

        If it is read from beginning to end, the whole is compared with `digest` as well, before the
        last bytes are given. Raises ObjectNotFound, TypeMismatch, CorruptObject, also while it is
        read.
        """
        root, only = self._file(digest, size)
        return io.BufferedReader(_File(self, digest, size, root, only), _BUFFER_BYTES)

    def stream(self, digest: Id, size: int) -> Iterator[bytes]:
        """The bytes of a whole file in pieces of at most 256 KiB.

        Every chunk is compared with its id, and the whole with `digest` before the last piece is
        handed out. Raises ObjectNotFound, TypeMismatch, CorruptObject.
        """
        root, only = self._file(digest, size)
        if root is None:
            if only:
                yield only
            return
        hasher = blake3()
        left = size
        parts: Iterator[Part] = iter_parts(self.layout_page, root)
        with closing(self._chunks(parts, ahead=size >= AHEAD_ABOVE)) as pieces:
            for piece in pieces:
                hasher.update(piece)
                left -= len(piece)
                if left <= 0 and (left < 0 or hasher.digest() != digest):
                    raise false_layout(digest)
                yield piece

    def read(self, digest: Id, size: int, limit: int) -> bytes:
        """The bytes of a whole file of at most `limit` bytes; raises InvalidInput for more."""
        if size > limit:
            raise InvalidInput(f"file {digest.hex()} has {size} bytes, more than {limit}")
        return b"".join(self.stream(digest, size))

    def digest(self, root: bytes) -> Id:
        """The digest of the file whose layout has this root page: all of it is read.

        Raises as `payload`.
        """
        hasher = blake3()
        for part in iter_parts(self.layout_page, root):
            hasher.update(self.chunk(part))
        return hasher.digest()

    def block(self, number: int, data: bytes) -> Decoded:
        """A stored block decoded; its members are not compared with their ids.

        For callers that do, and ask for what does not match as anybody does, to hear what is wrong.
        Raises CorruptObject.
        """
        decoded = self._kept.get(number)
        if decoded is not None:
            return decoded
        block = decode_block(data, block_place(number))
        if block.codec is Codec.DELTA:
            return self._delta(number, block, ())
        raw = raw_bytes(block, self._load, block_place(number))
        if len(block.members) == 1:
            return taken_apart(block, raw)
        return self._kept.keep(number, block, raw)

    def chunk(self, part: Part) -> bytes:
        """The bytes of one chunk of a layout; raises as `payload`."""
        return self._check_chunk(part, self._load(part.id))

    def _check_chunks(self, parts: list[Part], found: Sequence[StoredObject]) -> list[bytes]:
        if self._load_all is not None:
            found = self._load_all([part.id for part in parts])
        beside = [part.id for part in parts]
        pairs = zip(parts, found, strict=True)
        return [self._check_chunk(part, stored, beside) for part, stored in pairs]

    def _check_chunk(self, part: Part, stored: StoredObject, beside: Sequence[Id] = ()) -> bytes:
        data = self._check(part.id, Kind.CHUNK, stored, beside)
        if len(data) != part.size:
            raise CorruptObject(
                f"chunk {part.id.hex()} has {len(data)} bytes, not {part.size}", id=part.id.hex()
            )
        return data

    def _check(self, id: Id, kind: Kind, stored: StoredObject, beside: Sequence[Id] = ()) -> bytes:
        """The bytes of an object found in the store, compared with its id."""
        if stored.kind is not kind:
            raise TypeMismatch(f"{id.hex()} is a {_word(stored.kind)}, not a {_word(kind)}")
        data = self._member(id, stored, beside)
        return data if object_id(kind, data) == id else self._again(id, stored)

    def _again(self, id: Id, stored: StoredObject) -> bytes:
        """The bytes of an object that did not match its id, with everything on the way compared.

        Raises CorruptObject, told of the base where it began.
        """
        where = block_place(stored.block_number)
        block = decode_block(stored.block, where)
        raw = raw_bytes(block, self._load, where)
        start, end = block.span(stored.slot)
        if object_id(stored.kind, raw[start:end]) != id:
            raise _mismatch(id, stored.block_number)
        return raw[start:end]

    def _chunks(self, parts: Iterator[Part], *, ahead: bool) -> Generator[bytes, None, None]:
        """The bytes of these chunks; `ahead` of the caller, threads decode and compare some."""
        if not ahead:
            while group := list(islice(parts, BLOCK_BASES)):
                beside = [part.id for part in group]
                for part in group:
                    yield self._check_chunk(part, self._load(part.id), beside)
            return
        # Loaded for big files only: it takes longer than reading a page of history.
        from concurrent.futures import ThreadPoolExecutor

        waiting: deque[Any] = deque()
        with ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="castore-decode") as pool:
            try:
                while group := list(islice(parts, _GROUP_CHUNKS)):
                    found = [] if self._load_all else [self._load(part.id) for part in group]
                    waiting.append(pool.submit(self._check_chunks, group, found))
                    if len(waiting) > _AHEAD_GROUPS:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _file(self, digest: Id, size: int) -> tuple[bytes | None, bytes]:
        """The root of a file's layout, or None and its only chunk; its size is compared."""
        stored = self._load(digest)
        if stored.kind not in (Kind.CHUNK, Kind.LAYOUT):
            raise TypeMismatch(f"{digest.hex()} is a {_word(stored.kind)}, not a file")
        data = self._member(digest, stored)
        layout = stored.kind is Kind.LAYOUT
        found = _root_size(digest, data) if layout else len(data)
        if found != size:
            raise CorruptObject(
                f"file {digest.hex()} has {found} bytes, not {size}", id=digest.hex()
            )
        if layout:
            return data, b""
        return None, data if content_id(data) == digest else self._again(digest, stored)

    def _member(self, id: Id, stored: StoredObject, beside: Sequence[Id] = ()) -> bytes:
        """The bytes stored under `id`, not yet compared with it; `beside` is what is read next."""
        decoded = self._kept.get(stored.block_number)
        if decoded is None:
            block = decode_block(stored.block, block_place(stored.block_number))
            if block.codec is Codec.DELTA:
                decoded = self._delta(stored.block_number, block, beside)
            else:
                raw = raw_bytes(block, self._load, block_place(stored.block_number))
                if len(block.members) == 1:
                    if stored.slot or block.members[0].id != id:
                        raise _mismatch(id, stored.block_number)
                    return raw
                decoded = self._kept.keep(stored.block_number, block, raw)
        data = decoded.member(stored.slot, id)
        if data is None:
            raise _mismatch(id, stored.block_number)
        return data

    def _delta(self, number: int, block: Block, beside: Sequence[Id]) -> Decoded:
        """A delta decoded, by one thread at a time: others that want it wait for the first."""
        with self._locks[number % len(self._locks)]:
            decoded = self._kept.get(number)
            if decoded is not None:
                return decoded
            raw = None
            if self._view is not None and not block.metadata:
                raw = decode_chunks(block, self._view, self._kept, beside)
            if raw is None:
                where = block_place(number)
                raw = raw_bytes(block, self._load, where, self._kept, trusting=True)
            return self._kept.keep(number, block, raw)


class _File(io.RawIOBase):
    """A stored file as a raw stream: the chunk under the position is kept, the next ones follow."""

    def __init__(
        self, reader: ObjectReader, digest: Id, size: int, root: bytes | None, only: bytes
    ) -> None:
        super().__init__()
        self._digest = digest
        self._hasher = blake3()
        self._hashed = 0
        self._reader = reader
        self._size = size
        self._root = root
        self._position = 0
        self._start = 0
        self._chunk = only
        self._parts: Iterator[tuple[int, Part]] = iter(())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        if whence not in bases:
            raise ValueError(f"invalid whence {whence!r}")
        target = bases[whence] + offset
        if target < 0:
            raise ValueError(f"negative seek position {target}")
        self._position = target
        return target

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._position >= self._size or not len(target):
            return 0
        self._fill()
        at = self._position - self._start
        piece = memoryview(self._chunk)[at : at + len(target)]
        if self._root is not None:
            self._hash(piece)
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _hash(self, piece: memoryview) -> None:
        """Take bytes read in order into the digest; compare it when it has them all."""
        skipped = self._hashed - self._position
        if 0 <= skipped < len(piece):
            self._hasher.update(piece[skipped:])
            self._hashed += len(piece) - skipped
        last = self._position + len(piece) == self._size
        if last and self._hashed == self._size and self._hasher.digest() != self._digest:
            raise false_layout(self._digest)

    def _fill(self) -> None:
        """Make the kept chunk the one under the position."""
        if self._start <= self._position < self._start + len(self._chunk):
            return
        if self._root is None:
            return
        following = self._position == self._start + len(self._chunk)
        found = next(self._parts, None) if following else None
        if found is None:
            left = self._size - self._position
            self._parts = parts_in_range(self._reader.layout_page, self._root, self._position, left)
            found = next(self._parts)
        self._start, part = found
        self._chunk = self._reader.chunk(part)


def _word(kind: Kind) -> str:
    return kind.name.lower()


def _root_size(digest: Id, root: bytes) -> int:
    """The size of a file by the root of its layout, an error about which names the file."""
    try:
        return layout_size(root)
    except CorruptObject as error:
        raise CorruptObject(
            f"file {digest.hex()}: {error.message}", id=digest.hex(), where=error.where
        ) from None


def false_layout(digest: Id) -> CorruptObject:
    """What to raise where the chunks of a layout are right, and the file is not."""
    return CorruptObject(
        f"the chunks listed for file {digest.hex()} are not its bytes", id=digest.hex()
    )


def _mismatch(id: Id, number: int) -> CorruptObject:
    where = block_place(number)
    return CorruptObject(
        f"{where}: the bytes of {id.hex()} do not match it", id=id.hex(), where=where
    )
