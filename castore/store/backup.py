"""Backups: a copy of a live store in another folder, brought up to date by what is new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from castore.database.datafile import DATA_FILE, newest_meta
from castore.database.environment import Database
from castore.database.failures import using_files
from castore.database.mirror import difference, mirror
from castore.database.pages import check_pages
from castore.database.reading import Reading
from castore.errors import CorruptObject, InvalidInput, WouldOverwrite
from castore.model.ids import Id
from castore.model.names import quoted
from castore.store.mending import with_remotes
from castore.store.opening import FOLDER, is_store
from castore.store.store import Store
from castore.store.verify import fsck

_SHOWN: Final = 3
_LOOKS: Final = 8
_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup did, or with `dry_run` would do.

    `created` says that there was none before; else `blocks`, `bytes` (as stored) and `rows` are
    those that were new or changed, and `removed` the blocks that the store has given up. `sequence`
    is the newest operation it holds; `file` the size of its data file, -1 if not known. `elsewhere`
    counts objects that only a remote has: their bytes are in no copy of this store.
    """

    folder: Path
    created: bool
    compact: bool
    dry_run: bool
    blocks: int
    bytes: int
    rows: int
    removed: int
    sequence: int
    file: int
    elsewhere: int = 0

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "backup": str(self.folder),
            "created": self.created,
            "compact": self.compact,
            "dry_run": self.dry_run,
            "blocks": self.blocks,
            "bytes": self.bytes,
            "rows": self.rows,
            "removed_blocks": self.removed,
            "operations": self.sequence,
            "file_bytes": self.file if self.file >= 0 else None,
            "elsewhere": self.elsewhere,
        }


def backup(
    store: Store,
    destination: Path,
    *,
    compact: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BackupReport:
    """Copy the store, while it is in use, to the folder `destination`, or bring a copy up to date.

    The first copy is checked like `fsck --full` before it takes its place, all in one step; later
    only new blocks and rows cross over, each block compared with its ids, and the result is
    checked like `fsck`. An interrupted one leaves no copy, or the earlier one; one whose pages are
    damaged is refused before anything is written to it. `compact` leaves free pages out of a first
    copy; `progress` is told bytes checked. What was purged from the store is cleared from the
    copy's data file, until that is done by each backup again. Raises WouldOverwrite, Conflict (a
    backup of another store, or ahead of this one), CorruptObject, StoreFull, Locked (a reader of
    the copy still sees what was purged: then do the same again).
    """
    folder = destination.absolute()
    _check_place(store, folder)
    if is_store(folder):
        if compact:
            raise InvalidInput(
                f"{str(folder)!r} is a backup already, and only a new one can be compact",
                fix="name a folder that does not exist",
            )
        report = _update(store, folder, dry_run=dry_run)
    else:
        report = _create(store, folder, compact=compact, dry_run=dry_run, progress=progress)
    return replace(report, elsewhere=_elsewhere(store))


def _elsewhere(store: Store) -> int:
    """How many objects only a remote has."""
    count = 0
    start: Id = b""
    while True:
        found, start = store.database.read(partial(Reading.promised, start=start, limit=_ROWS))
        count += len(found)
        if not start:
            return count


def _check_place(store: Store, folder: Path) -> None:
    own = store.folder.resolve()
    found = folder.resolve()
    if found == own or own in found.parents:
        raise InvalidInput(
            f"{str(folder)!r} lies in the store itself", fix="name a folder elsewhere"
        )
    if is_store(folder) or not os.path.lexists(folder):
        if not folder.parent.is_dir():
            raise InvalidInput(
                f"{str(folder.parent)!r} is not a folder", fix=f"mkdir -p {folder.parent}"
            )
        return
    if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
        inner = folder / FOLDER
        raise WouldOverwrite(
            f"{str(folder)!r} exists and is no backup",
            fix=f"cas backup {inner}" if is_store(inner) else "name a folder that does not exist",
        )


def _create(
    store: Store,
    folder: Path,
    *,
    compact: bool,
    dry_run: bool,
    progress: Callable[[int], None] | None,
) -> BackupReport:
    def look(database: Database) -> BackupReport:
        return replace(database.read(_held), folder=folder, file=database.file_bytes())

    found = look(store.database)

    def check(temporary: Path) -> None:
        nonlocal found
        copy = Database.open(temporary)
        try:
            copy.scrub_if_due()
            _check(store, copy, folder, full=True, progress=progress)
            found = look(copy)
        finally:
            copy.close()

    if not dry_run:
        store.database.copy(folder, compact=compact, check=check)
    if dry_run:
        found = replace(found, dry_run=True, file=-1 if compact else found.file)
    return replace(found, compact=compact)


def _held(tables: Reading) -> BackupReport:
    """What a whole copy of a store comes to."""
    counts = tables.counts()
    return BackupReport(
        folder=Path(),
        created=True,
        compact=False,
        dry_run=False,
        blocks=counts["blocks"],
        bytes=sum(info.stored for _, info in tables.block_infos()),
        rows=sum(counts.values()) - counts["blocks"],
        removed=0,
        sequence=tables.last_sequence(),
        file=-1,
    )


def _update(store: Store, folder: Path, *, dry_run: bool) -> BackupReport:
    with _blaming(folder):
        _check_earlier(folder)
        copy = Database.open(folder)
        try:
            if dry_run:
                done = difference(store.database, copy)
            else:
                done = mirror(store.database, copy)
                written = bool(done.blocks or done.rows or done.removed)
                written |= copy.scrub_if_due()
                _check(store, copy, folder, full=False, pages=written)
            size = copy.file_bytes()
        finally:
            copy.close()
    return BackupReport(
        folder=folder,
        created=False,
        compact=False,
        dry_run=dry_run,
        blocks=done.blocks,
        bytes=done.bytes,
        rows=done.rows,
        removed=done.removed,
        sequence=done.sequence,
        file=size,
    )


def _check(
    store: Store,
    copy: Database,
    folder: Path,
    *,
    full: bool,
    pages: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Refuse a copy with anything wrong; raises CorruptObject naming the first findings.

    It holds what the store holds by now: where that is damaged as well, that is told.
    """
    report = fsck(Store(copy, now=store.now, entropy=store.entropy), full=full, progress=progress)
    lines = list(report.lines())
    if pages:
        lines += copy.check_pages().problems
    if lines:
        own = with_remotes(store, fsck(store, full=full, progress=progress))
        if not own.ok:
            done = "was not backed up" if full else "what is wrong with it is in its backup"
            raise CorruptObject(
                f"this store is damaged, and {done}: {_first(list(own.lines()))}",
                where=str(store.folder),
                fix=own.fix,
            )
        raise CorruptObject(
            f"the backup at {folder} is damaged: {_first(lines)}",
            where=str(folder),
            fix="cas fsck --full",
        )


def _check_earlier(folder: Path) -> None:
    """Refuse damaged pages, by plain reads: some end whoever maps them, some spread by writing."""
    data = folder / DATA_FILE
    if not data.is_file():
        return
    for _ in range(_LOOKS):
        with using_files(folder):
            found = check_pages(str(data))
            if not found.problems:
                return
            # Of pages that another backup changed meanwhile nothing follows.
            with data.open("rb") as file:
                if newest_meta(file.fileno(), str(data)).transaction == found.transaction:
                    raise _damaged(folder, _first(found.problems))


def _first(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"{'; '.join(lines[:_SHOWN])}{more}"


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Damage to the files of the backup is told as its own, with what helps there."""
    try:
        yield
    except CorruptObject as error:
        if folder in Path(error.where).parents:
            raise _damaged(folder, error.message) from None
        raise


def _damaged(folder: Path, what: str) -> CorruptObject:
    old, aside = quoted(str(folder)), quoted(f"{folder}.damaged")
    return CorruptObject(
        f"the backup at {folder} is damaged: {what}; the store was only read",
        where=str(folder),
        fix=f"mv {old} {aside} && cas backup {old}",
    )
