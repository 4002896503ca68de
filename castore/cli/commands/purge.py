"""`cas purge`: make content go for ever."""

from __future__ import annotations

from functools import partial

import click

from castore.cli.access import actor, full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, plural, size
from castore.cli.verbs import verb
from castore.store.purge import ALL, PurgeReport, PurgeRequest, purge
from castore.store.removals import removal_text

_SHOWN = 20


@verb(
    "purge",
    examples=[
        ("cas purge report@v3:people.csv --reason 'asked to' -n", "what would go, and where"),
        ("cas purge report:box/key.pem --reason leaked --include all", "in every version"),
    ],
)
@click.argument("what", nargs=-1, metavar="REV:ARTIFACT[/PATH]…", shell_complete=revisions)
@click.option("--reason", default="", metavar="TEXT", help="why; it stays on record")
@click.option("--include", multiple=True, metavar="REV|all", help="what shares bytes goes too")
@click.option("-n", "--dry-run", is_flag=True, help="say what would go, change nothing")
@click.pass_obj
def command(
    call: Invocation, what: tuple[str, ...], reason: str, include: tuple[str, ...], dry_run: bool
) -> None:
    """Make content go for ever: its bytes leave the data file, and it never comes back.

    History stays and verifies, with who purged it and why. Every other place that has the same
    bytes, or a part of them, must be named too, or included. Asks first, at a terminal; elsewhere
    --yes is needed. Cut short, it is finished by the same command; what is purged already is told.
    """
    with opened(call) as store:
        request = PurgeRequest(
            selectors=tuple(full_rev(store, text) for text in what),
            reason=reason,
            include=tuple(text if text == ALL else full_rev(store, text) for text in include),
            dry_run=dry_run,
            by=actor(call),
        )
        report = purge(store, request, agree=partial(_confirm, call))
    if call.output.json:
        call.output.record(report.as_json())
        return
    _print(call.output, report)


def _confirm(call: Invocation, said: PurgeReport) -> None:
    count = plural(len(said.places), "place")
    call.confirm(f"Purge {size(said.bytes)} in {count} for ever?")


def _print(output: Output, report: PurgeReport) -> None:
    if report.already is not None:
        output.line(f"purged already, on {clean(removal_text(report.already))}: nothing to do")
        return
    word = "would purge" if report.dry_run else "purged"
    for place in report.places[:_SHOWN]:
        output.row(f"{word} {clean(place.label)}")
    if len(report.places) > _SHOWN:
        output.line(f"… and {len(report.places) - _SHOWN:,} more places (--json lists all)")
    output.line(f"{word} {size(report.bytes)} in {plural(report.objects, 'object')}")
    if report.scrubbed is not None:
        output.line(f"cleared {size(report.scrubbed.bytes)} of the data file that nothing used")
    output.say("not reached:")
    for text in report.out_of_reach:
        output.say(f"  {text}")
    output.next("the same without -n" if report.dry_run else "cas fsck --full")
