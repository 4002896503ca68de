"""`cas lineage`: what something was made from, back to its roots."""

from __future__ import annotations

import click

from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.tracing import Wanted, bounds, trace
from castore.cli.verbs import verb


@verb(
    "lineage",
    examples=[
        ("cas lineage report:summary", "what this artifact was made from"),
        ("cas lineage ./report.md", "of whoever holds the bytes of this file"),
        ("cas lineage report@v3 --dot | dot -Tsvg", "as a picture"),
    ],
)
@click.argument("what", metavar="REV[:ARTIFACT]|./FILE|DIGEST", shell_complete=revisions)
@bounds
@click.pass_obj
def command(call: Invocation, what: str, depth: int | None, limit: int, dot: bool) -> None:
    """Show what something was made from, and that from what, to the roots.

    A version, one artifact of it, or a file or folder on disk (begins with . or /), which is known
    by its bytes. An artifact that was carried leads to the version that made it.
    """
    trace(call, Wanted(what, depth, limit, dot), back=True)
