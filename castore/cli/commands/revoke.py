"""`cas revoke`: take back your own verdict."""

from __future__ import annotations

from functools import partial

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import note_options, print_stated, speaker
from castore.cli.options import sign_option
from castore.cli.signing import said
from castore.cli.verbs import verb
from castore.store.review import revoke
from castore.store.selectors import resolve_version


@verb(
    "revoke",
    examples=[
        ("cas revoke report@v7 -m 'the source was wrong'", "no verdict of yours any more"),
        ("cas revoke report --author ann@example.org", "as somebody else"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@note_options
@sign_option("sign that you take it back, by signing.key")
@click.pass_obj
def command(call: Invocation, rev: str, message: str, author: str, agent: str, sign: bool) -> None:
    """Take back your own verdict on REV, or your request for one.

    What you said stays on record; it counts no longer. Of others: cas dismiss.
    """
    with opened(call) as store:
        version = resolve_version(store, full_rev(store, rev))
        who = speaker(call, author, agent)
        say = partial(revoke, store, version, who, text=message)
        stated = said(call, store, say, who) if sign else say()
        print_stated(call, store, stated, "revoked on")
