"""`cas op`: the operation log."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.screen import clean, first_line
from castore.cli.verbs import Family, verb
from castore.database.operations import Operation
from castore.store.operations import operation_log, operation_record

command = Family(
    "op",
    help="Look into the operation log: every ref that moved, when, by whom and why.",
    examples=[
        ("cas op log -n 20", "the newest twenty operations"),
        ("cas op log --json", "all of them, one object a line"),
    ],
)


@verb(
    "log",
    family=command,
    examples=[
        ("cas op log -n 20", "the newest twenty operations"),
        ("cas op log --json", "all of them, one object a line"),
    ],
)
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="at most N operations")
@click.pass_obj
def log(call: Invocation, limit: int | None) -> None:
    """Show operations, newest first.

    The log is append-only and hash-chained: cas fsck verifies it.
    """
    with opened(call) as store:
        for operation in operation_log(store, limit):
            if call.output.json:
                call.output.record(operation_record(operation))
                continue
            for line in _lines(operation):
                call.output.row(line)


def _lines(operation: Operation) -> list[str]:
    why = first_line(operation.why)
    head = f"{operation.sequence:>6}  {moment(operation.at)}  {clean(operation.op)}"
    who = clean(operation.by) or "unknown"
    moves = [
        f"          {clean(name)}  {old.hex()[:12] or 'new'} → {new.hex()[:12] or 'deleted'}"
        for name, old, new in operation.refs
    ]
    return [f"{head}  {who}" + (f"  {why}" if why else ""), *moves]
