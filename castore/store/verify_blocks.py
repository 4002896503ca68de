"""Whether stored bytes are what their ids say: blocks decoded, objects and whole files hashed.

Files are hashed while their chunks pass, in the order of blocks, which is that of most files. Those
with chunks in another order, or with chunks of older files, are read as a whole after that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import nsmallest
from types import TracebackType
from typing import Final, Self

from castore.content.blocks import Block, Member
from castore.content.deltas import Load, block_place, raw_bytes
from castore.content.in_turn import InTurn
from castore.content.kept import KeptBlocks
from castore.content.layouts import layout_size
from castore.content.passing import Passing, PassingFiles, Place
from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import CastoreError
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import ID_BYTES, MIB
from castore.model.note import decode_note
from castore.store.store import Store
from castore.store.verify_report import Findings

_DAMAGED: Final = 10_000
# Files that are hashed while chunks pass, at most: each costs a hundred bytes.
_PASSING: Final = 100_000
_ROWS: Final = 20_000
# Chunks are handed to the thread that hashes files by so many bytes.
_PIECE_BYTES: Final = 2 * MIB


class BlockCheck:
    """What is done with each block, and a pass over the big files that lie in several of them.

    `damaged` are ids whose bytes are wrong, at most 10,000; `files_of` leads from a damaged chunk
    to the big files that hold it.
    """

    def __init__(
        self, store: Store, findings: Findings, progress: Callable[[int], None] | None
    ) -> None:
        self._store = store
        self._findings = findings
        self._progress = progress
        # Digests of files with a layout, end to end: 32 bytes each instead of 118.
        self._layouts = bytearray()
        self._kept = KeptBlocks()
        self._passed: set[Id] = set()
        self._piece: list[Passing] = []
        self._piece_bytes = 0
        self._passing = PassingFiles(
            self._layout_root,
            store.near_reader.layout_page,
            _layouts(store),
            self._place_of,
            passed=self._passed.add,
            lenient=True,
        )
        self._turn = InTurn(self._passing.see)
        self.damaged: set[Id] = set()
        self.files_of: dict[Id, list[Id]] = {}

    def __enter__(self) -> Self:
        self._turn.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._turn.__exit__(kind, error, trace)

    def files(self) -> None:
        """Check every file with a layout, when all blocks were given to `block`."""
        self._hand_over()
        self._turn.wait()
        for at in range(0, len(self._layouts), ID_BYTES):
            digest = bytes(self._layouts[at : at + ID_BYTES])
            if digest in self._passed:
                self._findings.count("big files")
            else:
                self._file(digest)

    def block(self, number: int, block: Block, load: Load) -> None:
        """Decode a block and compare its members with their ids."""
        where = block_place(number)
        self._findings.count("blocks")
        try:
            raw = raw_bytes(block, load, where, self._kept)
        except CastoreError as error:
            for member in block.members:
                self._bad(member, where, error.message)
            return
        if block.metadata or block.bases:
            # What comes next may be a delta of it.
            self._kept.keep(number, block, raw)
        self._members(number, block, raw)
        if self._piece_bytes >= _PIECE_BYTES:
            self._hand_over()

    def _members(self, number: int, block: Block, raw: bytes) -> None:
        where = block_place(number)
        self._findings.count("objects", len(block.members))
        ends = [0]
        for member in block.members:
            ends.append(ends[-1] + member.size)
        for slot, member in enumerate(block.members):
            start, end = ends[slot], ends[slot + 1]
            payload = raw[start:end]
            if object_id(member.kind, payload) == member.id:
                if member.kind is Kind.CHUNK:
                    self._piece.append(Passing((0, 0, number, slot), member.id, payload))
                    self._piece_bytes += member.size
                else:
                    self._note(member, payload, where)
            elif member.kind is Kind.LAYOUT:
                # The root of a layout is stored under the digest of its file.
                self._layouts += member.id
            else:
                self._bad(member, where, "its bytes do not match it")

    def _hand_over(self) -> None:
        """Have files go on with the chunks that have passed."""
        self._turn(self._piece)
        self._piece, self._piece_bytes = [], 0

    def _layout_root(self, digest: Id) -> bytes | None:
        """The root page of a file's chunk list; None for a page below one, and what is damaged."""
        try:
            root = self._store.near_reader.layout_root(digest)
        except CastoreError:
            return None
        return None if root is None or object_id(Kind.LAYOUT, root) == digest else root

    def _place_of(self, id: Id) -> Place | None:
        place = self._store.database.read(lambda tables: tables.place(id))
        return (0, 0, *place) if place else None

    def _note(self, member: Member, payload: bytes, where: str) -> None:
        """Notes are reached by no walk from a ref: they are decoded here."""
        if member.kind is not Kind.NOTE:
            return
        try:
            decode_note(payload)
        except CastoreError as error:
            self._bad(member, where, error.message)

    def _file(self, digest: Id) -> None:
        reader = self._store.near_reader
        try:
            row = self._store.database.read(lambda tables: tables.object_row(digest))
        except CastoreError as error:
            self._findings.add(digest, "table", "objects", error.message)
            return
        if row is not None and row.state is State.PURGED:
            # A purge that was cut short: its block is still to be written without it.
            return
        self._findings.count("big files")
        try:
            root = reader.layout_root(digest)
            if root is None:
                return
            for piece in reader.stream(digest, layout_size(root)):
                if self._progress is not None:
                    self._progress(len(piece))
        except CastoreError as error:
            broken = error.attributes.get("id") or ""
            if broken and broken != digest.hex():
                self.files_of.setdefault(bytes.fromhex(broken), []).append(digest)
            self._damage(digest)
            self._findings.add(digest, "layout", "", f"the file cannot be read: {error.message}")

    def _bad(self, member: Member, where: str, detail: str) -> None:
        self._damage(member.id)
        self._findings.add(member.id, member.kind.name.lower(), where, detail)

    def _damage(self, id: Id) -> None:
        if len(self.damaged) < _DAMAGED:
            self.damaged.add(id)


def _layouts(store: Store) -> list[Id]:
    """Pages of chunk lists as they follow in blocks, which is behind the chunks; not too many."""
    found: list[tuple[int, Id]] = []
    start: Id | None = b""
    while start is not None:
        rows, after = store.database.read(partial(_some_layouts, start=start))
        found += rows
        if len(found) > 2 * _PASSING:
            found = nsmallest(_PASSING, found)
        start = after or None
    return [id for _, id in sorted(found)[:_PASSING]]


def _some_layouts(tables: Reading, start: Id) -> tuple[list[tuple[int, Id]], Id]:
    return tables.of_kind(Kind.LAYOUT, start, _ROWS)
