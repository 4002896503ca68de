"""`cas dismiss`: let somebody's note count no longer."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.noting import note_options, print_stated, speaker
from castore.cli.verbs import verb
from castore.store.review import dismiss


@verb(
    "dismiss",
    examples=[
        ("cas dismiss 4f1a2b3c4d5e -m 'answered in v8'", "a note that cas show lists"),
        ("cas dismiss 4f1a2b3c4d5e --json", "and what the rest comes to"),
    ],
)
@click.argument("note", metavar="NOTE")
@note_options
@click.pass_obj
def command(call: Invocation, note: str, message: str, author: str, agent: str) -> None:
    """Let NOTE, the note of anybody, count no longer.

    NOTE is its id or the beginning of it. A policy may forbid this (forbid_dismiss), and agents
    may not. The note stays on record, and so does who dismissed it. What is deployed is not
    dismissed: cas deploy REV --to ENV says it anew, with --remove that it is not there.
    """
    with opened(call) as store:
        stated = dismiss(store, note, speaker(call, author, agent), text=message)
        print_stated(call, store, stated, "dismissed a note on")
