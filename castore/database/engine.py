"""The one place that touches LMDB: guarded transactions over one environment.

Every promise about transactions is kept here: no use after a fork or across threads, no mapping of
a file that is too short, no acknowledgement when the files were replaced, the map grown or adopted
and the transaction replayed, the environment reopened after a failed meta page, disk full named.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from castore.database.datafile import (
    DATA_FILE,
    LOCK_FILE,
    META_PAGES,
    file_identity,
    newest_meta,
)
from castore.database.gate import Gate
from castore.database.pages import free_pages, is_whole
from castore.database.tables import INTEGER_KEYED, Tables
from castore.errors import (
    CastoreError,
    CorruptObject,
    ForkedProcess,
    Locked,
    StoreFull,
    UnsupportedFormat,
)
from castore.model.limits import MIB

Result = TypeVar("Result")
Transaction = lmdb.Transaction[bytes]

MAP_BYTES: Final = 1 << 40
RESERVE_BYTES: Final = 4 * MIB
_MAP_MIN: Final = 1 * MIB
_READERS: Final = 1024
_LMDB_0_9: Final = 0
_REPLAYS: Final = 64
_REOPENINGS: Final = 2
_FORK_WAIT: Final = 5.0
_FULL_CODES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CursorFullError,
    lmdb.PageFullError,
    lmdb.IncompatibleError,
)


def open_environment(folder: Path, *, map_size: int, readonly: bool, create: bool) -> lmdb.Environment:
    """An LMDB environment in `folder`, its map halved until it fits the address space."""
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
        except lmdb.MemoryError as error:
            if map_size <= _MAP_MIN:
                raise StoreFull(
                    f"{folder}: no address space left to open the store ({error})",
                    fix="raise the limit of `ulimit -v`",
                ) from None
            map_size //= 2


class Engine:
    """Transactions on the environment of one store, for all threads of this process."""

    def __init__(self, folder: Path, map_size: int = MAP_BYTES) -> None:
        self.folder = folder
        self._data = str(folder / DATA_FILE)
        self._lock_file = str(folder / LOCK_FILE)
        self._pid = os.getpid()
        self._gate = Gate()
        self._map_size = map_size
        self._epoch = 0
        self._broken = False
        self._short: tuple[int, int] | None = None
        self._page_size = 0
        self.inherited = False
        identity = file_identity(self._data)
        if identity is None:
            raise self._missing()
        self.identity: tuple[int, int] = identity
        self._check_length()
        self._open(readonly=True)

    def _open(self, *, readonly: bool) -> None:
        try:
            environment = open_environment(
                self.folder, map_size=self._map_size, readonly=readonly, create=False
            )
        except lmdb.Error as error:
            raise self._translate(error) from None
        try:
            if environment.lib_version()[0] != 0:
                raise UnsupportedFormat(f"{self._data} is not an LMDB 0.9 file")
            self._tables = Tables(
                *(
                    environment.open_db(
                        name.encode(), create=False, integerkey=name in INTEGER_KEYED
                    )
                    for name in Tables._fields
                )
            )
            environment.reader_check()
        except lmdb.NotFoundError:
            environment.close()
            raise CorruptObject(f"{self._data}: a table is missing", where=self._data) from None
        except lmdb.Error as error:
            environment.close()
            raise self._translate(error) from None
        self._environment = environment
        self._readonly = readonly
        self._lock_identity = file_identity(self._lock_file)

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
            self._check_room(room)
        return self._repeat(lambda: self._write_once(fn))

    def frozen(self, fn: Callable[[str], Result]) -> Result:
        """Run `fn` on the path of the data file while no other process can write to it."""

        def hold() -> Result:
            transaction = self._environment.begin(write=True)
            try:
                return fn(self._data)
            finally:
                transaction.abort()

        self._begin_writing()
        return self._repeat(hold)

    def copy(self, folder: Path, *, compact: bool) -> None:
        """Write a consistent copy of the data file into an existing folder."""
        self._repeat(lambda: self._environment.copy(str(folder), compact=compact))

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
            if self._broken:
                self._reopen(epoch, readonly=self._readonly)
                continue
            self._gate.enter()
            try:
                self._check_files()
                return attempt()
            except lmdb.PanicError as error:
                # A meta page could not be written; all later transactions fail until it is reopened.
                reopenings += 1
                if reopenings > _REOPENINGS:
                    raise self._translate(error) from None
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
            transaction.abort()

    def _write_once(self, fn: Callable[[Transaction, Tables], Result]) -> Result:
        transaction = self._environment.begin(write=True)
        try:
            result = fn(transaction, self._tables)
            self._check_replaced("this write was not saved")
        except BaseException:
            transaction.abort()
            raise
        try:
            transaction.commit()
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            self._broken = True
            raise self._commit_failed(error) from None
        self._check_replaced("this write may be lost")
        return result

    def _remedy(self, error: lmdb.Error) -> Callable[[], None]:
        """What to do, outside the transaction, before it is tried again; raises if nothing helps."""
        if isinstance(error, lmdb.MapFullError):
            size = self._environment.info()["map_size"]
            return partial(self._resize, size, 2 * size)
        if isinstance(error, lmdb.MapResizedError):
            return partial(self._resize, 0, 0)
        if isinstance(error, lmdb.ReadersFullError) and self._environment.reader_check():
            return lambda: None
        raise self._translate(error) from None

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
                self._open(readonly=self._readonly)
                raise StoreFull(
                    f"{self.folder}: no address space for a map of {new} bytes",
                    fix="raise the limit of `ulimit -v`",
                ) from None
            except lmdb.Error as error:
                raise self._translate(error) from None
            self._map_size = self._environment.info()["map_size"]
        finally:
            self._gate.reopen()

    def _reopen(self, epoch: int, *, readonly: bool) -> None:
        self._shut()
        try:
            if self._epoch != epoch:
                return
            self._check_length()
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

    # What is proved before and after a transaction.

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedProcess(
                f"{self.folder} was opened by process {self._pid} and used in its fork "
                f"{os.getpid()}",
                fix="open the store again in the child process",
            )

    def _check_files(self) -> None:
        """The data file must be the one that was opened, and hold all pages in use."""
        try:
            found = os.stat(self._data)
        except FileNotFoundError:
            raise self._missing() from None
        if (found.st_dev, found.st_ino) != self.identity:
            raise self._replaced(self._data, "it cannot be used any more")
        # LMDB reads its meta pages from the map: a file cut to nothing must be seen before.
        if found.st_size < META_PAGES * self._page_size or (
            found.st_size < (self._environment.info()["last_pgno"] + 1) * self._page_size
        ):
            self._check_length()

    def _check_length(self) -> None:
        """Refuse a data file that lacks a page in use, by plain reads; raises CorruptObject."""
        descriptor = os.open(self._data, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                meta = newest_meta(descriptor, self._data)
                self._page_size = meta.page_size
                size = os.fstat(descriptor).st_size
                if size >= meta.bytes_needed or self._short == (meta.transaction, size):
                    return
                try:
                    whole = is_whole(descriptor, meta, size, self._data)
                except CorruptObject:
                    whole = False
                if newest_meta(descriptor, self._data).transaction != meta.transaction:
                    # Another process wrote meanwhile: the free list may have been half new.
                    continue
                if not whole:
                    raise CorruptObject(
                        f"{self._data} is cut off: {size} bytes, where its last page ends at "
                        f"{meta.bytes_needed}",
                        where=self._data,
                        fix="restore the store from a backup",
                    )
                self._short = (meta.transaction, size)
                return
        finally:
            os.close(descriptor)

    def _check_replaced(self, consequence: str) -> None:
        if file_identity(self._data) != self.identity:
            raise self._replaced(self._data, consequence)
        if file_identity(self._lock_file) != self._lock_identity:
            raise self._replaced(self._lock_file, consequence)

    def _check_room(self, room: int) -> None:
        """Refuse early what the disk has no room for; pages that are free in the file count too."""
        needed = room + room // 4 + RESERVE_BYTES
        if _disk_room(self.folder) >= needed:
            return
        descriptor = os.open(self._data, os.O_RDONLY | os.O_CLOEXEC)
        try:
            meta = newest_meta(descriptor, self._data)
            free = sum(free_pages(descriptor, meta, self._data)) * meta.page_size
        except CorruptObject:
            # The free list changed while it was read, or is damaged: the write itself will tell.
            return
        finally:
            os.close(descriptor)
        if free < needed:
            raise self._full()

    # Errors.

    def _missing(self) -> CorruptObject:
        return CorruptObject(
            f"{self._data} is missing",
            where=self._data,
            fix="restore the store from a backup",
        )

    def _replaced(self, path: str, consequence: str) -> CorruptObject:
        return CorruptObject(
            f"{path} was replaced or removed while the store was open: {consequence}",
            where=path,
            fix="close every program that uses this store, then: cas fsck --full",
        )

    def _full(self) -> StoreFull:
        return StoreFull(
            f"{self.folder}: the disk is full; nothing of this write was saved",
            fix="free space on this disk, or: cas gc",
        )

    def _commit_failed(self, error: lmdb.Error) -> CastoreError:
        if self._is_full(error):
            return self._full()
        if error.code == errno.EIO or error.code > 0:
            return CastoreError(
                f"{self._data}: the disk failed ({error}); it is not known whether this write was "
                "saved",
                fix="check the disk, then repeat the command with the same --operation-id",
            )
        return self._translate(error)

    def _is_full(self, error: lmdb.Error) -> bool:
        """Whether an error means no room: LMDB reports a short write as an I/O error."""
        if error.code in _FULL_CODES:
            return True
        if error.code != errno.EIO:
            return False
        try:
            size = os.stat(self._data).st_size
            limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
            limited = limit != resource.RLIM_INFINITY and size + RESERVE_BYTES > limit
            return limited or _disk_room(self.folder) < RESERVE_BYTES
        except OSError:
            return False

    def _translate(self, error: lmdb.Error) -> CastoreError:
        text = f"{self._data}: {error}"
        if isinstance(error, _DAMAGE):
            return CorruptObject(text, where=self._data)
        if isinstance(error, lmdb.ReadersFullError):
            return Locked(
                f"{self.folder}: more than {_READERS} readers at once",
                fix="end programs that use this store",
            )
        if isinstance(error, lmdb.MemoryError | lmdb.TxnFullError):
            return StoreFull(text)
        if self._is_full(error):
            return self._full()
        if error.code in (errno.EACCES, errno.EPERM, errno.EROFS):
            return CastoreError(
                f"{self.folder}: this user may not write to the store, which reading needs too",
                fix=f"chmod -R u+rwX {self.folder}",
            )
        if "already open" in str(error):
            return Locked(
                f"{self.folder}: still open in this process, under files that were replaced since",
                fix="close the store everywhere, then open it again",
            )
        return CastoreError(text, fix="cas fsck --full")

    # Forks. A child must not touch the parent's environment, yet LMDB refuses a second one.

    def before_fork(self) -> bool:
        """Let no transaction be under way; False if one could not be waited for."""
        return not self._gate.inside() and self._gate.shut(timeout=_FORK_WAIT)

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        self._gate.reopen()

    def after_fork_in_child(self, quiet: bool) -> None:
        """Give up the inherited environment; closed only if no transaction was under way in it."""
        self.inherited = True
        if quiet:
            self._environment.close()


def _disk_room(folder: Path) -> int:
    found = os.statvfs(folder)
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return free * found.f_frsize


