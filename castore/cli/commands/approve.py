"""`cas approve`: say that a version may go out."""

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
    "approve",
    examples=[
        ("cas approve report@v7 -m 'checked the figures'", "version 7 of report, as a whole"),
        ("cas approve report --expect ID", "only if the branch is still at that version"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@note_options
@expect_option
@sign_option("sign the version and your approval, by signing.key")
@click.pass_obj
def command(
    call: Invocation, rev: str, message: str, author: str, agent: str, expect: str, sign: bool
) -> None:
    """Say that a version may go out.

    REV is a full id, a branch or tag, or report@v7: never the beginning of an id, which
    somebody could have chosen. The version is approved as a whole, by the id that is printed;
    whatever changes is another version. How many must approve, and who may, is up to the policy.
    Agents may not: they ask with cas request-review.
    """
    with opened(call) as store:
        version = judged_version(store, full_rev(store, rev), "approve", expect=expect)
        who = speaker(call, author, agent)
        say = partial(give_verdict, store, version, "approve", who, text=message)
        stated = said(call, store, say, who, over=version) if sign else say()
        print_stated(call, store, stated, "approved")
