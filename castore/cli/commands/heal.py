"""`cas heal`: put in again what is damaged, as a remote has it, or the other way round."""

from __future__ import annotations

import click

from castore.cli.access import actor, opened
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, plural, size
from castore.cli.verbs import verb
from castore.errors import CorruptObject, InvalidInput
from castore.store.heal_report import HealReport
from castore.store.sync import heal, heal_remote


@verb(
    "heal",
    examples=[
        ("cas heal", "this store, from origin or the only remote"),
        ("cas heal -n backup", "what the remote backup could put in"),
        ("cas heal --remote origin", "the bucket itself, from this store"),
    ],
)
@click.argument("source", required=False, metavar="[REMOTE]", shell_complete=remote_names)
@click.option(
    "--remote", default="", metavar="NAME", help="a remote instead", shell_complete=remote_names
)
@click.option("-n", "--dry-run", is_flag=True, help="say what would be put in, change nothing")
@click.pass_obj
def command(call: Invocation, source: str | None, remote: str, dry_run: bool) -> int:
    """Put in again what fsck --full finds damaged or missing, as REMOTE has it.

    Everything is compared with its id before it is stored; no block is changed, damaged ones go
    when nothing in them is needed any more. What cannot be healed is named: exit 7. With --remote
    it is the bucket that is healed, from what lies here. A second run finds nothing to do.
    """
    if source and remote:
        raise InvalidInput("REMOTE heals this store, --remote NAME that bucket", fix="one of them")
    with opened(call) as store, Progress(call.output, "checking") as progress:
        if remote:
            report = heal_remote(store, remote, dry_run=dry_run, progress=progress.advance)
        else:
            report = heal(
                store, source or "", by=actor(call), dry_run=dry_run, progress=progress.advance
            )
    if call.output.json:
        call.output.record(report.as_json())
    else:
        _print(call.output, report, bucket=bool(remote))
    return 0 if report.whole else CorruptObject.code


def _print(output: Output, report: HealReport, *, bucket: bool) -> None:
    for finding in report.left:
        output.line(output.style(clean(finding.line()), "red"))
    if report.more:
        output.line(f"… and {report.more} more findings")
    done = f"{plural(report.objects, 'object')}, {size(report.bytes)}"
    place = clean(report.place)
    if report.dry_run and report.whole:
        output.line(f"nothing is wrong in {place}")
        return
    if report.dry_run:
        output.line(f"would put in {done} of what is wrong in {place}")
        if report.objects:
            of = f"--remote {report.remote}" if bucket else report.remote
            output.next(f"cas heal {of}")
        elif not bucket:
            output.next(report.fix)
        return
    verdict = "nothing is wrong" if report.whole else f"{plural(len(report.left), 'finding')} left"
    output.line(f"put in {done}; {verdict} in {place}")
    if report.left and not bucket:
        output.next(report.fix)
