"""Caches of buckets that are used as stores: where they lie, who uses one, and how big it becomes.

A cache holds history as a whole, and files that were read or written here. Whoever has it open
holds a lock of the file `seen` beside it, whose time tells when the bucket was last read. The last
one to leave lets old files go where they take too much: such as the bucket's root leads to only,
and what a version holds that never got there stays as a whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from castore.content.blocks import decode_block
from castore.content.deltas import block_place
from castore.content.layouts import iter_parts
from castore.content.reader import ObjectReader
from castore.database.copying import sync_folder
from castore.database.datafile import DATA_FILE
from castore.database.environment import Database
from castore.database.failures import using_files
from castore.database.reading import BlockInfo, Reading, State
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import MIB
from castore.model.refs import LOST, PARTIALS
from castore.remote.index import Catalogue
from castore.store.collect import CollectRequest, collect
from castore.store.collect_report import CollectReport
from castore.store.config import KnownRemote
from castore.store.opening import FOLDER
from castore.store.store import Store

CACHE_BYTES: Final = 5_000_000_000
"""Stored bytes of contents that a cache keeps unless configured."""
_SEEN: Final = "seen"
_OWING: Final = "owing"
_SMALL: Final = "small"
# What is over lets go more than that, so that not every command does it.
_KEPT_SHARE: Final = 0.75
# A data file is made smaller where so much of it, and half of it, is free.
_FREE_BYTES: Final = 64 * MIB


def cache_folder(caches: Path, found: KnownRemote) -> Path:
    """Where the cache of a bucket is, below the folder of all caches."""
    key = "\n".join((found.url, found.endpoint))
    return caches / content_id(key.encode()).hex()[:32]


class CacheUse:
    """The use of a cache by one open store: others know of it until it is closed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with using_files(home):
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            new = not (home / _SEEN).exists()
            self._descriptor = os.open(home / _SEEN, flags, 0o600)
            if new:
                os.utime(self._descriptor, (0, 0))
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    @property
    def seen_at(self) -> int | None:
        """When the bucket was last read by way of this cache, in microseconds."""
        return os.fstat(self._descriptor).st_mtime_ns // 1000 or None

    def note_seen(self, at: int) -> None:
        """Note when the bucket was read."""
        os.utime(self._descriptor, ns=(at * 1000, at * 1000))

    def alone(self) -> bool:
        """Whether nobody else uses it; then nobody does until it is closed."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def owing(self) -> bool:
        """Whether something was written here that did not get to the bucket."""
        return owes(self.home)

    def note_owing(self, *, owing: bool) -> None:
        """Note whether something did not get to the bucket."""
        with using_files(self.home):
            if owing:
                (self.home / _OWING).touch()
            else:
                (self.home / _OWING).unlink(missing_ok=True)

    def close(self) -> None:
        """Let others know that this one is done."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def owes(home: Path) -> bool:
    """Whether something was written to a cache that did not get to the bucket."""
    return (home / _OWING).exists()


@contextmanager
def making(home: Path) -> Iterator[None]:
    """While a cache is looked for and made: one process at a time."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def may_be_over(database: Database, most: int) -> bool:
    """Whether contents may take more than `most` bytes; costs next to nothing."""
    return database.read(lambda tables: tables.blocks_bytes()) > most


def trim(store: Store, there: Catalogue, most: int) -> CollectReport | None:
    """Let files go that a bucket has, those stored first, where contents take more than `most`.

    They take about three quarters of that then. Nobody else may use the cache. What the bucket has
    not stays, and so does all that a version holds which it has not. None where nothing was to be
    done. Raises CorruptObject.
    """
    kept = int(most * _KEPT_SHARE)
    cut = store.database.read(partial(_cut, most=most, kept=kept))
    if cut is None:
        return None
    whole = tuple(store.database.read(partial(_unsent_sets, there=there)))

    def left(id: Id, block: int) -> bool:
        return block < cut and there.has(id)

    return collect(store, CollectRequest(left=left, whole=whole))


def shrink(home: Path, database: Database) -> None:
    """Make the data file of a cache smaller where much of it is free, and close the database.

    Nobody else may use the cache. Raises CastoreError with nothing changed.
    """
    used = database.read(lambda tables: tables.blocks_bytes())
    if database.file_bytes() - used < max(_FREE_BYTES, used):
        return
    small = home / _SMALL
    shutil.rmtree(small, ignore_errors=True)
    try:
        database.copy(small, compact=True)
        database.close()
        folder = home / FOLDER
        with using_files(folder):
            os.replace(small / DATA_FILE, folder / DATA_FILE)
            sync_folder(folder)
    finally:
        shutil.rmtree(small, ignore_errors=True)


def contents_bytes(tables: Reading) -> int:
    """The stored bytes of blocks of content."""
    return sum(info.stored for _, info in tables.block_infos() if not info.metadata)


def _cut(tables: Reading, most: int, kept: int) -> int | None:
    """The number of the block from which on files are kept; None where no more than that is."""
    infos = dict(tables.block_infos())
    if sum(info.stored for info in infos.values() if not info.metadata) <= most:
        return None
    held = _Held(tables, infos)
    for number in reversed(infos):
        held.add(number)
        if held.bytes > kept:
            return number + 1
    return 0


class _Held:
    """The blocks that files from some block on need, and the stored bytes of those of content."""

    def __init__(self, tables: Reading, infos: dict[int, BlockInfo]) -> None:
        self._tables = tables
        self._reader = ObjectReader(tables.load)
        self._infos = infos
        self._blocks: set[int] = set()
        self.bytes = 0

    def add(self, number: int) -> None:
        """Add the files that lie in a block, or whose lists of chunks do."""
        tables = self._tables
        block = decode_block(tables.block(number) or b"", block_place(number))
        files = [
            member
            for member in block.members
            if member.kind in (Kind.CHUNK, Kind.LAYOUT)
            and any(True for _ in tables.containers(member.id))
        ]
        for id, kind, _ in files:
            if kind is Kind.CHUNK:
                self._add(number)
                continue
            root = self._reader.layout_root(id) or b""
            chunks = [part.id for part in iter_parts(self._reader.layout_page, root)]
            for row in tables.object_numbers(chunks):
                if row is not None and row[3] == State.STORED:
                    self._add(row[0])

    def _add(self, number: int) -> None:
        stack = [number]
        while stack:
            number = stack.pop()
            info = self._infos.get(number)
            if number not in self._blocks and info is not None:
                self._blocks.add(number)
                self.bytes += 0 if info.metadata else info.stored
                stack += info.bases


def _unsent_sets(tables: Reading, there: Catalogue) -> Iterator[Id]:
    """The sets of versions that refs of here lead to and a bucket has not, or has in no ref.

    What no ref of it leads to goes with its next collection.
    """
    reader = ObjectReader(tables.load)
    found: dict[Id, None] = {}
    refs = tables.refs()
    tips = {id for ref, id in refs if not ref.startswith((LOST, PARTIALS))}
    stack = [id for _, id in refs]
    seen: set[Id] = set()
    while stack:
        id = stack.pop()
        if id in seen or not tables.present((id,)):
            continue
        seen.add(id)
        if there.has(id) and (id in tips or _on_a_line(tables, id, tips)):
            continue
        manifest = reader.manifest(id)
        if tables.forgotten(id) is None:
            found[manifest.set] = None
        stack += manifest.parents
    return iter(found)


def _on_a_line(tables: Reading, id: Id, tips: Collection[Id]) -> bool:
    """Whether a version is on the line of first parents of one of these."""
    step = tables.step(id)
    return step is not None and any(tables.ancestor(tip, step.number) == id for tip in tips)
