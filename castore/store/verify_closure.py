"""Whether everything that versions need is there: manifests, sets, folders, files, chunks."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final, NamedTuple

from castore.content.layouts import iter_parts, layout_size
from castore.database.reading import Reading
from castore.database.tables import ObjectRow, State
from castore.errors import CastoreError
from castore.model.artifact_set import ExternalContent, FileContent, decode_set
from castore.model.ids import Id, Kind, short
from castore.model.limits import FOLDER_DEPTH
from castore.model.manifest import Manifest
from castore.model.pages import TREE, Branching, TreePage, decode_tree
from castore.store.store import Store
from castore.store.verify_report import LOST, Findings
from castore.store.version import Version

_BATCH: Final = 1024


class _File(NamedTuple):
    digest: Id
    size: int


class FolderPage(NamedTuple):
    """A folder page to look at, and the entries and bytes that are said to be below it, or -1.

    `inner` is 1 if it begins a folder in the one before, 0 if it goes on with that.
    """

    id: Id
    entries: int
    size: int
    inner: int


class Marks:
    """Objects seen, by block and place: a bit for each, not an id (118 bytes in a Python set).

    Blocks from number `limit` on, where a damaged row may lead, take more.
    """

    def __init__(self, limit: int = 1 << 32) -> None:
        self._limit = limit
        self._first = bytearray()
        self._others: dict[int, int] = {}

    def add(self, row: ObjectRow) -> bool:
        """Mark an object; whether it was not marked before."""
        if row.slot == 0 and row.block < self._limit:
            at, bit = row.block >> 3, 1 << (row.block & 7)
            if at >= len(self._first):
                self._first.extend(bytes(at + 1 - len(self._first) + 4096))
            if self._first[at] & bit:
                return False
            self._first[at] |= bit
            return True
        seen = self._others.get(row.block, 0)
        if seen >> row.slot & 1:
            return False
        self._others[row.block] = seen | 1 << row.slot
        return True


class Heights:
    """How many folders are nested in folder pages, by block and place: a byte for each, or none."""

    def __init__(self) -> None:
        self._rows: dict[int, bytearray] = {}

    def note(self, row: ObjectRow, height: int) -> None:
        """Remember a height, of which 255 and more is the same."""
        if height:
            found = self._rows.setdefault(row.block, bytearray())
            found.extend(bytes(max(0, row.slot + 1 - len(found))))
            found[row.slot] = min(height, 255)

    def of(self, row: ObjectRow) -> int:
        """The height that was noted, else 0."""
        found = self._rows.get(row.block, b"")
        return found[row.slot] if row.slot < len(found) else 0


class ClosureCheck:
    """Checks versions one by one; what several of them share is looked at once.

    With `content`, each file is read and its digest compared, too. Folder pages
    that are `sound`, of which the same is said, are not looked at again.
    """

    def __init__(
        self,
        store: Store,
        findings: Findings,
        *,
        content: bool = False,
        sound: Container[FolderPage] = (),
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._findings = findings
        self._sound = sound
        self._content = content
        self._progress = progress
        self._seen = Marks()
        self._heights = Heights()

    def version(self, version: Version) -> None:
        """Check a version whose manifest was read: number, parents, set, and what they hold."""
        manifest = version.manifest
        self._findings.count("versions")
        self._parents(version)
        held = [digest for _, digest in manifest.spec.files]
        held += [manifest.spec.source] if manifest.spec.source else []
        self._files([_File(digest, -1) for digest in held], version.label)
        attached = [_File(digest, size) for _, digest, size in manifest.attachments]
        self._files(attached, version.label)
        forgotten = self._store.database.read(lambda tables: tables.forgotten(version.id))
        if forgotten is None:
            self._set(manifest.set, version.label)

    def manifest(self, id: Id, where: str) -> Manifest | None:
        """The manifest of this id, or None with a finding."""
        try:
            return self._store.near_reader.manifest(id)
        except CastoreError as error:
            self._findings.add(id, "manifest", where, error.message)
            return None

    def _parents(self, version: Version) -> None:
        manifest = version.manifest
        for index, parent in enumerate(manifest.parents):
            row = self.row(parent)
            if row is None or row.state is not State.STORED:
                if not self._excused(row):
                    detail = f"a parent {'is missing' if row is None else 'was lost'}"
                    self._findings.add(parent, "manifest", version.label, detail)
                continue
            found = self.manifest(parent, f"parent of {version.label}")
            if found is None:
                continue
            if index == 0 and found.number + 1 != manifest.number:
                detail = f"number {manifest.number}, though its first parent has {found.number}"
                self._findings.add(version.id, "manifest", version.label, detail)
            if manifest.complete and not found.complete:
                detail = f"complete, though its parent {short(parent)} is a partial version"
                self._findings.add(version.id, "manifest", version.label, detail)

    def _set(self, id: Id, where: str) -> None:
        row = self._needed(id, Kind.SET, where)
        if row is None or not self._seen.add(row):
            return
        self._findings.count("sets")
        try:
            members = decode_set(self._store.near_reader.payload(id, Kind.SET))
        except CastoreError as error:
            self._findings.add(id, "set", where, error.message)
            return
        files: list[_File] = []
        for artifact in members.artifacts:
            content = artifact.content
            if isinstance(content, FileContent):
                files.append(_File(content.digest, content.size))
            elif not isinstance(content, ExternalContent):
                self._folders(content.id, content.size, f"{where}:{artifact.name}")
        self._files(files, where)

    def _folders(self, root: Id, size: int, where: str) -> None:
        """Check all pages below a folder; on the way back they tell how deep it is nested."""
        stack: list[tuple[FolderPage, ObjectRow | None]] = [(FolderPage(root, -1, size, 0), None)]
        nested = [0]
        while stack:
            page, done = stack.pop()
            if page in self._sound:
                continue
            if done is not None:
                height = nested.pop()
                self._heights.note(done, height)
            else:
                row = self._needed(page.id, Kind.TREE, where)
                if row is not None and self._seen.add(row):
                    stack.append((page, row))
                    stack += [(below, None) for below in self._page(page, where)]
                    nested.append(0)
                    continue
                height = self._heights.of(row) if row is not None else 0
            nested[-1] = max(nested[-1], height + page.inner)
        if nested[0] >= FOLDER_DEPTH:
            self._findings.add(root, "tree", where, f"folders nested deeper than {FOLDER_DEPTH}")

    def _page(self, page: FolderPage, where: str) -> list[FolderPage]:
        """Check one page and its files; the pages below it."""
        self._findings.count("folder pages")
        try:
            decoded = decode_tree(self._store.near_reader.tree_page(page.id))
        except CastoreError as error:
            self._findings.add(page.id, "tree", where, error.message)
            return []
        self._claims(page, decoded, where)
        files = [
            _File(entry.id, entry.size)
            for entry in decoded.entries
            if not isinstance(entry, Branching) and entry.kind != TREE
        ]
        self._files(files, where)
        return pages_below(decoded)

    def _claims(self, page: FolderPage, decoded: TreePage, where: str) -> None:
        rows = decoded.entries
        entries = sum(row.entries if isinstance(row, Branching) else 1 for row in rows)
        size = sum(row.size for row in rows)
        if size != page.size or page.entries not in (-1, entries):
            detail = f"{entries} entries and {size} bytes, not what is said of it where it is named"
            self._findings.add(page.id, "tree", where, detail)

    def _files(self, files: Sequence[_File], where: str) -> None:
        rows = self._rows([file.digest for file in files])
        for file, found in zip(files, rows, strict=True):
            row = self._checked(file.digest, found, None, where)
            if row is None or not self._seen.add(row):
                continue
            self._findings.count("files")
            if self._content:
                self._read(file, row, where)
            elif row.kind is Kind.LAYOUT:
                self._layout(file, where)

    def _layout(self, file: _File, where: str) -> None:
        """Whether every chunk of a big file is stored; the chunks are not read."""
        reader = self._store.near_reader
        try:
            root = reader.layout_root(file.digest) or b""
            if file.size not in (-1, layout_size(root)):
                detail = f"{layout_size(root)} bytes, not {file.size}"
                self._findings.add(file.digest, "layout", where, detail)
            chunks: list[Id] = []
            for part in iter_parts(reader.layout_page, root):
                chunks.append(part.id)
                if len(chunks) >= _BATCH:
                    self._chunks(chunks, where)
                    chunks = []
            self._chunks(chunks, where)
        except CastoreError as error:
            self._findings.add(file.digest, "layout", where, error.message)

    def _chunks(self, chunks: Sequence[Id], where: str) -> None:
        for id, row in zip(chunks, self._rows(chunks), strict=True):
            self._checked(id, row, Kind.CHUNK, where)

    def _read(self, file: _File, row: ObjectRow, where: str) -> None:
        reader = self._store.near_reader
        try:
            size = file.size
            if size < 0:
                root = reader.layout_root(file.digest)
                size = layout_size(root) if root else len(reader.payload(file.digest, row.kind))
            for piece in reader.stream(file.digest, size):
                if self._progress is not None:
                    self._progress(len(piece))
        except CastoreError as error:
            self._findings.add(file.digest, _word(row.kind), where, error.message)

    def row(self, id: Id) -> ObjectRow | None:
        """The row of an object; a malformed one is a finding, and none."""
        return self._rows([id])[0]

    def _rows(self, ids: Iterable[Id]) -> list[ObjectRow | None]:
        """Rows of many objects from one view; a malformed one is a finding."""

        def read(tables: Reading) -> list[ObjectRow | None]:
            found: list[ObjectRow | None] = []
            for id in ids:
                try:
                    found.append(tables.object_row(id))
                except CastoreError as error:
                    self._findings.add(id, "table", "objects", error.message)
                    found.append(None)
            return found

        return self._store.database.read(read)

    def _needed(self, id: Id, kind: Kind, where: str) -> ObjectRow | None:
        return self._checked(id, self.row(id), kind, where)

    def _checked(
        self, id: Id, row: ObjectRow | None, kind: Kind | None, where: str
    ) -> ObjectRow | None:
        """The row if the object is stored and of this kind (None: a file), else a finding."""
        if row is None or row.state is not State.STORED:
            if not self._excused(row):
                state = "is missing" if row is None else LOST
                self._findings.add(id, _word(kind) if kind else "chunk", where, state)
            return None
        allowed = (kind,) if kind else (Kind.CHUNK, Kind.LAYOUT)
        if row.kind not in allowed:
            detail = f"is a {_word(row.kind)} where a {_word(allowed[0])} is needed"
            self._findings.add(id, _word(row.kind), where, detail)
            return None
        return row

    @staticmethod
    def _excused(row: ObjectRow | None) -> bool:
        """Whether an absent object says why: promised by a remote, or purged."""
        return row is not None and row.state in (State.PROMISED, State.PURGED)


def pages_below(page: TreePage) -> list[FolderPage]:
    """The pages that one names, and what it says of them."""
    below: list[FolderPage] = []
    for entry in page.entries:
        if isinstance(entry, Branching):
            below.append(FolderPage(entry.id, entry.entries, entry.size, 0))
        elif entry.kind == TREE:
            below.append(FolderPage(entry.id, -1, entry.size, 1))
    return below


def _word(kind: Kind) -> str:
    return kind.name.lower()
