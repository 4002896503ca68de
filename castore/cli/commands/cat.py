"""`cas cat`: the verified bytes of one file."""

from __future__ import annotations

import sys

import click

from castore.cli.access import opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.names import quoted
from castore.store.listing import named_file


@verb(
    "cat",
    examples=[
        ("cas cat report:summary.md", "the newest version's summary"),
        ("cas cat report@v3:pages/index.html > old.html", "a file in a folder artifact"),
    ],
)
@click.argument("selector", metavar="REV:ARTIFACT[/PATH]", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, selector: str) -> None:
    """Write the bytes of one file to stdout, exactly.

    Each part is verified before it is written, and the digest of the whole before the last part
    is: where the bytes are damaged the output ends early, with exit code 7.
    """
    if call.output.json:
        reading = "ls" if "/" in selector.partition(":")[2] else "show"
        raise InvalidInput(
            "cat writes a file's bytes; they have no JSON form",
            fix=f"cas {reading} {quoted(selector)} --json",
        )
    with opened(call) as store:
        file = named_file(store, resolve_here(store, selector))
        target = sys.stdout.buffer
        for piece in store.reader.stream(file.digest, file.size):
            target.write(piece)
        target.flush()
