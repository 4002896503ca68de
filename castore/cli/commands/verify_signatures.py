"""`cas verify-signatures`: who signed what, and whether that holds."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, plural
from castore.cli.verbs import verb
from castore.errors import CorruptObject
from castore.store.verify_signatures import Signed, verify_signatures

_COLOURS = {"valid": "green", "unknown": "yellow", "invalid": "red"}


@verb(
    "verify-signatures",
    examples=[
        ("cas verify-signatures report@v7", "those on version 7 and on its notes"),
        ("cas verify-signatures --json", "all of every branch, for a program"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, rev: str | None) -> int:
    """Show who signed a version and the notes about it, or all versions.

    valid is by a key that config.toml gives to somebody, unknown by a key that it gives to
    nobody, invalid no signature over this version or note. Exits with 7 when one is invalid.
    """
    invalid = count = 0
    with opened(call) as store:
        for found in verify_signatures(store, full_rev(store, rev) if rev else ""):
            count += 1
            invalid += found.signature.verdict == "invalid"
            if call.output.json:
                call.output.record(found.as_json())
            else:
                _print(call.output, found)
    if invalid:
        call.output.say(f"{plural(invalid, 'signature')} invalid")
    elif not count:
        call.output.say("nothing is signed")
    return CorruptObject.code if invalid else 0


def _print(output: Output, found: Signed) -> None:
    one, about = found.signature, found.about
    verdict = output.style(f"{one.verdict:<7}", _COLOURS[one.verdict])
    what = f"{about.value or about.subject} by {about.by}" if about else "the version"
    who = ", ".join(one.signers) or one.key or "no signature"
    remark = "" if found.own or one.verdict != "valid" else ", who did not write that"
    line = f"{found.version.label}  {found.version.short}  {what}  signed by {who}{remark}"
    output.row(f"{verdict}  {moment(one.note.at)}  {clean(line)}")
