"""Storing a folder: files in groups that span folders, and trees from the leaves up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from castore.content.folders import FolderScan, Rules, no_loop
from castore.content.leaves import Leaf, Run, Taken, divide
from castore.content.stamps import Remembered
from castore.content.trees import Row, build_tree, join_pages, leaf_page
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id
from castore.model.pages import TREE, Branching

Page: TypeAlias = tuple[str, Id, bytes]
"""The path of a folder below the root ("" or ending in `/`), the id of a page of it, its bytes."""

_GROUP_FILES: Final = 1024
_GROUP_FOLDERS: Final = 1024


class Intake(Protocol):
    """Whom a walk hands what it finds."""

    def now(self) -> int:
        """The time in nanoseconds."""
        ...

    def recall(self, keys: Sequence[bytes]) -> list[Remembered | None]:
        """What is remembered under each of these keys."""
        ...

    def remember(self, key: bytes, row: Remembered) -> None:
        """Remember this under the key."""
        ...

    def read(self, runs: Sequence[Run]) -> list[Taken]:
        """Take in the files of these runs."""
        ...

    def rely_on_files(self, run: Run, digests: list[Id]) -> None:
        """Take these files as known: they have the digests that are remembered."""
        ...

    def rely_on_page(self, id: Id, payload: Callable[[], bytes]) -> None:
        """Take a page of a tree as known, since all in it is; `payload` makes its bytes."""
        ...

    def add_pages(self, pages: Sequence[Page]) -> None:
        """Take in pages, each after those it points to."""
        ...


class _Folder:
    """A folder under way: its leaves, and what to do when they are complete."""

    __slots__ = ("above", "leaves", "name", "path")

    def __init__(self, name: str, path: str, leaves: list[Leaf], above: list[Row]) -> None:
        self.name = name.encode()
        self.path = path
        self.leaves = leaves
        self.above = above


class FolderWalk:
    """One walk over a folder, depth first, so that memory holds the open folders only.

    `only` says of a path below the folder whether the file there is taken.
    """

    def __init__(
        self, scan: FolderScan, only: Callable[[str], bool] | None, intake: Intake
    ) -> None:
        self._scan = scan
        self._only = only
        self._intake = intake
        # What is waiting to be looked up and read.
        self._leaves: list[Leaf] = []
        self._files = 0
        # Folders all of whose files are in the group or before it.
        self._complete: list[_Folder] = []

    def run(self) -> TreeContent:
        """Store the folder; raises what scanning and reading raise."""
        top: list[Row] = []
        folder = self._visit("", self._scan.root, "", self._scan.rules, (), top)
        self._complete.append(folder)
        self._resolve()
        _, _, root, size, _ = top[0]
        return TreeContent(root, size)

    def _visit(
        self,
        name: str,
        path: str,
        prefix: str,
        rules: Rules,
        places: tuple[tuple[int, int], ...],
        above: list[Row],
    ) -> _Folder:
        """Put all files below `path` into groups; `above` is where its row goes in the end."""
        listing, rules = self._scan.take(path, prefix, rules, len(places))
        only = self._only
        leaves = divide(listing, path, only and (lambda name: only(prefix + name)))
        for leaf in leaves:
            self._leaves.append(leaf)
            self._files += len(leaf.run.names)
            if self._files >= _GROUP_FILES:
                self._resolve()
        firsts = [leaf.first for leaf in leaves]
        for found in listing.folders:
            place = no_loop(found, places)
            leaf = leaves[max(bisect_right(firsts, found.name.encode()) - 1, 0)]
            below = self._visit(
                found.name, found.path, f"{prefix}{found.name}/", rules, (*places, place),
                leaf.folders,
            )  # fmt: skip
            self._complete.append(below)
            if len(self._complete) >= _GROUP_FOLDERS:
                self._resolve()
        return _Folder(name, prefix, leaves, above)

    def _resolve(self) -> None:
        """Store the files of the group, then the folders that are complete with them."""
        intake = self._intake
        leaves = [leaf for leaf in self._leaves if leaf.run.names]
        self._leaves, self._files = [], 0
        moment = intake.now()
        incomplete: list[tuple[Leaf, Run]] = []
        for leaf, row in zip(leaves, intake.recall([leaf.key for leaf in leaves]), strict=True):
            known, digests, rest = leaf.recall(row, moment)
            if digests:
                intake.rely_on_files(known, digests)
            if rest is not None:
                incomplete.append((leaf, rest))
        runs = [run for _, run in incomplete]
        for (leaf, _), taken in zip(incomplete, intake.read(runs), strict=True):
            leaf.fill(taken)
        complete, self._complete = self._complete, []
        pages: list[Page] = []
        for folder in complete:
            self._close(folder, pages)
        intake.add_pages(pages)

    def _close(self, folder: _Folder, pages: list[Page]) -> None:
        """Add the pages of a folder to `pages`, and its row to those of the folder above."""
        if self._only is None:
            rows = [self._page(folder.path, leaf, pages) for leaf in folder.leaves]
            root, above = join_pages(rows)
            size = sum([row.size for row in rows])
        else:
            entries = [entry for leaf in folder.leaves for entry in leaf.entries()]
            if not entries and folder.name:
                return
            for leaf in folder.leaves:
                self._remember(leaf, b"")
            root, size, above = build_tree(entries)
        pages += [(folder.path, id, payload) for id, payload in above]
        folder.above.append((folder.name, TREE, root, size, 0))

    def _page(self, folder: str, leaf: Leaf, pages: list[Page]) -> Branching:
        row = leaf.known_page()
        if row is not None:
            self._intake.rely_on_page(row.id, leaf.payload)
            return row
        row, payload = leaf_page(leaf.entries())
        pages.append((folder, row.id, payload))
        self._remember(leaf, row.id)
        return row

    def _remember(self, leaf: Leaf, page: Id) -> None:
        remembered = leaf.remembered(page)
        if remembered is not None:
            self._intake.remember(leaf.key, remembered)
