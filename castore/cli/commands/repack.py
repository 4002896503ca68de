"""`cas repack`: store as deltas what was stored plainly."""

from __future__ import annotations

import click

from castore.cli.access import actor, opened
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import columns, plural, size
from castore.cli.verbs import verb
from castore.store.repack import RepackReport, repack


@verb(
    "repack",
    examples=[
        ("cas repack -n", "how much it would free, to the byte"),
        ("cas repack", "encode, read back, then free"),
    ],
)
@click.option("-n", "--dry-run", is_flag=True, help="say what it would free, change nothing")
@click.pass_obj
def command(call: Invocation, dry_run: bool) -> None:
    """Store as deltas of the version before what was stored without.

    For what was committed before castore made deltas, or what had no version before at the time.
    Commits may go on meanwhile; ids stay, and every block is read back before the old one goes.
    The file itself does not shrink: later commits use what was freed.
    """
    with opened(call) as store, Progress(call.output, "repacking") as progress:
        report = repack(store, dry_run=dry_run, by=actor(call), progress=progress.advance)
    if call.output.json:
        call.output.record(report.as_json())
        return
    _print(call.output, report)


def _print(output: Output, report: RepackReport) -> None:
    word = "would free" if report.dry_run else "freed"
    about = "" if report.exact else "about "
    rows = [
        ("deltas", f"{report.deltas:,}", f"of {plural(report.chunks, 'chunk')}"),
        (word, size(report.freed), f"as stored, {about}{report.freed:,} bytes"),
    ]
    if report.passed:
        rows.append(("passed", f"{report.passed:,}", "moved meanwhile: run it again"))
    for line in columns(rows, right=[1]):
        output.row(line)
    output.say(
        f"the file keeps its {size(report.file)}: freed space in it is used by later commits"
    )
    if report.dry_run and report.freed:
        output.next("cas repack")
