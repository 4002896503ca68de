"""`cas impact`: everything that was made from something."""

from __future__ import annotations

import click

from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.tracing import Wanted, bounds, trace
from castore.cli.verbs import verb


@verb(
    "impact",
    examples=[
        ("cas impact sales-data@v3", "what would break if this was wrong"),
        ("cas impact sales-data", "all made from any version of it"),
        ("cas impact https://example.org/in.csv", "the same of an input from elsewhere"),
        ("cas impact ./in.csv --json", "of the file with these bytes"),
    ],
)
@click.argument("what", metavar="REV[:ARTIFACT]|URI|./FILE|DIGEST", shell_complete=revisions)
@bounds
@click.pass_obj
def command(call: Invocation, what: str, depth: int | None, limit: int, dot: bool) -> None:
    """Show what would break if something was wrong: all made from it, directly or not.

    Newest first. A version, one artifact of it, the URI of an input from elsewhere as it was
    recorded, or a file or folder on disk (begins with . or /), which is known by its bytes. A
    branch alone, or BRANCH:ARTIFACT, is any of its versions: those that somebody used are listed,
    with what was made from each. BRANCH@latest is the newest alone.
    """
    trace(call, Wanted(what, depth, limit, dot), back=False)
