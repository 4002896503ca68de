"""The folder that a new one is likely to be much like: where its pages and files find their bases.

A new page goes with the old one that covers the same folder, level and first name. Only what leads
there is read, so the work is that of the pages that changed, not of the folder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, NamedTuple

from castore.content.blocks import block_depth, decode_block
from castore.content.chains import UNFIT
from castore.content.delta_encoder import Base
from castore.content.deltas import Load, block_place
from castore.content.moved import FindMoved, MovedFiles, plain_name
from castore.content.reader import ObjectReader
from castore.model.artifact_set import FileContent
from castore.model.ids import Id
from castore.model.pages import FILE, TREE, Branching, Entry, tree_head, tree_level, tree_rows

PAGE_DEPTH: Final = 16
"""How deep deltas of pages lie at most: reading one costs about 0.06 ms for each below it."""
_KEPT_PAGES: Final = 64
_KEPT_FOLDERS: Final = 4096


class _Kept(NamedTuple):
    """A page of a folder: its rows as they are encoded, and their names."""

    level: int
    rows: list[list[Any]]
    names: list[bytes]


class EarlierFolder:
    """Finds bases in one stored folder; nothing is read, `find_root` included, before it is asked.

    What is damaged or was collected is no base, and no error. `load` finds what `reader` reads,
    `elsewhere` files that were not in this folder.
    """

    def __init__(
        self,
        reader: ObjectReader,
        load: Load,
        find_root: Callable[[], Id | None],
        elsewhere: FindMoved | None = None,
    ) -> None:
        self._reader = reader
        self._load = load
        self._find_root = find_root
        self._kept: OrderedDict[Id, _Kept] = OrderedDict()
        self._folders: dict[str, Id | None] = {}
        self._elsewhere = elsewhere
        self._moved: MovedFiles | None = None

    def base_of(self, folder: str, id: Id, payload: bytes) -> Base | None:
        """A base for a new page of the folder at this path ("" or ending in `/`), if there is one.

        One that lies too deep is passed over for the block without bases below it.
        """
        level, first = tree_head(payload)
        try:
            root = self._folder(folder)
            found = self._covering(root, level, first) if root else None
            return self._as_base(*found) if found and found[0] != id else None
        except UNFIT:
            return None

    def file_at(self, path: str, size: int) -> FileContent | None:
        """The file that was at this path, relative to the folder; else one that may have moved.

        Folders on the way may have other numbers in their names.
        """
        above, _, name = path.rpartition("/")
        try:
            root = self._folder(above + "/" if above else "")
            entry = self._entry(root, name.encode()) if root else None
        except UNFIT:
            return None
        if entry is not None:
            return FileContent(entry.id, entry.size) if entry.kind == FILE else None
        if self._moved is None:
            self._moved = self._all_files()
        found = self._moved.nearest(path.encode(), size)
        return self._elsewhere(path, size) if found is None and self._elsewhere else found

    def _all_files(self) -> MovedFiles:
        """Every file of the folder; none of one of very many."""
        moved = MovedFiles()
        try:
            root = self._folder("")
            if root is not None:
                moved.add_folder(self._reader, root)
        except UNFIT:
            return MovedFiles()
        return moved

    def _folder(self, path: str) -> Id | None:
        """The root page of the old folder at this path."""
        if path in self._folders:
            return self._folders[path]
        found = self._find_root() if not path else self._below(path)
        if len(self._folders) >= _KEPT_FOLDERS:
            self._folders.clear()
        self._folders[path] = found
        return found

    def _below(self, path: str) -> Id | None:
        above, _, name = path[:-1].rpartition("/")
        root = self._folder(above + "/" if above else "")
        if root is None:
            return None
        entry = self._entry(root, name.encode())
        if entry is None:
            return self._renamed(root, name.encode())
        return entry.id if entry.kind == TREE else None

    def _renamed(self, root: Id, name: bytes) -> Id | None:
        """The folder whose name differs in numbers only, as that of a release: the one before it.

        Else the next one behind, in the same page.
        """
        leaf = self._leaf(root, name)
        if leaf is None:
            return None
        plain, at = plain_name(name), bisect_right(leaf.names, name)
        for row in chain(reversed(leaf.rows[:at]), leaf.rows[at:]):
            entry = Entry(*row)
            if entry.kind == TREE and plain_name(entry.name) == plain:
                return entry.id
        return None

    def _entry(self, root: Id, name: bytes) -> Entry | None:
        """The entry of this name in the folder with this root page."""
        leaf = self._leaf(root, name)
        if leaf is None:
            return None
        at = bisect_right(leaf.names, name) - 1
        return Entry(*leaf.rows[at]) if at >= 0 and leaf.names[at] == name else None

    def _leaf(self, root: Id, name: bytes) -> _Kept | None:
        """The page of entries in the folder with this root page where this name would stand."""
        kept = self._kept.get(root)
        if kept is None or kept.level:
            found = self._covering(root, 0, name)
            kept = self._decoded(*found) if found is not None else None
        return kept

    def _covering(self, root: Id, level: int, first: bytes) -> tuple[Id, bytes] | None:
        """The page of this level in a folder in which a row of this name would stand."""
        id, payload = root, self._reader.tree_page(root)
        above = tree_level(payload)
        while above > level:
            _, rows, names = self._decoded(id, payload)
            id = Branching(*rows[max(bisect_right(names, first) - 1, 0)]).id
            payload = self._reader.tree_page(id)
            if tree_level(payload) != above - 1:
                return None
            above -= 1
        return (id, payload) if above == level else None

    def _decoded(self, id: Id, payload: bytes) -> _Kept:
        kept = self._kept.get(id)
        if kept is None:
            level, rows = tree_rows(payload)
            kept = self._kept[id] = _Kept(level, rows, [row[0] for row in rows])
            if len(self._kept) > _KEPT_PAGES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(id)
        return kept

    def _as_base(self, id: Id, payload: bytes) -> Base | None:
        stored = self._load(id)
        depth = block_depth(stored.block)
        if depth < PAGE_DEPTH:
            return Base(id, payload, depth)
        while depth:
            block = decode_block(stored.block, block_place(stored.block_number))
            if len(block.bases) != 1:
                return None
            id = block.bases[0]
            stored = self._load(id)
            depth = block_depth(stored.block)
        return Base(id, self._reader.tree_page(id), 0)
