"""`cas sql`: ask the catalogue of a store in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean
from castore.cli.screen import columns as aligned
from castore.cli.tables import cell_text, csv_lines
from castore.cli.verbs import verb
from castore.store.sql import sql

_AT_ONCE: Final = 200


@verb(
    "sql",
    examples=[
        (
            'cas sql "select agent, count(*) n from versions group by all"',
            "versions by agent",
        ),
        ('cas sql --json "from artifacts where size > 1e9"', "big artifacts, one object a line"),
        ('cas sql "show tables"', "the tables; describe versions: its columns"),
    ],
)
@click.argument("statement", metavar="STATEMENT")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header; empty is not known")
@click.pass_obj
def command(call: Invocation, statement: str, as_csv: bool) -> None:
    """Ask in SQL, as DuckDB has it, what the store knows of its versions.

    Tables: versions, artifacts, sources, checks, notes, refs, operations. One statement that reads;
    it reaches no file, network or extension. Needs the extra castore[sql].
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
            _write_table(call.output, answer.columns, iter(answer))


def _write_table(output: Output, names: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    head = [list(map(clean, names))]
    while batch := [[cell_text(value) for value in row] for row in islice(rows, _AT_ONCE)]:
        for line in aligned([*head, *batch]):
            output.row(line)
        head = []
    if head:
        output.say("no rows")
