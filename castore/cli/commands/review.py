"""`cas review`: what waits for a verdict."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import note_line
from castore.cli.output import Output
from castore.cli.screen import clean, first_line, short_ids
from castore.cli.verbs import verb
from castore.store.inbox import Waiting, waiting
from castore.store.store import Store


@verb(
    "review",
    examples=[
        ("cas review", "what waits on all branches, newest first"),
        ("cas review report --json", "one branch, for a program"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, rev: str | None) -> None:
    """Show what waits for a verdict, and what it changed since the last approved version.

    That is what somebody asked for with cas request-review, what is contested, and what has only
    some of the approvals it needs. Once a version is approved, nothing before it waits.
    """
    with opened(call) as store:
        found = waiting(store, full_rev(store, rev) if rev else "")
        for place, item in enumerate(found):
            if call.output.json:
                call.output.record(item.as_json(store))
                continue
            if place:
                call.output.line()
            _show(call.output, store, item)
        if not found:
            call.output.say("nothing waits for a review")
        else:
            call.output.next(f"cas approve {found[0].version.label}")


def _show(output: Output, store: Store, item: Waiting) -> None:
    version = item.version
    label = output.style(clean(version.label), "yellow")
    output.line(f"{label}  {version.short}  {item.status.review}")
    message = first_line(version.manifest.message)
    if message:
        output.line(f"  {message}")
    for reason in item.approval.reasons:
        output.line(f"  {clean(reason)}")
    for id, note in item.notes.items():
        output.wrap("  " + note_line(id, note), "      ")
    before = f"against {clean(item.approved.label)}" if item.approved else "nothing approved before"
    output.line(f"  {before}:")
    for line in item.changes(store).lines():
        output.row("    " + short_ids(clean(line)))
