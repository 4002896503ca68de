"""`cas pin`: keep a version."""

from __future__ import annotations

import click

from castore.cli.access import actor, full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, first_line
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.store.pins import list_pins, pin
from castore.store.records import version_record
from castore.store.selectors import resolve_version
from castore.store.store import Store


@verb(
    "pin",
    examples=[
        ("cas pin report@v7 -m 'cited in the paper'", "keep version 7, whatever happens to report"),
        ("cas pin", "every pinned version"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.option("-m", "--message", default="", metavar="TEXT", help="why it is kept")
@click.pass_obj
def command(call: Invocation, rev: str | None, message: str) -> None:
    """Keep REV and all it needs from cas gc, or list what is pinned.

    Unlike a tag a pin is not a name, and it can be taken away again.
    """
    with opened(call) as store:
        if rev is None:
            if message:
                raise InvalidInput("which version?", fix="cas pin REV -m TEXT")
            _list(call.output, store)
            return
        version = resolve_version(store, full_rev(store, rev))
        before = {found.version.id: found.why for found in list_pins(store)}.get(version.id, "")
        new = pin(store, version, by=actor(call), why=message)
        replaced = before if before != message else ""
        if call.output.json:
            record = {"id": version.id.hex(), "why": message or None, "new": new}
            call.output.record({**record, "replaced": replaced or None})
            return
        word = "pinned" if new else "was pinned already:"
        call.output.line(f"{word} {clean(version.label)} {version.short}")
        if replaced:
            call.output.say(f"the reason is replaced; it was: {first_line(replaced)}")
        call.output.next(f"cas why {version.short}")


def _list(output: Output, store: Store) -> None:
    pins = list_pins(store)
    if output.json:
        for found in pins:
            output.record({"why": found.why or None, **version_record(store, found.version)})
        return
    if not pins:
        output.say("nothing is pinned")
    rows = [
        (found.version.short, clean(found.version.label), first_line(found.why)) for found in pins
    ]
    for line in columns(rows):
        output.row(line)
