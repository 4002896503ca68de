"""`cas audit`: which versions an agent, a person, a run or a source stands behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import click

from castore.cli.access import opened
from castore.cli.columns import LEGEND, NAMES, SHOWN, Record, cells, parse_columns, shown
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import columns as aligned
from castore.cli.tables import csv_lines
from castore.cli.verbs import verb
from castore.store.audit import Criteria, audit, audit_record, indexed

_AT_ONCE: Final = 200


@verb(
    "audit",
    examples=[
        (
            "cas audit --agent writer@7 --since 2026-10-01 --until 2026-10-31",
            "what agent writer@7 produced in October",
        ),
        ("cas audit --agent writer@7 --since 30d", "the same, of the last 30 days"),
        ("cas audit --source sales@v3 --csv", "who used version 3 of sales, for a spreadsheet"),
        ("cas audit --run run-81 --json", "everything known, one object a line"),
    ],
)
@click.option("--agent", default="", metavar="A[@V]", help="made by this agent")
@click.option("--spec", default="", metavar="S[@V]", help="made under this spec")
@click.option("--author", default="", metavar="WHO", help="committed by this author")
@click.option("--run", default="", metavar="RUN", help="made in this run")
@click.option("--trace", default="", metavar="ID", help="of this trace")
@click.option("--workspace", default="", metavar="W", help="of this workspace")
@click.option("--type", default="", metavar="TYPE", help="with an artifact of this type")
@click.option("--format", default="", metavar="FORMAT", help="with an artifact of this format")
@click.option("--source", default="", metavar="REF", help="made from this version, URI or digest")
@click.option("--review", default="", metavar="STATE", help="approved, requested, contested…")
@click.option("--lifecycle", default="", metavar="STATE", help="published, withdrawn, draft…")
@click.option("--since", default="", metavar="TIME", help="at or after TIME: 30d, 2026-10-01")
@click.option("--until", default="", metavar="TIME", help="at or before TIME; a day as a whole")
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="at most N versions")
@click.option("--columns", "chosen", default="", metavar="A,B,…", help="what to show of each")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header, every column")
@click.pass_obj
def command(call: Invocation, /, limit: int | None, chosen: str, as_csv: bool, **only: str) -> None:
    """Show what was produced: by whom, from what, checked and reviewed how.

    All options given must hold; versions of all branches, newest first, times UTC. Columns: label,
    id, at, agent, spec, author, run, trace, workspace, checks, sources, review, reviewers,
    lifecycle, message, branch, number, parents, set, folder, meta, operation. A value its maker
    claims is marked ~, a signed one +; in a CSV this is agent_trust and so on. What nobody noted is
    unknown.
    """
    if call.output.json and (as_csv or chosen):
        raise click.UsageError("--json shows every field: leave out --csv and --columns")
    names = parse_columns(chosen) if chosen else list(NAMES if as_csv else SHOWN)
    with opened(call) as store:
        criteria = Criteria(**only)
        if not indexed(store, criteria):
            call.output.say("this store has older look-up rows: cas reindex makes this quick")
        found = audit(store, criteria, limit=limit)
        records = (audit_record(store, version) for version in found)
        if call.output.json:
            for record in records:
                call.output.record(record)
        elif as_csv:
            for line in csv_lines(names, (cells(record, names) for record in records)):
                call.output.line(line)
        elif not _write_table(call.output, records, names):
            call.output.say("no versions match")


def _write_table(output: Output, records: Iterator[Record], names: Sequence[str]) -> int:
    """Print aligned rows, some at a time; how many."""
    count = 0
    head = [[name.upper() for name in names]]
    while batch := [shown(record, names) for record in islice(records, _AT_ONCE)]:
        for line in aligned([*head, *batch]):
            output.row(line, line if count == 0 and head else "")
            head = []
        count += len(batch)
    if count:
        output.say(LEGEND)
    return count
