"""Each kind of object made wrong in each way, under each reader of a store."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import castore
from castore.content import reader
from castore.content.layouts import iter_parts
from castore.content.trees import find_entry
from castore.database.reading import Reading
from castore.database.tables import State
from castore.errors import CastoreError
from castore.model.artifact_set import FileContent
from castore.model.ids import Id
from castore.store.verify import fsck
from tests.harness import small_store
from tests.harness.children import forked
from tests.harness.corruptions import CORRUPTIONS, Unfit, corrupt
from tests.harness.flips import plant
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.judging import Subject, make_subject
from tests.harness.same import Same

_HEX: Final = re.compile(r"[0-9a-f]{12}|block \d+")


@dataclass(frozen=True, slots=True)
class Material:
    """The store, the objects that are made wrong by what they are, and what is checked out."""

    subject: Subject
    targets: dict[str, Id]
    files: dict[str, dict[str, bytes]]


def _targets(store: castore.Store) -> dict[str, Id]:
    """One object of each kind, and of each way to be stored."""
    first, second = (store.resolve(f"out@v{number}").version for number in (1, 2))
    weekly = store.resolve("weekly@v1").version
    content = {artifact.name: artifact.content for artifact in store.set_of(first).artifacts}
    own, big, deep = (_id(content[name]) for name in ("own.bin", "big.txt", "deep"))
    changed = {artifact.name: artifact.content for artifact in store.set_of(second).artifacts}
    page = store.reader.tree_page
    inner, newer = (_id(find_entry(page, id, b"er")) for id in (deep, _id(changed["deep"])))
    solid = _id(find_entry(page, inner, b"3.txt"))
    delta = _id(find_entry(page, newer, b"7.txt"))
    chunk = next(iter(iter_parts(store.reader.layout_page, store.reader.layout_root(big) or b"")))
    return {
        "chunk": own,
        "chunk of a file": chunk.id,
        "member of a solid block": solid,
        "delta": delta,
        "layout": big,
        "tree": inner,
        "delta of a tree": newer,
        "set": weekly.set_id,
        "manifest": second.id,
        "manifest of a tip": store.resolve("out").version.id,
        "note": min(store.notes(weekly)),
    }


def _id(found: Any) -> Id:
    """The id of a content or an entry."""
    id: Id = found.digest if isinstance(found, FileContent) else found.id
    return id


def _plant(mutant: str) -> None:
    if mutant == "no-digest":
        reader.blake3 = _AnyHash  # type: ignore[misc, assignment]
    elif mutant:
        plant(mutant)


class _AnyHash:
    """A hash that is that of every file."""

    def update(self, data: bytes) -> None:
        """Take nothing in."""

    def digest(self) -> bytes:
        return Same(32)


class Matrix(Harness):
    name = "matrix"
    shows = "an object that is wrong is named by whatever reads it; gc and repack lose nothing more"
    share = 4.0
    mutants: Mapping[str, str] = {
        "no-hash": "objects are not compared with their ids",
        "no-digest": "files are not compared with their digest",
    }

    def prepare(self, seed: int, folder: Path) -> Material:
        subject = make_subject(seed, folder)

        def look() -> tuple[dict[str, Id], dict[str, dict[str, bytes]]]:
            with castore.open(subject.folder) as store:
                files = {}
                for selector in _SELECTORS:
                    store.checkout(selector, folder / "there")
                    files[selector] = _tree(folder / "there")
                    shutil.rmtree(folder / "there")
                return _targets(store), files

        ended = forked(look)
        assert not ended.error, ended.text
        (subject.folder / "lock.mdb").unlink()
        return Material(subject, *ended.value)

    def round(self, scene: Scene) -> int:
        """Some of the matrix; rounds after each other go through all of it."""
        _plant(scene.mutant)
        material: Material = scene.material
        cells = list(itertools.product(sorted(material.targets), CORRUPTIONS))
        if scene.mutant == "no-digest":
            cells = [("layout", "chunks that do not join to it")]
        elif scene.mutant:
            cells = [cell for cell in cells if cell[1] == "other bytes"]
        # Neighbours are alike: seven steps further each time.
        target, how = cells[(scene.seed + 7 * scene.round) % len(cells)]
        place = scene.folder / "store"
        small_store.copy(material.subject.folder, place)
        id = material.targets[target]
        other = next(one for name, one in material.targets.items() if name == "chunk" or one != id)
        if other == id:
            other = material.targets["member of a solid block"]
        try:
            corrupt(place, how, id, other)
        except Unfit:
            return 0
        (place / "lock.mdb").unlink()
        cell = _Cell(material, place, scene.folder, id, f"{target}, {how}")
        for name, look in cell.looks():
            ended = forked(look, self.limit)
            if ended.error:
                text = ended.text.removeprefix("Lost: ")
                raise Lost(f"{target}, {how}: {name}: {text}")
        return len(list(cell.looks()))


# They pass over what is not there, as what was given up is not.
_SUMS: Final = frozenset({"stats", "blame"})
_SELECTORS: Final = ("out@v1", "out@v2", "out@v3", "weekly@v1", "weekly@v2")


class _Cell:
    """One object made wrong in one way, and what each reader makes of that."""

    def __init__(self, material: Material, place: Path, folder: Path, id: Id, what: str) -> None:
        self._material = material
        self._place = place
        self._folder = folder
        self._id = id
        self._what = what
        # What lay in one block with it is as damaged.
        with castore.open(material.subject.folder) as store:
            self._beside = store.database.read(lambda tables: _neighbours(tables, id))

    def looks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each reader, by name; raises Lost."""
        yield "fsck", self._fsck
        yield "answers", self._answers
        for selector in _SELECTORS:
            yield f"checkout {selector}", lambda selector=selector: self._checkout(selector)  # type: ignore[misc]
        yield "export", self._export
        if self._what.endswith("says lost"):
            # That is how it is told that something is given up: what only it had goes.
            return
        for name, change in (
            ("gc", lambda store: store.gc(grace=0)),
            ("repack", lambda store: store.repack()),
            ("reindex", lambda store: store.reindex()),
            ("go on", lambda store: small_store.go_on(store, self._folder, 2)),
        ):
            yield name, lambda change=change: self._change(change)  # type: ignore[misc]
        yield "backup", self._backup

    def _fsck(self) -> None:
        with castore.open(self._place) as store:
            report = fsck(store, full=True)
        if not report.findings:
            raise Lost("fsck --full finds nothing")
        text = "\n".join(finding.line() for finding in report.findings)
        if self._id.hex() not in text:
            raise Lost(f"fsck --full does not name {self._id.hex()}: {text}")

    def _answers(self) -> None:
        before = self._material.subject.answers
        with castore.open(self._place) as store:
            after = small_store.answers(store)
        for question, answer in after.items():
            if isinstance(answer, small_store.Failed):
                _check_error(question, answer)
        wrong = small_store.differences(before, after, but=_SUMS)
        if wrong:
            shown = {question: (before[question], after.get(question)) for question in wrong}
            raise Lost(f"other answers to {wrong}: {str(shown)[:600]}")

    def _checkout(self, selector: str) -> None:
        target = self._folder / "out"
        try:
            with castore.open(self._place) as store:
                store.checkout(selector, target)
        except CastoreError as error:
            _check_error("checkout", _failed(error))
            if target.exists() or list(self._folder.glob("*out*")):
                raise Lost(f"something is left: {list(self._folder.glob('*out*'))}") from error
            return
        found = _tree(target)
        shutil.rmtree(target)
        if found != self._material.files[selector]:
            raise Lost("other files are written")

    def _export(self) -> None:
        target = self._folder / "crate"
        try:
            with castore.open(self._place) as store:
                store.ro_crate("out@v2", target)
        except CastoreError as error:
            _check_error("export", _failed(error))
            if target.exists():
                raise Lost("a part of the crate is left") from error
            return
        found = _tree(target)
        shutil.rmtree(target)
        expected = self._material.files["out@v2"]
        if {name: found.get(name) for name in expected} != expected:
            raise Lost("other files are written")

    def _change(self, change: Callable[[castore.Store], object]) -> None:
        """What writes to the store: no whole object goes, and what is wrong stays found."""
        copy = self._folder / "copy"
        small_store.copy(self._place, copy)
        try:
            try:
                with castore.open(copy) as store:
                    change(store)
            except CastoreError as error:
                _check_error("change", _failed(error))
            gone = self._lost(copy)
            if gone:
                raise Lost(f"{len(gone)} objects are gone: {gone[0].hex()}")
            with castore.open(copy) as store:
                ok = not fsck(store, full=True).findings
                after = small_store.answers(store)
            wrong = small_store.differences(
                self._material.subject.answers, after, but=_SUMS | {"operations"}
            )
            if wrong:
                raise Lost(f"then other answers to {wrong}")
            bad = [q for q, a in after.items() if isinstance(a, small_store.Failed)]
            if ok and bad:
                raise Lost(f"then fsck --full finds nothing, and {bad} are not answered")
        finally:
            shutil.rmtree(copy)

    def _lost(self, copy: Path) -> list[Id]:
        """Objects that a version has and that the store has no longer, but for the wrong one."""
        with castore.open(self._material.subject.folder) as store:
            needed = store.database.read(_stored)
        with castore.open(self._place) as store:
            held = store.database.read(_stored)
        with castore.open(copy) as store:
            return sorted(needed & held - store.database.read(_stored) - self._beside)

    def _backup(self) -> None:
        target = self._folder / "backup"
        try:
            with castore.open(self._place) as store:
                store.backup(target)
        except CastoreError as error:
            _check_error("backup", _failed(error))
            if target.exists():
                raise Lost("a damaged copy is left") from error
            return
        raise Lost("a damaged store was copied without a word")


def _stored(tables: Reading) -> set[Id]:
    found = set()
    for id, value in tables.rows("objects"):
        if value[-1:] == bytes((State.STORED,)):
            found.add(id)
    return found


def _neighbours(tables: Reading, id: Id) -> set[Id]:
    row = tables.object_row(id)
    assert row is not None
    return {other for other, found in tables.object_rows() if found.block == row.block}


def _failed(error: CastoreError) -> small_store.Failed:
    return small_store.Failed(
        type(error).__name__, error.message, str(error.attributes.get("id", ""))
    )


def _check_error(question: str, failed: small_store.Failed) -> None:
    """An error of castore's own that names an object or a block."""
    if not failed.known:
        raise Lost(f"{question}: {failed.error}: {failed.text}")
    if not failed.named and not _HEX.search(failed.text):
        raise Lost(f"{question} names no object: {failed.error}: {failed.text}")


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


HARNESS = Matrix()
