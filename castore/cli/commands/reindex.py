"""`cas reindex`: every derived table made again."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.progress import Progress
from castore.cli.screen import plural
from castore.cli.verbs import verb
from castore.store.reindex import reindex


@verb(
    "reindex",
    examples=[
        ("cas reindex", "make every derived row again"),
        ("cas reindex && cas fsck --full", "and compare them with what is stored"),
    ],
)
@click.pass_obj
def command(call: Invocation) -> None:
    """Make every derived table again from what is stored.

    For a store in which cas fsck --full finds table rows wrong, or with look-up rows of an older
    castore. Versions, branches and the operation log are never touched. Killed, it leaves all as
    it was. Commits wait meanwhile: some minutes for a million versions.
    """
    with opened(call) as store:
        with Progress(call.output, "reindexing") as progress:
            report = reindex(store, progress=progress.advance)
        if call.output.json:
            call.output.record(report.as_json())
            return
        for table, count in report.rows.items():
            call.output.line(f"{table}: {plural(count, 'row')}")
        call.output.next("cas fsck --full")
