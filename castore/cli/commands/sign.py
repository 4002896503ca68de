"""`cas sign`: sign a version, or a note of yours."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.noting import speaker
from castore.cli.screen import clean
from castore.cli.signing import key_to_sign, tell_signed
from castore.cli.verbs import verb
from castore.model.ids import short
from castore.store.notes import note_record
from castore.store.signing import named_object, sign


@verb(
    "sign",
    examples=[
        ("cas sign report@v7", "version 7 of report, by its id"),
        ("cas sign ID", "a note of yours, such as an approval"),
    ],
)
@click.argument("what", metavar="REV|NOTE", shell_complete=revisions)
@click.option("--author", default="", metavar="WHO", help="who you are (else CAS_AUTHOR …)")
@click.option("--agent", default="", metavar="A@V", help="the agent that acts for you")
@click.pass_obj
def command(call: Invocation, what: str, author: str, agent: str) -> None:
    """Sign a version, or a note of yours, with your SSH key.

    REV is a full id, a branch or tag, or report@v7; NOTE the full id of a note. The key is
    signing.key of config.toml: a private key, or the public one of a key that ssh-agent holds. A
    passphrase is asked for at a terminal only. What this key has signed is left as it is.
    """
    with opened(call) as store:
        version, note = named_object(store, full_rev(store, what))
        who = speaker(call, author, agent)
        stated = sign(store, version, who, key_to_sign(store), note=note)
        tell_signed(call, store, note or version.id, who.by)
        if call.output.json:
            call.output.record(
                {
                    "id": version.id.hex(),
                    "label": version.label,
                    "note": note_record(stated.id, stated.note),
                }
            )
            return
        over = f"note {note.hex()} on " if note else ""
        call.output.line(f"signed {over}{clean(version.label)} {version.id.hex()}")
        call.output.line(f"note {short(stated.id)} by {clean(who.by)}; key {stated.note.value}")
        call.output.next(f"cas verify-signatures {version.label}")
