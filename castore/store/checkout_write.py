"""Writing of a checkout: the files of one artifact after the other, into a fresh folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from castore.content.runs import Piece
from castore.content.trees import WALKED_ENTRIES, iter_tree, too_many_entries
from castore.errors import CorruptObject
from castore.model.artifact_set import Artifact, FileContent, TreeContent
from castore.model.ids import Id
from castore.model.limits import FOLDER_DEPTH
from castore.model.pages import FILE, TREE, Entry
from castore.store.materialise import FolderWriter, check_component, write_error
from castore.store.prefetch import Prefetch
from castore.store.store import Store

_REPORT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """One artifact as written: its name, its place below the destination, its bytes and files."""

    artifact: str
    path: str
    size: int
    files: int


class ArtifactWriter:
    """Writes artifacts into a fresh folder and counts what it wrote."""

    def __init__(self, store: Store, folder: int, progress: Callable[[int], None] | None) -> None:
        self._reader = store.reader
        self._prefetch = Prefetch(store.database, store.reader)
        self._into = FolderWriter(folder)
        self._progress = progress
        self._untold = 0
        self._entries = 0
        self._file_count = 0
        self._bytes = 0

    def artifact(self, artifact: Artifact) -> Written:
        """Write one stored artifact at its place."""
        self._file_count = self._bytes = 0
        content = artifact.content
        components = artifact.path.encode().split(b"/")
        if isinstance(content, TreeContent):
            self._folder(content.id, content.size, components)
        elif isinstance(content, FileContent):
            *folder, name = components
            file = Entry(name, FILE, content.digest, content.size, content.mode)
            (pieces,) = self._prefetch.read([(file.id, file.size)])
            self._file(self._enter(folder), folder, file, pieces)
        return Written(artifact.name, artifact.path, self._bytes, self._file_count)

    def close(self) -> None:
        """Close what is open and tell the last of the progress."""
        self._prefetch.close()
        self._into.close()
        self._tell(0, last=True)

    def _folder(self, root: Id, size: int, components: list[bytes]) -> None:
        """Write a folder; `size` is what its files are said to have."""
        rows, ahead = itertools.tee(self._rows(root, size, components))
        files = self._prefetch.read((file.id, file.size) for _, file in ahead if file is not None)
        for path, file in rows:
            if file is None:
                folder = self._enter(path)
            else:
                self._file(folder, path, file, next(files))

    def _rows(
        self, root: Id, size: int, components: list[bytes]
    ) -> Iterator[tuple[list[bytes], Entry | None]]:
        """A folder, with None, and the files in it, then the folders in it in the same way."""
        if len(components) > FOLDER_DEPTH:
            raise CorruptObject(f"tree: folders nested deeper than {FOLDER_DEPTH}", id=root.hex())
        folders: list[Entry] = []
        found = 0
        yield components, None
        for entry in iter_tree(self._reader.tree_page, root):
            self._entries += 1
            if self._entries > WALKED_ENTRIES:
                raise too_many_entries()
            found += entry.size
            if entry.kind == TREE:
                folders.append(entry)
            else:
                yield components, entry
        if found != size:
            raise CorruptObject(
                f"folder {_place(components)!r} is not of the {size} bytes it is said to be",
                id=root.hex(),
            )
        for entry in folders:
            check_component(entry.name, components)
            yield from self._rows(entry.id, entry.size, [*components, entry.name])

    def _enter(self, components: list[bytes]) -> int:
        try:
            return self._into.enter(components)
        except OSError as error:
            raise write_error(error, _place(components)) from None

    def _file(
        self, folder: int, components: list[bytes], file: Entry, pieces: Iterable[Piece]
    ) -> None:
        """Write a file into an entered folder."""
        check_component(file.name, components)
        try:
            self._into.write(folder, file.name, pieces, file.mode, self._count)
        except OSError as error:
            raise write_error(error, _place([*components, file.name])) from None
        self._file_count += 1

    def _count(self, written: int) -> None:
        self._bytes += written
        self._tell(written)

    def _tell(self, written: int, *, last: bool = False) -> None:
        self._untold += written
        if self._progress is not None and self._untold and (last or self._untold >= _REPORT_BYTES):
            self._progress(self._untold)
            self._untold = 0


def _place(components: Sequence[bytes]) -> str:
    return b"/".join(components).decode()
