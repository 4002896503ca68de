"""`cas audit`: which versions an agent, a person, a run or a source stands behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from castore.cli.access import full_rev, opened
from castore.cli.columns import LEGEND, NAMES, SHOWN, Record, cells, parse_columns, shown
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.tables import csv_lines, write_table
from castore.cli.verbs import verb
from castore.store.audit import ANYWHERE, Criteria, audit, audit_record, indexed
from castore.store.audit_known import unmatched
from castore.store.standing import Verdicts


@verb(
    "audit",
    examples=[
        (
            'cas audit --agent writer@7 --during "last month"',
            "what agent writer@7 produced last month",
        ),
        ("cas audit --agent writer@7 --since 30d", "the same, of the last 30 days"),
        ("cas audit report --agent writer", "of one branch; report@v3: up to that version"),
        ("cas audit --source sales", "who used any version of sales; sales@v3: that one"),
        ("cas audit --columns label,artifacts,message", "what was made, and why"),
        ("cas audit --run run-81 --json", "everything known, one object a line"),
        ("cas audit --deployed production", "what is there now, and who approved it"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.option("--agent", default="", metavar="A[@V]", help="made by this agent")
@click.option("--spec", default="", metavar="S[@V]", help="made under this spec")
@click.option("--author", default="", metavar="WHO", help="committed by: an e-mail, or as written")
@click.option("--run", default="", metavar="RUN", help="made in this run")
@click.option("--trace", default="", metavar="ID", help="of this trace")
@click.option("--workspace", default="", metavar="W", help="of this workspace")
@click.option("--type", default="", metavar="TYPE", help="with an artifact of this type")
@click.option("--format", default="", metavar="FORMAT", help="with an artifact of this format")
@click.option("--source", default="", metavar="REF", help="made from any of this branch; REV, URI…")
@click.option("--review", default="", metavar="STATE", help="approved, pending, contested…")
@click.option("--lifecycle", default="", metavar="STATE", help="published, withdrawn, draft…")
@click.option(
    "--deployed", is_flag=False, flag_value=ANYWHERE, default="", metavar="[ENV]",
    help="deployed to ENV, or anywhere",
)  # fmt: skip
@click.option("--since", default="", metavar="TIME", help="at or after: 2d, yesterday, 2026-10")
@click.option("--until", default="", metavar="TIME", help="at or before; of a period its end")
@click.option("--during", default="", metavar="PERIOD", help="in: 'last month', 2026-10, today")
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="at most N versions")
@click.option("--columns", "chosen", default="", metavar="A,B,…", help="what to show of each")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header, every column")
@click.pass_obj
def command(
    call: Invocation, /, rev: str | None, limit: int | None, chosen: str, as_csv: bool, **only: str
) -> None:
    """Show what was produced: by whom, from what, checked and reviewed how.

    With REV that version and those before it, else those of all branches; newest first, times UTC.
    All options given must hold. Columns: label, id, at, agent, spec, author, artifacts, message,
    run, trace, workspace, checks, sources, review, reviewers, lifecycle, branch, number, parents,
    set, folder, meta, operation, deployments, forgotten. A value its maker claims is marked ~,
    a signed one +; in a CSV this is agent_trust and so on. What nobody noted is unknown, in a CSV
    empty. TIME: 2d, "7 days ago", yesterday, "last month", 2026-10, 2026-10-31.
    """
    if call.output.json and (as_csv or chosen):
        raise click.UsageError("--json shows every field: leave out --csv and --columns")
    shown = [*SHOWN, "deployments"] if only["deployed"] else SHOWN
    names = parse_columns(chosen) if chosen else list(NAMES if as_csv else shown)
    with opened(call) as store:
        criteria = Criteria(**only, rev=full_rev(store, rev) if rev else "")
        if not indexed(store, criteria):
            call.output.say("this store has older look-up rows: cas reindex makes this quick")
        found = audit(store, criteria, limit=limit)
        verdicts = Verdicts(store)
        records = (audit_record(store, version, verdicts) for version in found)
        count = _write(call.output, records, names, as_csv=as_csv)
        if not count and limit != 0:
            for sentence in unmatched(store, criteria):
                call.output.hint(sentence)


def _write(output: Output, records: Iterator[Record], names: Sequence[str], *, as_csv: bool) -> int:
    """Print the records in the form that is asked for; how many."""
    count = 0
    if output.json:
        for record in records:
            output.record(record)
            count += 1
    elif as_csv:
        lines = csv_lines(names, (cells(record, names) for record in records))
        count = -1  # The header.
        for line in lines:
            output.line(line)
            count += 1
    else:
        short = output.columns() is not None
        rows = (shown(record, names, short=short) for record in records)
        count = write_table(output, names, rows, mark_first=True)
        output.say(LEGEND if count else "no versions match")
    return count
