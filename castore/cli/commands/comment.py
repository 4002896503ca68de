"""`cas comment`: say something about a version."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import note_options, print_stated, speaker
from castore.cli.verbs import verb
from castore.store.review import comment
from castore.store.selectors import resolve_version


@verb(
    "comment",
    examples=[
        ("cas comment report@v7 -m 'row 12 looks odd'", "kept with version 7"),
        ("cas comment report -m checked --agent critic@2", "as an agent"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@note_options
@click.pass_obj
def command(call: Invocation, rev: str, message: str, author: str, agent: str) -> None:
    """Say something about REV, with -m; it changes no verdict."""
    with opened(call) as store:
        version = resolve_version(store, full_rev(store, rev))
        who = speaker(call, author, agent)
        print_stated(call, store, comment(store, version, who, message), "commented on")
