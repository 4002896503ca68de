"""The data and lock file of an open store: still the ones that were opened, and long enough."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from castore.database.datafile import (
    DATA_FILE,
    LOCK_FILE,
    META_PAGES,
    RESTORE,
    RESTORE_OR_SALVAGE,
    MetaPage,
    file_identity,
    newest_meta,
)
from castore.database.failures import (
    FULL_CODES,
    RESERVE_BYTES,
    disk_full,
    disk_room,
    file_failure,
    no_file,
    using_files,
)
from castore.database.pages import free_pages, is_whole
from castore.errors import CorruptObject

# Of 1,024 readers, as LMDB lays its lock file out.
_LOCK_BYTES: Final = 65_664


def allocate_lock(folder: Path) -> None:
    """Give a new lock file all its bytes on the disk.

    LMDB maps it with holes: on a full disk the first reader would be killed by SIGBUS. Nothing in
    this process may have that file open, its locks would end. Raises StoreFull, CorruptObject.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return  # Who may only read can do so with the file that is there; LMDB will tell.
    except (FileNotFoundError, IsADirectoryError):
        # A folder, or a link that leads nowhere.
        raise no_file(str(folder / LOCK_FILE)) from None
    except OSError as error:
        raise file_failure(folder, error) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise no_file(str(folder / LOCK_FILE))
        if not found.st_blocks:
            os.posix_fallocate(descriptor, 0, _LOCK_BYTES)
    except OSError as error:
        if error.errno in FULL_CODES:
            raise disk_full(folder) from None
    finally:
        os.close(descriptor)


class StoreFiles:
    """The files of the store in `folder` as they were found; raises CorruptObject if damaged.

    `bytes_needed` is the length of the data file, as of the last time it was proved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data = str(folder / DATA_FILE)
        self._lock = str(folder / LOCK_FILE)
        self._lock_identity: tuple[int, int] | None = None
        self._page_size = 0
        self.bytes_needed = 0
        self._short: tuple[int, int] | None = None
        identity = file_identity(self.data)
        if identity is None:
            raise self._missing()
        if not os.path.isfile(self.data):
            raise no_file(self.data, RESTORE)
        self.identity: tuple[int, int] = identity
        self.check_length()

    def note_lock(self) -> None:
        """Take the lock file that is there now as the right one."""
        self._lock_identity = file_identity(self._lock)

    def suspicious(self, found: os.stat_result, last_page: int) -> bool:
        """Whether the data file ends before `last_page`."""
        return found.st_size < (last_page + 1) * self._page_size

    def check(self) -> os.stat_result:
        """The state of the data file, which must be the one opened, with both meta pages.

        LMDB reads the meta pages from its map: a file cut to nothing must be seen before that.
        """
        try:
            found = os.stat(self.data)
        except FileNotFoundError:
            raise self._missing() from None
        if (found.st_dev, found.st_ino) != self.identity:
            raise self._replaced(self.data, "it cannot be used any more")
        if self.suspicious(found, META_PAGES - 1):
            self.check_length()
        return found

    def check_length(self) -> None:
        """Refuse a data file that lacks a page in use, by plain reads."""
        with self._reading() as descriptor:
            while not self._proved(descriptor):
                pass

    def newest_meta(self) -> MetaPage:
        """The newest meta page of the data file."""
        with self._reading() as descriptor:
            return newest_meta(descriptor, self.data)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[int]:
        with using_files(self._folder):
            descriptor = os.open(self.data, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def _proved(self, descriptor: int) -> bool:
        """True if the file is long enough, False if it changed while that was found out."""
        meta = newest_meta(descriptor, self.data)
        self._page_size, self.bytes_needed = meta.page_size, meta.bytes_needed
        size = os.fstat(descriptor).st_size
        if size >= meta.bytes_needed or self._short == (meta.transaction, size):
            return True
        try:
            whole = is_whole(descriptor, meta, size, self.data)
        except CorruptObject:
            whole = False
        if newest_meta(descriptor, self.data).transaction != meta.transaction:
            return False
        if not whole:
            raise CorruptObject(
                f"{self.data} is cut off: {size} bytes, where its last page ends at "
                f"{meta.bytes_needed}",
                where=self.data,
                fix=RESTORE_OR_SALVAGE,
            )
        self._short = (meta.transaction, size)
        return True

    def check_replaced(self, consequence: str) -> None:
        """Refuse to acknowledge a write when other processes see other files."""
        if file_identity(self.data) != self.identity:
            raise self._replaced(self.data, consequence)
        if file_identity(self._lock) != self._lock_identity:
            raise self._replaced(self._lock, consequence)

    def check_room(self, room: int) -> None:
        """Refuse early what the disk has no room for; pages free in the file count as well.

        Raises StoreFull.
        """
        needed = room + room // 4 + RESERVE_BYTES
        with using_files(self._folder):
            on_disk = disk_room(self._folder)
        if on_disk >= needed:
            return
        try:
            with self._reading() as descriptor:
                meta = newest_meta(descriptor, self.data)
                free = sum(free_pages(descriptor, meta, self.data)) * meta.page_size
        except CorruptObject:
            # The free list changed while it was read, or is damaged: the write itself will tell.
            return
        if on_disk + free < needed:
            raise disk_full(self._folder)

    def _missing(self) -> CorruptObject:
        return CorruptObject(f"{self.data} is missing", where=self.data, fix=RESTORE)

    def _replaced(self, path: str, consequence: str) -> CorruptObject:
        return CorruptObject(
            f"{path} was replaced or removed while the store was open: {consequence}",
            where=path,
            fix="close every program that uses this store, then: cas fsck --full",
        )
