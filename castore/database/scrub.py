"""Scrubbing: zeros wherever nothing lives in the data file, so that erased bytes are nowhere in it.

LMDB never clears anything. Erased rows go on standing in free pages, in the gaps of pages that live
(a row that was taken away, or what a page of memory held before), behind the end of values and
behind the last page. Free pages are written only where LMDB itself would write them next; in
living pages only bytes change that belong to no row, and no other byte of their sector does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from castore.database.datafile import MetaPage, newest_meta
from castore.database.engine import Engine
from castore.database.pages import free_pages, unused_bytes
from castore.errors import Locked
from castore.model.limits import MIB

# Pages looked at while no other process can write.
_SLICE_BYTES: Final = 64 * MIB
_RUN_BYTES: Final = 1 * MIB
_WAIT_SECONDS: Final = 0.05
_WAITS: Final = 200


class Scrubbed(NamedTuple):
    """What was found not to be zero and is now: free pages, gaps in other pages; bytes of both."""

    pages: int
    gaps: int
    bytes: int


def scrub(
    engine: Engine, write: Callable[[], object], *, sleep: Callable[[float], None] = time.sleep
) -> Scrubbed:
    """Clear everything in the data file that nothing leads to; durable on return.

    `write` makes a transaction: what the last one freed may be written to only after another.
    Beside readers and writers: those wait for one slice at a time, of 64 MiB of the file. What an
    older reader may still see is waited for, some ten seconds at most: then Locked is raised, and
    scrubbing again goes on. Raises CorruptObject for a damaged file, of which nothing is changed.
    """
    return _Scrub(engine, write, sleep).run()


class _Scrub:
    def __init__(
        self, engine: Engine, write: Callable[[], object], sleep: Callable[[float], None]
    ) -> None:
        self._engine = engine
        self._write = write
        self._sleep = sleep
        self._free = bytearray()
        self._since = 0
        self._page_size = 0
        self._pages = self._gaps = self._bytes = 0

    def run(self) -> Scrubbed:
        """Gaps first, then free pages, then what lies behind the last page."""
        self._engine.pinned(self._fill_gaps)
        self._write()
        step = max(1, _SLICE_BYTES // self._page_size)
        for start in range(0, len(self._free), step):
            end = min(start + step, len(self._free))
            self._wait(lambda path, a=start, b=end: self._fill_pages(path, a, b))  # type: ignore[misc]
        self._engine.frozen(self._fill_end)
        return Scrubbed(self._pages, self._gaps, self._bytes)

    def _wait(self, fill: Callable[[str], bool]) -> None:
        for _ in range(_WAITS):
            if self._engine.frozen(fill):
                return
            self._sleep(_WAIT_SECONDS)
        raise Locked(
            "a reader that began before still sees what was erased: its pages cannot be cleared",
            fix="end the programs that read this store, then do the same again",
        )

    def _fill_gaps(self, path: str, meta: MetaPage) -> None:
        """Clear the gaps of the pages that are alive now, and note the ones that are free."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._free, parts = unused_bytes(descriptor, meta, path)
            self._page_size, self._since = meta.page_size, meta.transaction
            for at in range(0, len(parts), 2):
                self._zero(descriptor, parts[at], parts[at + 1])
            self._gaps = len(parts) // 2
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _fill_pages(self, path: str, start: int, end: int) -> bool:
        """Clear those of these pages that are free still; False if a reader may see one of them."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            meta = newest_meta(descriptor, path)
            # The rule by which LMDB itself writes a free page: neither a reader nor the meta page
            # before the newest may lead to it.
            oldest = self._engine.oldest_reader()
            bound = meta.transaction if oldest is None else min(oldest, meta.transaction)
            free = free_pages(descriptor, meta, path, before=bound)
            self._fill_runs(descriptor, free, start, end)
            # What somebody took and gave back meanwhile was written anew as a whole.
            held = free_pages(descriptor, meta, path, before=self._since + 1)
            return not any(
                self._free[page] and held[page] and not free[page] for page in range(start, end)
            )
        finally:
            os.close(descriptor)

    def _fill_runs(self, descriptor: int, free: bytearray, start: int, end: int) -> None:
        most = _RUN_BYTES // self._page_size
        page = start
        while page < end:
            if not (self._free[page] and free[page]):
                page += 1
                continue
            first = page
            while page < end and page - first < most and self._free[page] and free[page]:
                page += 1
            at, size = first * self._page_size, (page - first) * self._page_size
            data = os.pread(descriptor, size, at)
            if data.count(0) != len(data):
                self._zero(descriptor, at, len(data))
                self._pages += page - first
            self._free[first:page] = bytes(page - first)
        os.fdatasync(descriptor)

    def _fill_end(self, path: str) -> None:
        """Clear what transactions that were never committed wrote behind the last page."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            at = newest_meta(descriptor, path).bytes_needed
            size = os.fstat(descriptor).st_size
            while at < size:
                self._zero(descriptor, at, min(_RUN_BYTES, size - at))
                at += _RUN_BYTES
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _zero(self, descriptor: int, offset: int, size: int) -> None:
        self._bytes += size
        while size > 0:
            written = os.pwrite(descriptor, bytes(size), offset)
            offset += written
            size -= written
