"""The database of a store: created, opened, read and written as a whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from castore.content.deltas import StoredObject
from castore.database import tables
from castore.database.conversion import update_lookup
from castore.database.copying import appearing, replace_file, sync_folder, sync_tree
from castore.database.datafile import DATA_FILE, HEADS_LOG, RESTORE_OR_SALVAGE, UPGRADE_OR_SALVAGE
from castore.database.engine import MAP_BYTES, Engine, open_environment
from castore.database.failures import using_files, writing_copy
from castore.database.headslog import (
    LINE_DAMAGED,
    append_head,
    is_spoilt,
    last_head,
    read_heads,
    set_aside,
)
from castore.database.identity import (
    KNOWN_FEATURES,
    STORE_FILE,
    Features,
    Identity,
    decode_features,
    encode_features,
    identity_text,
    read_identity,
)
from castore.database.indexes import INDEXES_VERSION
from castore.database.operations import Operation
from castore.database.pages import PageReport, check_pages
from castore.database.reading import Reading
from castore.database.registry import REGISTRY
from castore.database.scrub import Scrubbed, scrub
from castore.database.tables import INTEGER_KEYED, UUID_BYTES, Tables
from castore.database.writing import Writing
from castore.errors import CastoreError, CorruptObject, UnsupportedFormat, WouldOverwrite
from castore.model.ids import Id
from castore.model.limits import FORMAT

Result = TypeVar("Result")

_IGNORE_FILE: Final = ".gitignore"
CARRIED_FILES: Final = (_IGNORE_FILE, "config.toml")
"""What a copy takes along beside the data."""
_CREATION_MAP: Final = MAP_BYTES


class Database:
    """All tables of one store; safe for threads, never used across a fork.

    `folder` is the store's own folder; `uuid` is its own, `project` is shared by its clones.
    `acknowledge`, if it is set, is told of what was noted in the operation log when that is durable
    here, before `write` returns; what it raises `write` raises. With `sealed`, which makes an
    error, no content and no operation is written: that error is raised.
    """

    def __init__(self, folder: Path, engine: Engine, identity: Identity) -> None:
        self.folder = folder
        self.uuid = identity.uuid
        self.project = identity.project
        self._engine = engine
        self.acknowledge: Callable[[Operation], None] | None = None
        self.sealed: Callable[[], CastoreError] | None = None
        self._closed = False
        self._unknown_features: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        now: Callable[[], int],
        entropy: Callable[[int], bytes],
        project: bytes | None = None,
    ) -> Database:
        """Make an empty store in `folder`, which must not exist, and open it.

        It is built beside `folder`, flushed, and appears by one rename: a crash leaves none, never
        half of one. `now` gives microseconds UTC, kept as the time it was created. Raises
        WouldOverwrite, StoreFull.
        """
        folder = folder.absolute()
        if os.path.lexists(folder):
            raise WouldOverwrite(f"{folder} exists already")
        uuid = entropy(UUID_BYTES)
        identity = Identity(uuid, project or entropy(UUID_BYTES))
        temporary = folder.parent / f"{folder.name}.new-{uuid.hex()[:16]}"
        temporary.mkdir()
        try:
            build(temporary, identity, now())
            try:
                os.rename(temporary, folder)
            except OSError:
                if os.path.lexists(folder):
                    raise WouldOverwrite(f"{folder} exists already") from None
                raise
            sync_folder(folder.parent)
        except BaseException:
            import shutil

            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, *, map_size: int = MAP_BYTES, check_heads: bool = True) -> Database:
        """Open the store in `folder`; never creates one.

        `map_size` bounds its first size in memory, in bytes; it grows as needed. Unless told
        otherwise a store that is behind its `heads.log` is refused. Raises StoreNotFound,
        CorruptObject, UnsupportedFormat, Locked, StoreFull.
        """
        folder = folder.absolute()
        with using_files(folder):
            identity = read_identity(folder)
            head = last_head(folder)
            database = cls(folder, REGISTRY.acquire(folder, map_size), identity)
        try:
            database.read(database._check_identity)
            if check_heads and head is not None:
                database.read(lambda reading: _check_head(reading, folder, head))
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Give the environment back; the last user of it in this process closes it."""
        if not self._closed:
            self._closed = True
            REGISTRY.release(self._engine)

    def read(self, fn: Callable[[Reading], Result]) -> Result:
        """What `fn` returns, given one consistent view; keep it short, or the file grows.

        Raises CorruptObject, ForkedProcess, Locked.
        """
        self._check_open()

        def run(transaction: lmdb.Transaction[bytes], handles: Tables) -> Result:
            reading = Reading(transaction, handles)
            try:
                return fn(reading)
            finally:
                reading.end()

        return self._engine.read(run)

    def write(
        self, fn: Callable[[Writing], Result], *, room: int = 0, urgent: bool = False
    ) -> Result:
        """What `fn` returns, with its changes durable; `fn` may be run again from the start.

        An exception from `fn` undoes everything. `room` tells how many bytes will be added, so
        that a full disk is noticed early; `urgent` skips that, for what frees space. Raises
        StoreFull, CorruptObject, ForkedProcess, Locked.
        """
        self._check_open()
        if self._unknown_features:
            raise UnsupportedFormat(
                f"{self.folder}: writing needs {', '.join(self._unknown_features)}, which this "
                "castore does not know",
            )
        appended = None

        def run(transaction: lmdb.Transaction[bytes], handles: Tables) -> Result:
            nonlocal appended
            writing = Writing(transaction, handles)
            writing.sealed = self.sealed
            try:
                update_lookup(writing)
                result = fn(writing)
                appended = writing.appended
                return result
            finally:
                writing.end()

        result = self._engine.write(run, room=room, urgent=urgent)
        if appended is not None:
            self._note_head(appended.sequence, appended.hash)
            if self.acknowledge is not None:
                self.acknowledge(appended)
        return result

    def load(self, id: Id) -> StoredObject:
        """The block an object lies in, for an ObjectReader; raises ObjectNotFound."""
        return self.read(lambda reading: reading.load(id))

    def load_all(self, ids: Sequence[Id]) -> list[StoredObject]:
        """The blocks these objects lie in, in one view of the store; raises as `load`."""
        return self.read(lambda reading: [reading.load(id) for id in ids])

    def file_bytes(self) -> int:
        """The size of the data file."""
        return os.stat(self.folder / DATA_FILE).st_size

    def heads_log(self) -> list[tuple[int, Id]]:
        """The (sequence, hash) of operations noted outside the database, oldest first."""
        with using_files(self.folder):
            return read_heads(self.folder)

    def check_heads_log(self) -> None:
        """Compare the database with `heads.log`; raises CorruptObject if it was rolled back."""
        with using_files(self.folder):
            head = last_head(self.folder)
        if head is not None:
            self.read(lambda reading: _check_head(reading, self.folder, head))

    def check_pages(self) -> PageReport:
        """Account for every page of the data file, while writers wait."""
        self._check_open()
        return self._engine.frozen(check_pages)

    def scrub(self, *, sleep: Callable[[float], None] = time.sleep) -> Scrubbed:
        """Clear what nothing in the data file leads to any more; see castore.database.scrub.

        Only at its end it is noted up to which erasure this file was cleared.
        """
        self._check_open()
        before, erasures = self.read(
            lambda reading: (reading.integer(tables.SCRUBBED), reading.integer(tables.ERASURES))
        )
        done = scrub(
            self._engine,
            lambda: self.write(lambda writing: writing.note_scrubbed(before), urgent=True),
            sleep=sleep,
        )
        self.write(lambda writing: writing.note_scrubbed(erasures), urgent=True)
        return done

    def scrub_if_due(self) -> bool:
        """Clear the data file unless that was done since the last erasure; raises as `scrub`."""
        due = self.read(lambda reading: reading.scrub_due())
        if due:
            self.scrub()
        return due

    def copy(
        self,
        folder: Path,
        *,
        compact: bool = False,
        check: Callable[[Path], None] | None = None,
    ) -> None:
        """Write a consistent copy of the store to `folder`, which must be absent or empty.

        `heads.log` is copied first: a copy is never behind its own log. `check` is given the copy
        before it takes its place; if it raises there is no copy. Raises WouldOverwrite,
        StoreFull for the disk of `folder`.
        """
        self._check_open()
        folder = folder.absolute()
        with appearing(folder) as temporary:
            with writing_copy(folder):
                for name in (HEADS_LOG, *CARRIED_FILES):
                    replace_file(self.folder / name, temporary / name)
                self._engine.copy(temporary, compact=compact)
                sync_tree(temporary)
                # Last: without it, what a crash leaves does not open.
                replace_file(self.folder / STORE_FILE, temporary / STORE_FILE)
            if check is not None:
                check(temporary)

    def _note_head(self, sequence: int, hash: Id) -> None:
        try:
            append_head(self.folder, sequence, hash)
        except OSError:
            # The write is durable; a log that is behind is legal and the next write catches up.
            return

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self.folder} was closed")

    def _check_identity(self, reading: Reading) -> None:
        format = reading.integer(tables.FORMAT_KEY.decode())
        if format > FORMAT:
            raise UnsupportedFormat(
                f"{self.folder}: store format {format}; this castore reads format {FORMAT}",
                fix=UPGRADE_OR_SALVAGE,
            )
        noted = (reading.meta(tables.UUID_KEY), reading.meta(tables.PROJECT_KEY))
        if noted != (self.uuid, self.project) or format != FORMAT:
            raise CorruptObject(
                f"{self.folder}: {STORE_FILE} and {DATA_FILE} are of different stores",
                where=str(self.folder / DATA_FILE),
                fix=RESTORE_OR_SALVAGE,
            )
        features = decode_features(reading.meta(tables.FEATURES_KEY) or b"")
        unknown = set(features.read) - KNOWN_FEATURES
        if unknown:
            raise UnsupportedFormat(
                f"{self.folder}: reading needs {', '.join(sorted(unknown))}, which this castore "
                "does not know",
            )
        self._unknown_features = tuple(sorted(set(features.write) - KNOWN_FEATURES))


def _check_head(reading: Reading, folder: Path, head: tuple[int, Id]) -> None:
    sequence, hash = head
    found = reading.operation(sequence)
    if found is not None and found.hash == hash:
        return
    where = str(folder / HEADS_LOG)
    newest = reading.last_operation()
    if any(one and (one.hash == hash or is_spoilt(hash, one.hash)) for one in (found, newest)):
        raise CorruptObject(
            f"{where}: its last line {LINE_DAMAGED}", where=where, fix=set_aside(folder)
        )
    if found is None:
        last = reading.last_sequence()
        problem = (
            f"{HEADS_LOG} notes operation {sequence}, but the database ends at {last}: it was "
            "rolled back"
        )
    else:
        problem = f"operation {sequence} is not the one noted in {HEADS_LOG}"
    raise CorruptObject(
        f"{folder}: {problem}",
        where=where,
        fix="restore both files from one backup, or: cas salvage DEST",
    )


def build(folder: Path, identity: Identity, at: int) -> None:
    """Fill an empty folder with the files of an empty store, flushed; `at` is its time of birth.

    Whoever does so sees to it that the folder gets its name only then. Raises CastoreError.
    """
    try:
        environment = open_environment(folder, map_size=_CREATION_MAP, readonly=False, create=True)
        try:
            handles = Tables(
                *(
                    environment.open_db(name.encode(), integerkey=name in INTEGER_KEYED)
                    for name in Tables._fields
                )
            )
            with environment.begin(write=True) as transaction:
                _put_identity(transaction, handles, identity, at)
        finally:
            environment.close()
    except lmdb.Error as error:
        raise CastoreError(f"{folder}: the store cannot be created: {error}") from None
    (folder / STORE_FILE).write_text(identity_text(identity), encoding="ascii")
    (folder / _IGNORE_FILE).write_text("*\n", encoding="ascii")
    (folder / HEADS_LOG).touch()
    sync_tree(folder)


def _put_identity(
    transaction: lmdb.Transaction[bytes], handles: Tables, identity: Identity, at: int
) -> None:
    rows = {
        tables.FORMAT_KEY: tables.pack_integer(FORMAT),
        tables.CREATED_KEY: tables.pack_integer(at),
        tables.UUID_KEY: identity.uuid,
        tables.PROJECT_KEY: identity.project,
        tables.FEATURES_KEY: encode_features(Features()),
        tables.INDEXES.encode(): tables.pack_integer(INDEXES_VERSION),
    }
    for key, value in rows.items():
        transaction.put(key, value, db=handles.meta)
