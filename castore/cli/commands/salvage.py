"""`cas salvage`: what is readable in a damaged store, in a new one."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import store_place
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.paths import folders
from castore.cli.progress import Progress
from castore.cli.screen import clean, plural, size
from castore.cli.verbs import verb
from castore.errors import CorruptObject
from castore.model.names import quoted
from castore.store.salvage import salvage
from castore.store.salvage_report import SalvageReport


@verb(
    "salvage",
    examples=[
        ("cas salvage ../rescued", "what is readable, in a new store"),
        ("cas --store broken/.cas salvage ../rescued", "of the store in another folder"),
    ],
)
@click.argument("folder", metavar="DEST", shell_complete=folders)
@click.pass_obj
def command(call: Invocation, folder: str) -> int:
    """Copy what is readable in a damaged store to a new store in the folder DEST.

    The damaged store is only read, and need not open; end every program that uses it. What is
    stored in DEST was compared with its ids. Says which objects, artifacts and versions are lost,
    and exits with 7 if there are any. The same again adds what became readable since.
    """
    place = store_place(call)
    with Progress(call.output, "salvaging") as progress:
        report = salvage(place, Path(folder), progress=progress.advance)
    if call.output.json:
        call.output.record(report.as_json())
    else:
        _print(call.output, report)
        call.output.say(f"to work on in it: {clean(_in_place(report))}")
        call.output.next(f"cas fsck --full --store {clean(quoted(folder))}")
    return 0 if report.whole else CorruptObject.code


def _in_place(report: SalvageReport) -> str:
    """The command that puts the new store where the damaged one is, which is kept."""
    old, new = str(report.source), str(report.folder)
    return f"mv {quoted(old)} {quoted(f'{new}.damaged')} && mv {quoted(new)} {quoted(old)}"


def _print(output: Output, report: SalvageReport) -> None:
    for text in report.damage:
        output.line(f"damaged: {clean(text)}")
    for finding in report.lost:
        output.line(output.style(f"lost: {clean(finding.line())}", "red"))
    if report.more:
        output.line(f"… and {report.more} more are lost")
    place = clean(str(report.folder))
    if report.changed:
        copied = f"{plural(report.blocks, 'block')}, {size(report.bytes)}"
        refs = plural(report.refs, "ref")
        output.line(f"salvaged to {place}: {copied}, {refs}")
    else:
        output.line(f"nothing to do: all that is readable is in {place}")
    output.line("nothing is lost" if report.whole else f"{len(report.lost) + report.more} lost")
