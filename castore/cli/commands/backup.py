"""`cas backup`: a verified copy of a live store, and what is new since."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.paths import folders
from castore.cli.progress import Progress
from castore.cli.screen import clean, plural, size
from castore.cli.verbs import verb
from castore.store.backup import BackupReport, backup


@verb(
    "backup",
    examples=[
        ("cas backup /mnt/disk/store", "a copy, or what is new since the last"),
        ("cas backup --compact /mnt/disk/small", "a copy without free pages"),
        ("cas backup -n /mnt/disk/store", "what would be copied, in bytes"),
    ],
)
@click.argument("folder", metavar="DEST", shell_complete=folders)
@click.option("--compact", is_flag=True, help="leave free pages out of a new copy")
@click.option("-n", "--dry-run", is_flag=True, help="say what would be copied, copy nothing")
@click.pass_obj
def command(call: Invocation, folder: str, compact: bool, dry_run: bool) -> None:
    """Copy the store to the folder DEST while it is in use, or bring a copy up to date.

    DEST is a store: cas --store DEST reads it. It is verified before this is said to be done. When
    DEST is a backup of this store, only new blocks and rows are copied; one of another store, or
    one that holds what this store has not, is refused. Files that only a remote has are not in it,
    and it says how many.
    """
    with opened(call) as store, Progress(call.output, "checking") as progress:
        report = backup(
            store, Path(folder), compact=compact, dry_run=dry_run, progress=progress.advance
        )
    if call.output.json:
        call.output.record(report.as_json())
        return
    call.output.line(_line(report))
    if report.elsewhere:
        what = plural(report.elsewhere, "object")
        call.output.warn(
            f"{what} of files lie only in a remote, and so not in this copy: keep the remote, or "
            "back up a clone that has all"
        )
    if not dry_run:
        call.output.next(f"cas fsck --full --store {clean(folder)}")


def _line(report: BackupReport) -> str:
    place = clean(str(report.folder))
    blocks = f"{plural(report.blocks, 'block')}, {size(report.bytes)}"
    if report.created:
        done = "would back up to" if report.dry_run else "backed up to"
        return f"{done} {place}: {blocks}; operations up to {report.sequence:,}"
    done = "would add to" if report.dry_run else "added to"
    gone = f"; {plural(report.removed, 'block')} given up" if report.removed else ""
    rows = plural(report.rows, "row")
    return f"{done} {place}: {blocks}, {rows}{gone}; operations up to {report.sequence:,}"
