"""`cas reject`: say that a version may not go out."""

from __future__ import annotations

from functools import partial

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import expect_option, note_options, print_stated, speaker
from castore.cli.options import sign_option
from castore.cli.signing import said
from castore.cli.verbs import verb
from castore.store.review import give_verdict, judged_version


@verb(
    "reject",
    examples=[
        ("cas reject report@v7 -m 'row 12 is wrong'", "version 7 of report, as a whole"),
        ("cas reject report --expect ID -m no", "only if the branch is still at that version"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@note_options
@expect_option
@sign_option("sign your rejection, by signing.key")
@click.pass_obj
def command(
    call: Invocation, rev: str, message: str, author: str, agent: str, expect: str, sign: bool
) -> None:
    """Say that a version may not go out.

    REV as for cas approve. One rejection that stands outweighs every approval, until its author
    takes it back with cas revoke, or somebody dismisses it. Agents may not.
    """
    with opened(call) as store:
        version = judged_version(store, full_rev(store, rev), "reject", expect=expect)
        who = speaker(call, author, agent)
        say = partial(give_verdict, store, version, "reject", who, text=message)
        stated = said(call, store, say, who) if sign else say()
        print_stated(call, store, stated, "rejected")
