"""What hashes do not tell of versions that came from outside, looked at before a ref names them.

Those are numbers, sizes of files and folders, and how deep folders are nested. What was refused
once may lie in the store until it is collected: so it is not asked what came just now, but what
no ref led to before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from castore.content.reader import ObjectReader
from castore.database.reading import Reading, State
from castore.errors import CastoreError, CorruptObject
from castore.model.artifact_set import TreeContent
from castore.model.ids import Id
from castore.model.pages import decode_tree
from castore.store.store import Store
from castore.store.verify_closure import ClosureCheck, FolderPage, pages_below
from castore.store.verify_report import Findings


def require_sound(store: Store, tips: Iterable[Id]) -> None:
    """Look at these versions, and those before them that no ref leads to yet.

    All that they need is stored, or promised. Raises CorruptObject.
    """
    new, old = store.database.read(partial(_parted, tips=tuple(tips)))
    findings = Findings()
    check = ClosureCheck(store, findings, sound=_same_pages(store, new, old))
    for id in reversed(new):
        check.version(store.version(id))
        for object, kind, where, detail in findings.kept:
            raise CorruptObject(f"{kind} of {where}: {detail}", id=object.hex())


def _parted(tables: Reading, tips: Sequence[Id]) -> tuple[list[Id], list[Id]]:
    """Versions that no ref leads to, newest first, and those below them that one does."""
    reader = ObjectReader(tables.load)
    named = {id for _, id in tables.refs("")}
    new: list[Id] = []
    old: list[Id] = []
    seen: set[Id] = set()
    waiting = list(tips)
    while waiting:
        id = waiting.pop()
        row = tables.object_row(id)
        if id in seen or row is None or row.state is not State.STORED:
            continue
        seen.add(id)
        step = tables.step(id)
        if id in named or (step and any(tables.ancestor(tip, step.number) == id for tip in named)):
            old.append(id)
        else:
            new.append(id)
            waiting += reader.manifest(id).parents
    return new, old


def _same_pages(store: Store, new: Sequence[Id], old: Sequence[Id]) -> set[FolderPage]:
    """Folder pages of new versions that old ones have as far down, where the same is said of them.

    Only what differs is read.
    """
    same: set[FolderPage] = set()
    pages, others = _roots(store, new), _roots(store, old)
    while pages and others:
        both = pages & others
        same |= both
        pages, others = _below(store, pages - both), _below(store, others - both)
    return same


def _roots(store: Store, versions: Iterable[Id]) -> set[FolderPage]:
    roots: set[FolderPage] = set()
    for id in versions:
        with suppress(CastoreError):
            for artifact in store.near_reader.set(store.version(id).set_id).artifacts:
                content = artifact.content
                if isinstance(content, TreeContent):
                    roots.add(FolderPage(content.id, -1, content.size, 0))
    return roots


def _below(store: Store, pages: Iterable[FolderPage]) -> set[FolderPage]:
    below: set[FolderPage] = set()
    for page in pages:
        with suppress(CastoreError):
            below.update(pages_below(decode_tree(store.near_reader.tree_page(page.id))))
    return below
