"""Storing a folder: files in groups that span folders, and trees from the leaves up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from castore.content.folders import FolderScan, Found, Rules, no_loop
from castore.content.trees import Row, build_tree
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id, Kind
from castore.model.pages import FILE, TREE

Stored: TypeAlias = tuple[Id, int, int]
"""Digest, size and mode of a stored file."""

_GROUP_FILES: Final = 1024
_GROUP_FOLDERS: Final = 1024


class FolderWalk:
    """One walk over a folder, depth first, so that memory holds the open folders only."""

    def __init__(
        self,
        scan: FolderScan,
        only: Callable[[str], bool] | None,
        add_files: Callable[[Sequence[Found]], list[Stored]],
        add_objects: Callable[[Sequence[tuple[Kind, Id, bytes]]], None],
    ) -> None:
        self._scan = scan
        self._only = only
        self._add_files = add_files
        self._add_objects = add_objects
        self._files: list[Found] = []
        self._rows: list[list[Row]] = []
        # Folders all of whose files are in the group or before it: rows, name, rows of the parent.
        self._complete: list[tuple[list[Row], bytes, list[Row]]] = []

    def run(self) -> TreeContent:
        """Store the folder; raises what scanning and reading raise."""
        top: list[Row] = []
        rows = self._visit(self._scan.root, "", self._scan.rules, ())
        self._resolve()
        self._close(rows, b"", top, keep=True)
        _, _, root, size, _ = top[0]
        return TreeContent(root, size)

    def _visit(
        self, path: str, prefix: str, rules: Rules, above: tuple[tuple[int, int], ...]
    ) -> list[Row]:
        """Put all files below `path` into groups; the rows of this folder are filled later."""
        listing, rules = self._scan.take(path, prefix, rules, len(above))
        rows: list[Row] = []
        only = self._only
        files = listing.files
        if only is not None:
            files = [found for found in files if only(prefix + found.name)]
        start = 0
        while start < len(files):
            some = files[start : start + _GROUP_FILES - len(self._files)]
            start += len(some)
            self._files += some
            self._rows += [rows] * len(some)
            if len(self._files) >= _GROUP_FILES:
                self._resolve()
        for found in listing.folders:
            place = no_loop(found.path, found.stat, above)
            below = self._visit(found.path, f"{prefix}{found.name}/", rules, (*above, place))
            self._complete.append((below, found.name.encode(), rows))
            if len(self._complete) >= _GROUP_FOLDERS:
                self._resolve()
        return rows

    def _resolve(self) -> None:
        """Store the files of the group, then the folders that are complete with them."""
        files, targets = self._files, self._rows
        self._files, self._rows = [], []
        for found, rows, (digest, size, mode) in zip(
            files, targets, self._add_files(files), strict=True
        ):
            rows.append((found.name.encode(), FILE, digest, size, mode))
        complete, self._complete = self._complete, []
        for below, name, rows in complete:
            self._close(below, name, rows, keep=self._only is None)

    def _close(self, below: list[Row], name: bytes, rows: list[Row], *, keep: bool) -> None:
        """Store a folder with these rows and name it in its parent's; empty ones unless `keep`."""
        if below or keep:
            built = build_tree(below)
            self._add_objects([(Kind.TREE, id, payload) for id, payload in built.pages])
            rows.append((name, TREE, built.root, built.size, 0))
