"""`cas why`: what keeps something in the store."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean
from castore.cli.verbs import verb
from castore.model.ids import short
from castore.store.why import Why, why


@verb(
    "why",
    examples=[
        ("cas why report@v7:summary", "what keeps this artifact"),
        ("cas why $(b3sum --no-names data.csv)", "what keeps these bytes"),
    ],
)
@click.argument("what", metavar="REV|REV:ARTIFACT[/PATH]|ID", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, what: str) -> None:
    """Show what keeps a version, an artifact, an object or a file's bytes.

    The shortest chain from a branch, tag, pin, incomplete set or entry of the operation log down to
    it; or that nothing keeps it, and cas gc may free it.
    """
    with opened(call) as store:
        found = why(store, what)
        if call.output.json:
            call.output.record(found.as_json())
            return
        _print(call.output, found)


def _print(output: Output, found: Why) -> None:
    if not found.kept:
        output.line(f"nothing keeps {found.kind} {short(found.id)}")
        output.next("cas gc -n")
        return
    output.line(clean(found.root))
    for depth, link in enumerate(found.chain, start=1):
        name = f"  {clean(link.name)}" if link.name else ""
        output.row(f"{'  ' * depth}{link.kind} {short(link.id)}{name}")
