"""Leaves: the entries of a folder that make one page of its tree, known again together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain, pairwise, repeat
from operator import itemgetter
from typing import Final, NamedTuple

from castore.content.folders import Listing, listed_names
from castore.content.stamps import (
    MODE,
    SIZE,
    STAMP_BYTES,
    Remembered,
    cache_key,
    choose,
    column,
    each_id,
    each_stamp,
    keep_settled,
    remember_all,
)
from castore.content.trees import Row, cut_names, leaf_page
from castore.model.ids import Id, content_id
from castore.model.limits import ID_BYTES, TREE_ENTRIES
from castore.model.pages import FILE, Branching

_BY_NAME: Final = itemgetter(0)


class Run(NamedTuple):
    """Files of one folder: where it is, their names, sorted, and their stamps, packed.

    `elsewhere` has the paths of those that a link led to.
    """

    folder: str
    names: Sequence[str]
    stamps: bytes
    elsewhere: dict[str, str]

    def paths(self) -> list[str]:
        """The path of each file."""
        folder, elsewhere = self.folder, self.elsewhere
        if not elsewhere:
            return [f"{folder}/{name}" for name in self.names]
        return [elsewhere.get(name) or f"{folder}/{name}" for name in self.names]

    def size(self) -> int:
        """The bytes of all these files."""
        return sum(column(self.stamps, SIZE))

    def only(self, kept: Sequence[bool]) -> Run:
        """The files for which `kept` is true."""
        names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        stamps = [one for one, keep in zip(each_stamp(self.stamps), kept, strict=True) if keep]
        return self._replace(names=names, stamps=b"".join(stamps))


class Taken(NamedTuple):
    """The digests of the files of a run; size and mode of those that were not as the scan said."""

    digests: list[Id]
    changed: dict[int, tuple[int, int]]


class Recalled(NamedTuple):
    """Files that are remembered, their digests, and the run of those that are not; None: a whole
    leaf is remembered, and complete.
    """

    known: Run
    digests: list[Id]
    rest: Run | None


class Leaf:
    """The files of one leaf, and the rows of the folders in it, which come later.

    With `only`, files it refuses are there and not taken, and there is no page.
    """

    __slots__ = (
        "_changed", "_digests", "_found", "_moment", "_names", "_others", "_page", "_partly",
        "_unread", "first", "folders", "key", "run",
    )  # fmt: skip

    def __init__(
        self, key: bytes, first: bytes, run: Run, only: Callable[[str], bool] | None = None
    ) -> None:
        self.key = key
        self.folders: list[Row] = []
        self._partly = only is not None
        # Files that are there and not taken, and what is remembered of them.
        self._others: dict[bytes, tuple[bytes, Id]] = {}
        if only is not None:
            kept = [only(name) for name in run.names]
            refused = [name for name, keep in zip(run.names, kept, strict=True) if not keep]
            self._others = {name.encode(): (b"", b"") for name in refused}
            run = run.only(kept)
        self.run = run
        self.first = first
        self._names = "\0".join(run.names).encode()
        self._digests = b""
        self._changed: dict[int, tuple[int, int]] = {}
        self._found: list[Id | None] = []
        self._page = b""
        self._moment = 0
        self._unread = False

    def recall(self, row: Remembered | None, moment_ns: int) -> Recalled:
        """Take what is remembered of these files; `moment_ns` is before any is read."""
        run = self.run
        self._moment = moment_ns
        if row is not None and row.names == self._names and row.stamps == run.stamps:
            self._digests, self._page = row.digests, row.page
            return Recalled(run, each_id(row.digests), None)
        nothing = Run(run.folder, (), b"", run.elsewhere)
        if row is None:
            self._found = [None] * len(run.names)
            self._unread = True
            return Recalled(nothing, [], run)
        known, names = row.by_name(), self._names.split(b"\0") if run.names else []
        for name, stamp in zip(names, each_stamp(run.stamps), strict=True):
            was = known.get(name)
            self._found.append(was[1] if was is not None and was[0] == stamp else None)
        self._others = {name: known[name] for name in self._others if name in known}
        hit = [id is not None for id in self._found]
        self._unread = not all(hit)
        digests = [id for id in self._found if id is not None]
        return Recalled(run.only(hit), digests, run.only([not one for one in hit]))

    def fill(self, taken: Taken) -> None:
        """Take what was read of the files that were not remembered."""
        found = self._found
        at = [index for index, id in enumerate(found) if id is None]
        for index, id in zip(at, taken.digests, strict=True):
            found[index] = id
        self._changed = {at[index]: said for index, said in taken.changed.items()}
        self._digests = b"".join([id for id in found if id is not None])
        self._found = []

    def entries(self) -> list[Row]:
        """Files and folders as rows of a tree, sorted by name."""
        stamps = self.run.stamps
        modes = [mode >> 6 & 1 for mode in column(stamps, MODE)]
        names = self._names.split(b"\0") if self.run.names else []
        rows: list[Row] = list(
            zip(names, repeat(FILE), each_id(self._digests), column(stamps, SIZE), modes)
        )
        for index, (size, mode) in self._changed.items():
            rows[index] = (*rows[index][:3], size, mode)
        return sorted(chain(rows, self.folders), key=_BY_NAME) if self.folders else rows

    def known_page(self) -> Branching | None:
        """The row of the page if it is known, since neither files nor folders changed."""
        if not self._page or self._page[ID_BYTES:] != self._below():
            return None
        count, size = len(self.run.names) + len(self.folders), self.run.size()
        for folder in self.folders:
            size += folder[3]
        return Branching(self.first, self._page[:ID_BYTES], count, size)

    def payload(self) -> bytes:
        """The bytes of the page."""
        return leaf_page(self.entries())[1]

    def remembered(self, page: Id = b"") -> Remembered | None:
        """What to remember, with the id of the page if there is one; None: nothing is new."""
        whole = page + self._below() if page else b""
        if not self.run.names or (not self._unread and (self._partly or whole == self._page)):
            return None
        row = Remembered(self._moment, self._names, self.run.stamps, self._digests, whole)
        if self._changed:
            row = choose(row, [index not in self._changed for index in range(len(self.run.names))])
        row = keep_settled(row)
        if not self._partly:
            return row
        rows = {**row.by_name(), **{name: was for name, was in self._others.items() if was[0]}}
        return remember_all(self._moment, rows)

    def _below(self) -> bytes:
        """What stands for the folders of the leaf."""
        rows = [b"%b\0%b%d " % (name, id, size) for name, _, id, size, _ in self.folders]
        return content_id(b"".join(rows))


def divide(listing: Listing, path: str, only: Callable[[str], bool] | None) -> list[Leaf]:
    """The leaves of the folder at `path`, in order; with `only`, of files it takes by name."""
    files = listing.files
    if len(files) + len(listing.folders) <= TREE_ENTRIES:
        names = listed_names(listing)[:1] if listing.folders else files[:1]
        first = names[0].encode() if names else b""
        run = Run(path, files, listing.stamps, listing.elsewhere)
        return [Leaf(cache_key(listing.place, path), first, run, only)]
    pages = cut_names([name.encode() for name in listed_names(listing)])
    starts = [0, *(bisect_left(files, page[0].decode()) for page in pages[1:]), len(files)]
    leaves: list[Leaf] = []
    for page, (start, end) in zip(pages, pairwise(starts), strict=True):
        # The first is found whatever its first name is.
        key = cache_key(listing.place, path, page[0].decode() if leaves else "")
        stamps = listing.stamps[start * STAMP_BYTES : end * STAMP_BYTES]
        run = Run(path, files[start:end], stamps, listing.elsewhere)
        leaves.append(Leaf(key, page[0], run, only))
    return leaves
