"""Repairing the root of a remote, and what may be lost by that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from castore.database.reading import Reading
from castore.model.ids import Id
from castore.model.refs import HEADS, REMOTES
from castore.remote.bucket import Seen
from castore.remote.repair import RepairReport, repair_root
from castore.remote.transport import Transport
from castore.store.store import Store
from castore.store.sync_remote import RemoteState, encode_state, noted


@dataclass(frozen=True, slots=True)
class RemoteRepair:
    """A repair, and what this store saw of the bucket that the new root does not know.

    `behind` counts the changes of root that were seen after the copy, `notes` the notes. `moved`
    are branches that were elsewhere when they were seen last: seen, now (b"" for gone). Of a bucket
    that is the store, `again` are refs that were sent again, with `notes_again` notes; `unsent` is
    why they could not be.
    """

    report: RepairReport
    behind: int
    notes: int
    moved: dict[str, tuple[Id, Id]]
    again: tuple[str, ...] = ()
    notes_again: int = 0
    unsent: str = ""

    def as_json(self) -> dict[str, Any]:
        """The repair as `--json` prints it."""
        return {
            **self.report.as_json(),
            "behind": self.behind,
            "notes_behind": self.notes,
            "moved": {
                name: {"seen": seen.hex(), "now": now.hex() or None}
                for name, (seen, now) in self.moved.items()
            },
            "again": list(self.again),
            "notes_again": self.notes_again,
            "unsent": self.unsent or None,
        }


def repair(store: Store, name: str, transport: Transport, *, dry_run: bool = False) -> RemoteRepair:
    """Give a bucket without a readable root the newest copy of it; see `castore.remote.repair`."""
    seen = noted(store, name).seen
    report = repair_root(
        transport,
        store.database.project,
        client=store.database.uuid,
        entropy=store.entropy,
        seen=seen,
        dry_run=dry_run,
    )
    root = report.root
    if not dry_run:
        # Who repairs it takes it as it is now, with fewer notes too.
        now = Seen(root.uuid, root.serial, root.notes.notes)
        row = encode_state(RemoteState(now))
        store.database.write(lambda tables: tables.put_upload(name, row))

    def moved(tables: Reading) -> dict[str, tuple[Id, Id]]:
        prefix = f"{REMOTES}{name}/"
        found = {ref.removeprefix(prefix): id for ref, id in tables.refs(prefix)}
        now = {branch: root.refs.get(HEADS + branch, b"") for branch in found}
        return {branch: (id, now[branch]) for branch, id in found.items() if now[branch] != id}

    before = report.serial if report.copy is None else report.copy
    return RemoteRepair(
        report,
        max(0, seen.serial - before) if seen else 0,
        max(0, seen.notes - root.notes.notes) if seen else 0,
        store.database.read(moved),
    )
