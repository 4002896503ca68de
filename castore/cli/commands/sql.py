"""`cas sql`: ask the catalogue of a store in SQL."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.screen import clean
from castore.cli.tables import cell_text, csv_lines, write_table
from castore.cli.verbs import verb
from castore.store.sql import sql


@verb(
    "sql",
    examples=[
        (
            'cas sql "select agent, count(*) n from versions group by all"',
            "versions by agent",
        ),
        ('cas sql --json "from artifacts where size > 1e9"', "big artifacts, one object a line"),
        (
            "cas sql \"select * from notes where stands and time > '2026-10-01'\"",
            "verdicts that were not taken back",
        ),
        ('cas sql "show tables"', "the tables; describe versions: its columns"),
    ],
)
@click.argument("statement", metavar="STATEMENT")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header; empty is not known")
@click.pass_obj
def command(call: Invocation, statement: str, as_csv: bool) -> None:
    """Ask in SQL, as DuckDB has it, what the store knows of its versions.

    Tables: versions, partials, artifacts, sources, checks, notes, refs, operations; times are UTC.
    One statement that reads; it reaches no file, network or extension. Needs the extra
    castore[sql].
    """
    if as_csv and call.output.json:
        raise click.UsageError("--json and --csv exclude each other")
    with opened(call) as store, sql(store, statement) as answer:
        if call.output.json:
            for row in answer:
                call.output.record(dict(zip(answer.columns, row, strict=True)))
        elif as_csv:
            for line in csv_lines(answer.columns, iter(answer)):
                call.output.line(line)
        else:
            short = call.output.columns() is not None
            cells = ([cell_text(value, short=short) for value in row] for row in answer)
            if not write_table(call.output, list(map(clean, answer.columns)), cells):
                call.output.say("no rows")
