"""The one place that touches LMDB: guarded transactions over one environment.

Every promise about transactions is kept here: no use after a fork or across threads, no mapping of
a file that is too short, no acknowledgement when the files were replaced, the map grown or adopted
and the transaction replayed, the environment reopened after a failed meta page, disk full named.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import lmdb

from castore.database.copying import copy_by_lmdb
from castore.database.datafile import DataStart, MetaPage
from castore.database.failures import commit_failure, no_address_space, translate, using_files
from castore.database.gate import Gate
from castore.database.storefiles import StoreFiles, allocate_lock
from castore.database.tables import ERASURES, INTEGER_KEYED, Tables
from castore.errors import CorruptObject, ForkedProcess, Locked, UnsupportedFormat
from castore.model.limits import MIB

Result = TypeVar("Result")
# lmdb has no generic class at run time, only in its stubs.
Transaction: TypeAlias = "lmdb.Transaction[bytes]"

MAP_BYTES: Final = 1 << 40
_MAP_MIN: Final = 1 * MIB
_READERS: Final = 1024
_LMDB_0_9: Final = 0
_REPLAYS: Final = 64
_REOPENINGS: Final = 2
_FORK_WAIT: Final = 5.0


def open_environment(
    folder: Path, *, map_size: int, readonly: bool, create: bool, least: int = _MAP_MIN
) -> lmdb.Environment:
    """An LMDB environment in `folder`, its map halved until it fits the address space.

    `least` is the length of the data file, below which it cannot be mapped. The map is a power of
    two, on which the page accounting counts.
    """
    allocate_lock(folder)
    least = 1 << (max(least, _MAP_MIN) - 1).bit_length()
    map_size = max(map_size, least)
    while True:
        try:
            return lmdb.open(
                str(folder),
                map_size=map_size,
                max_dbs=len(Tables._fields) + 2,
                max_readers=_READERS,
                mode=0o666,
                create=create,
                readonly=readonly,
                lib_version=_LMDB_0_9,
            )
        except lmdb.MemoryError:
            if map_size <= least:
                raise no_address_space(folder) from None
            map_size //= 2


def _open_tables(environment: lmdb.Environment) -> Tables:
    while True:
        try:
            return Tables(
                *(
                    environment.open_db(
                        name.encode(), create=False, integerkey=name in INTEGER_KEYED
                    )
                    for name in Tables._fields
                )
            )
        except lmdb.MapResizedError:
            # Another process grew the store since it was opened.
            environment.set_mapsize(0)


class _Stale(Exception):
    """Something was erased since the environment was opened: what it keeps in memory must go."""


def _erasures(transaction: Transaction, handles: Tables) -> bytes:
    return transaction.get(ERASURES.encode(), b"", db=handles.meta)


def _keep_for_ever(thing: object) -> None:
    """Let an object of the parent never be collected, not even when this process ends."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Engine:
    """Transactions on the environment of one store, for all threads of this process."""

    def __init__(self, folder: Path, map_size: int = MAP_BYTES) -> None:
        self.folder = folder
        self._pid = os.getpid()
        self._gate = Gate()
        self._map_size = map_size
        self._epoch = 0
        self._broken = False
        self._files = StoreFiles(folder)
        self._open(readonly=True)

    def _open(self, *, readonly: bool) -> None:
        try:
            environment = open_environment(
                self.folder,
                map_size=self._map_size,
                readonly=readonly,
                create=False,
                least=self._files.bytes_needed,
            )
        except lmdb.Error as error:
            raise translate(self.folder, error) from None
        try:
            if environment.lib_version()[0] != 0:
                raise UnsupportedFormat(f"{self._files.data} is not an LMDB 0.9 file")
            self._tables = _open_tables(environment)
            environment.reader_check()
        except lmdb.NotFoundError:
            environment.close()
            raise CorruptObject(
                f"{self._files.data}: a table is missing", where=self._files.data
            ) from None
        except lmdb.Error as error:
            environment.close()
            raise translate(self.folder, error) from None
        self._environment = environment
        self._readonly = readonly
        self._erasures = b""
        if not readonly:
            transaction = environment.begin()
            self._erasures = _erasures(transaction, self._tables)
            transaction.abort()
        self._files.note_lock()

    @property
    def identity(self) -> tuple[int, int]:
        """The (device, inode) of the data file."""
        return self._files.identity

    def close(self) -> None:
        """Close the environment; nothing happens in a process that only inherited it."""
        if os.getpid() != self._pid:
            return
        self._gate.shut()
        try:
            self._environment.close()
        finally:
            self._gate.reopen()

    def read(self, fn: Callable[[Transaction, Tables], Result]) -> Result:
        """Run `fn` in a read transaction: one view of the store."""
        return self._repeat(lambda: self._read_once(fn))

    def write(
        self, fn: Callable[[Transaction, Tables], Result], *, room: int = 0, urgent: bool = False
    ) -> Result:
        """Run `fn` in a write transaction, durable on return; `fn` may be run again from the start.

        `room` is about how many bytes it will add, to refuse in time on a full disk; `urgent` is
        for what frees space. Raises StoreFull, CorruptObject, ForkedProcess.
        """
        self._begin_writing()
        if not urgent:
            self._files.check_room(room)
        return self._repeat(lambda: self._write_once(fn))

    def frozen(self, fn: Callable[[str], Result]) -> Result:
        """Run `fn` on the path of the data file while no other process can write to it."""

        def hold() -> Result:
            transaction = self._environment.begin(write=True)
            try:
                with using_files(self.folder):
                    return fn(self._files.data)
            finally:
                self._abort(transaction)

        self._begin_writing()
        return self._repeat(hold)

    def pinned(self, fn: Callable[[str, MetaPage], Result]) -> Result:
        """Run `fn` on the path of the data file and its newest meta page, beside writers.

        A reader sees to it that no page which that leads to is written meanwhile.
        """

        def hold() -> Result:
            with using_files(self.folder), self._moment(self._files.newest_meta) as meta:
                return fn(self._files.data, meta)

        self._begin_writing()
        return self._repeat(hold)

    def oldest_reader(self) -> int | None:
        """The number of the transaction that the oldest reader of any process sees; None: none."""
        self._environment.reader_check()
        rows = [line.split() for line in self._environment.readers().splitlines()]
        return min(
            (int(row[2]) for row in rows if len(row) == 3 and row[2].isdigit()), default=None
        )

    def copy(self, folder: Path, *, compact: bool) -> None:
        """Write a consistent copy of the data file into an existing folder without one.

        Raises OSError for what goes wrong in `folder`; the file is then not to be used.
        """
        self._repeat(lambda: self._copy_once(folder, compact=compact))

    def _begin_writing(self) -> None:
        self._check_process()
        if self._gate.inside():
            raise RuntimeError("a write transaction cannot begin inside another transaction")
        # Opened for reading first: opening tables for writing waits for the writer of the moment.
        epoch = self._epoch
        if self._readonly:
            self._reopen(epoch, readonly=False)

    def _repeat(self, attempt: Callable[[], Result]) -> Result:
        reopenings = 0
        for _ in range(_REPLAYS):
            self._check_process()
            epoch = self._epoch
            remedy: Callable[[], None]
            if self._broken:
                self._reopen(epoch, readonly=self._readonly)
                continue
            self._gate.enter()
            try:
                self._check_files()
                return attempt()
            except _Stale:
                remedy = partial(self._reopen, epoch, readonly=False)
            except lmdb.PanicError as error:
                # A meta page could not be written: all later transactions fail until reopened.
                reopenings += 1
                if reopenings > _REOPENINGS:
                    raise translate(self.folder, error) from None
                remedy = partial(self._reopen, epoch, readonly=self._readonly)
            except lmdb.Error as error:
                remedy = self._remedy(error)
            finally:
                self._gate.leave()
            remedy()
        raise Locked(f"{self.folder}: the store changed too often to get a turn")

    def _read_once(self, fn: Callable[[Transaction, Tables], Result]) -> Result:
        transaction = self._environment.begin()
        try:
            return fn(transaction, self._tables)
        finally:
            self._abort(transaction)

    def _write_once(self, fn: Callable[[Transaction, Tables], Result]) -> Result:
        transaction = self._environment.begin(write=True)
        try:
            if _erasures(transaction, self._tables) != self._erasures:
                # LMDB uses memory of pages again without clearing it: their gaps would bring back
                # what was erased.
                raise _Stale
            result = fn(transaction, self._tables)
            self._check_process()
            self._files.check_replaced("this write was not saved")
        except BaseException:
            self._abort(transaction)
            raise
        try:
            transaction.commit()
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            self._broken = True
            raise commit_failure(self.folder, error) from None
        self._files.check_replaced("this write may be lost")
        return result

    def _copy_once(self, folder: Path, *, compact: bool) -> None:
        if compact or self._readonly:
            copy_by_lmdb(self._environment, folder, compact=compact)
            return
        # What `copy` does without `compact`. That waits for the writer of the moment, and py-lmdb
        # lets no writer of this process give up before it is done: both would wait for ever.
        page_size = self._environment.stat()["psize"]
        with self._moment(lambda: DataStart(self._files.data, page_size)) as start:
            start.copy(folder)

    @contextlib.contextmanager
    def _moment(self, look: Callable[[], Result]) -> Iterator[Result]:
        """What `look` finds while nobody writes, under a reader begun at that moment."""
        with contextlib.ExitStack() as reading:
            writer = self._environment.begin(write=True)
            try:
                reading.callback(self._abort, self._environment.begin())
                found = look()
            finally:
                self._abort(writer)
            yield found

    def _abort(self, transaction: Transaction) -> None:
        if os.getpid() == self._pid:
            transaction.abort()
        else:
            # Forked inside the transaction: ending it here would end the parent's reader or lock.
            _keep_for_ever(transaction)

    def _remedy(self, error: lmdb.Error) -> Callable[[], None]:
        """What to do outside the transaction before it is tried again; raises if nothing helps."""
        if isinstance(error, lmdb.MapFullError):
            size = self._environment.info()["map_size"]
            return partial(self._resize, size, 2 * size)
        if isinstance(error, lmdb.MapResizedError):
            return partial(self._resize, 0, 0)
        if isinstance(error, lmdb.ReadersFullError) and self._environment.reader_check():
            return lambda: None
        raise translate(self.folder, error) from None

    def _resize(self, old: int, new: int) -> None:
        """Grow the map from `old` to `new` bytes, or for 0 adopt the size another process set."""
        self._shut()
        try:
            if new and self._environment.info()["map_size"] != old:
                return
            try:
                self._environment.set_mapsize(new)
            except lmdb.MemoryError:
                # py-lmdb closes an environment whose map is gone.
                self._broken = True
                self._open(readonly=self._readonly)
                self._broken = False
                raise no_address_space(self.folder) from None
            except lmdb.Error as error:
                raise translate(self.folder, error) from None
            self._map_size = self._environment.info()["map_size"]
        finally:
            self._gate.reopen()

    def _reopen(self, epoch: int, *, readonly: bool) -> None:
        self._shut()
        try:
            if self._epoch != epoch:
                return
            self._files.check_length()
            # Where it cannot be opened now, the next transaction tries again.
            self._broken = True
            self._environment.close()
            self._open(readonly=readonly)
            self._epoch += 1
            self._broken = False
        finally:
            self._gate.reopen()

    def _shut(self) -> None:
        if self._gate.inside():
            raise RuntimeError("the store must be reopened, which cannot be done in a transaction")
        self._gate.shut()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedProcess(
                f"{self.folder} was opened by process {self._pid} and used in its fork "
                f"{os.getpid()}",
                fix="open the store again in the child process",
            )

    def _check_files(self) -> None:
        """The data file must be the one that was opened, and hold all pages in use."""
        found = self._files.check()
        if self._files.suspicious(found, self._environment.info()["last_pgno"]):
            self._files.check_length()

    # Forks. A child must not touch the parent's environment, yet LMDB refuses a second one.

    def before_fork(self) -> bool:
        """Let no transaction be under way; False if one could not be waited for."""
        return not self._gate.inside() and self._gate.shut(timeout=_FORK_WAIT)

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        self._gate.reopen()

    def after_fork_in_child(self, quiet: bool) -> None:
        """Give up the inherited environment; closed only if no transaction was under way in it."""
        if quiet:
            self._environment.close()
        else:
            _keep_for_ever(self._environment)
