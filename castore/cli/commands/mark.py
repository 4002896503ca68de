"""`cas mark`: draft, published, archived or withdrawn."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import note_options, print_stated, speaker
from castore.cli.verbs import verb
from castore.model.note import SUBJECTS
from castore.store.review import mark
from castore.store.selectors import resolve_version


@verb(
    "mark",
    examples=[
        ("cas mark report@v7 published", "then report@published means version 7"),
        ("cas mark report@v6 withdrawn -m 'wrong source'", "its bytes stay until retention"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@click.argument("state", metavar="STATE", type=click.Choice(SUBJECTS["lifecycle"]))
@note_options
@click.pass_obj
def command(call: Invocation, rev: str, state: str, message: str, author: str, agent: str) -> None:
    """Mark REV as draft, published, archived or withdrawn.

    Your mark takes the place of your earlier one. Of marks by several people withdrawn counts
    before archived, published and draft. Nothing is deleted.
    """
    with opened(call) as store:
        version = resolve_version(store, full_rev(store, rev))
        who = speaker(call, author, agent)
        stated = mark(store, version, state, who, text=message)
        print_stated(call, store, stated, f"marked as {state}")
