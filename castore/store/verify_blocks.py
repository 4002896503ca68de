"""Whether stored bytes are what their ids say: blocks decoded, objects and whole files hashed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

from castore.content.blocks import Block, Member
from castore.content.deltas import Load, block_place, raw_bytes
from castore.content.kept import KeptBlocks
from castore.content.layouts import layout_size
from castore.database.tables import State
from castore.errors import CastoreError
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import ID_BYTES
from castore.model.note import decode_note
from castore.store.store import Store
from castore.store.verify_report import Findings

_DAMAGED: Final = 10_000


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
        self.damaged: set[Id] = set()
        self.files_of: dict[Id, list[Id]] = {}

    def files(self) -> None:
        """Check every file with a layout, when all blocks were given to `block`."""
        for at in range(0, len(self._layouts), ID_BYTES):
            self._file(bytes(self._layouts[at : at + ID_BYTES]))

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
        self._members(block, raw, where)

    def _members(self, block: Block, raw: bytes, where: str) -> None:
        self._findings.count("objects", len(block.members))
        ends = [0]
        for member in block.members:
            ends.append(ends[-1] + member.size)
        for member, (start, end) in zip(block.members, pairwise(ends), strict=True):
            payload = raw[start:end]
            if object_id(member.kind, payload) == member.id:
                self._note(member, payload, where)
            elif member.kind is Kind.LAYOUT:
                # The root of a layout is stored under the digest of its file.
                self._layouts += member.id
            else:
                self._bad(member, where, "its bytes do not match it")

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
