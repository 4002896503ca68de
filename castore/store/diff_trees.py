"""Folder diffs: which files differ between two stored folders, reading only pages that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from castore.content.trees import WALKED_ENTRIES, too_many_entries
from castore.errors import CorruptObject
from castore.model.ids import Id
from castore.model.limits import FOLDER_DEPTH
from castore.model.pages import TREE, Branching, Entry, decode_tree

ReadPage = Callable[[Id], bytes]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs: `path` inside the folder; `old` or `new` is None where it is not.

    An empty folder that appeared or went stands for itself, with a `/` at the end of its path.
    """

    path: str
    old: Entry | None
    new: Entry | None

    @property
    def change(self) -> str:
        """Added, removed, changed, or mode when only the executable bit differs."""
        if self.old is None:
            return "added"
        if self.new is None:
            return "removed"
        return "mode" if self.old.id == self.new.id else "changed"

    def as_json(self) -> dict[str, Any]:
        """The change as data; digests are hex, of an empty folder null."""
        return {
            "path": self.path,
            "change": self.change,
            "old": _side(self.old),
            "new": _side(self.new),
        }


class _Page(NamedTuple):
    """A page not yet read; `level` is its own, -1 while unknown."""

    name: bytes
    id: Id
    level: int


_Item = Entry | _Page


def diff_folders(read_page: ReadPage, old: Id | None, new: Id | None) -> Iterator[FileChange]:
    """The files that differ between two folders, by path; None is no folder at all.

    Pages that both sides share are not read. Raises CorruptObject, ObjectNotFound, InvalidInput
    for more changes than WALKED_ENTRIES.
    """
    for count, change in enumerate(_folders(read_page, old, new, b"", 0)):
        if count >= WALKED_ENTRIES:
            raise too_many_entries()
        yield change


def _folders(
    read_page: ReadPage, old: Id | None, new: Id | None, prefix: bytes, depth: int
) -> Iterator[FileChange]:
    if depth > FOLDER_DEPTH:
        raise CorruptObject(f"tree: folders nested deeper than {FOLDER_DEPTH}")
    for before, after in _entries(read_page, old, new):
        name = (after or before or _NOTHING).name
        path = prefix + name
        left, right = before, after
        if left is not None and left.kind == TREE and right is not None and right.kind == TREE:
            yield from _folders(read_page, left.id, right.id, path + b"/", depth + 1)
            continue
        for side, is_old in ((left, True), (right, False)):
            if side is not None and side.kind == TREE:
                yield from _whole(read_page, side, path, depth, is_old=is_old)
        old_file = left if left is not None and left.kind != TREE else None
        new_file = right if right is not None and right.kind != TREE else None
        if old_file is not None or new_file is not None:
            yield FileChange(path.decode(), old_file, new_file)


def _whole(
    read_page: ReadPage, folder: Entry, path: bytes, depth: int, *, is_old: bool
) -> Iterator[FileChange]:
    old, new = (folder.id, None) if is_old else (None, folder.id)
    empty = True
    for change in _folders(read_page, old, new, path + b"/", depth + 1):
        empty = False
        yield change
    if empty:
        yield FileChange(
            path.decode() + "/", folder if is_old else None, None if is_old else folder
        )


_NOTHING = Entry(b"", TREE, b"", 0, 0)


def _entries(
    read_page: ReadPage, old: Id | None, new: Id | None
) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Entries of one folder that differ, side by side, in order of their names."""
    left: list[_Item] = [_Page(b"", old, -1)] if old else []
    right: list[_Item] = [_Page(b"", new, -1)] if new else []
    while left or right:
        a, b = left[-1] if left else None, right[-1] if right else None
        if _same(a, b):
            left.pop()
            right.pop()
        elif _open_left(a, b):
            _open(read_page, left)
        elif _open_right(a, b):
            _open(read_page, right)
        else:
            # Neither side hides a smaller name in a page; a page here begins with a greater one.
            before = a if isinstance(a, Entry) and (b is None or a.name <= b.name) else None
            after = b if isinstance(b, Entry) and (a is None or b.name <= a.name) else None
            if before is not None:
                left.pop()
            if after is not None:
                right.pop()
            yield before, after


def _same(a: _Item | None, b: _Item | None) -> bool:
    if isinstance(a, _Page) and isinstance(b, _Page):
        return a.id == b.id
    return isinstance(a, Entry) and a == b


def _open_left(a: _Item | None, b: _Item | None) -> bool:
    """Whether the page on the left must be read now: it may hold the next name."""
    if not isinstance(a, _Page):
        return False
    if b is None or a.level < 0:
        return True
    if isinstance(b, _Page):
        return a.name < b.name or (a.name == b.name and a.level >= b.level >= 0)
    return a.name <= b.name


def _open_right(a: _Item | None, b: _Item | None) -> bool:
    if not isinstance(b, _Page):
        return False
    if a is None or b.level < 0 or isinstance(a, _Page):
        return True
    return b.name <= a.name


def _open(read_page: ReadPage, stack: list[_Item]) -> None:
    page = stack.pop()
    assert isinstance(page, _Page)
    decoded = decode_tree(read_page(page.id))
    if page.level >= 0 and decoded.level != page.level:
        raise CorruptObject(
            f"tree {page.id.hex()}: a page of level {decoded.level} in the wrong place"
        )
    for row in reversed(decoded.entries):
        if isinstance(row, Branching):
            stack.append(_Page(row.name, row.id, decoded.level - 1))
        elif isinstance(row, Entry):
            stack.append(row)


def _side(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    if entry.kind == TREE:
        return {"digest": None, "size": entry.size, "executable": False}
    return {"digest": entry.id.hex(), "size": entry.size, "executable": bool(entry.mode)}
