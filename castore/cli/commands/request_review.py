"""`cas request-review`: ask for a verdict on a version."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import note_options, print_stated, speaker
from castore.cli.verbs import verb
from castore.store.review import request_review
from castore.store.selectors import resolve_version


@verb(
    "request-review",
    examples=[
        ("cas request-review report -m 'new figures'", "the newest version of report"),
        ("cas request-review report@v7 --agent writer@7", "as an agent: agents may ask"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@note_options
@click.pass_obj
def command(call: Invocation, rev: str, message: str, author: str, agent: str) -> None:
    """Ask for a verdict on REV.

    It waits in cas review until it, or a later version, is approved.
    """
    with opened(call) as store:
        version = resolve_version(store, full_rev(store, rev))
        who = speaker(call, author, agent)
        stated = request_review(store, version, who, text=message)
        print_stated(call, store, stated, "asked for a review of")
