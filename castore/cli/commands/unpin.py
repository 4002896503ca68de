"""`cas unpin`: end a pin."""

from __future__ import annotations

import click

from castore.cli.access import actor, full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.screen import clean
from castore.cli.verbs import verb
from castore.store.pins import unpin
from castore.store.selectors import resolve_version


@verb(
    "unpin",
    examples=[
        ("cas unpin report@v7", "version 7 goes when nothing else keeps it"),
        ("cas unpin 3f2a9c01b7d4 -m 'paper withdrawn'", "by id, and say why"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@click.option("-m", "--message", default="", metavar="TEXT", help="why, for the operation log")
@click.pass_obj
def command(call: Invocation, rev: str, message: str) -> None:
    """End the pin of REV. What else keeps it is told by cas why."""
    with opened(call) as store:
        version = resolve_version(store, full_rev(store, rev))
        unpin(store, version, by=actor(call), why=message)
        if call.output.json:
            call.output.record({"id": version.id.hex(), "pinned": False})
            return
        call.output.line(f"unpinned {clean(version.label)} {version.short}")
        call.output.next(f"cas why {version.short}")
