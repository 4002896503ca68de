"""`cas init`: make a store."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import named_place
from castore.cli.invocation import Invocation
from castore.cli.paths import folders
from castore.cli.screen import clean
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.store.opening import init_store


@verb(
    "init",
    examples=[
        ("cas init", "a store in this folder, .cas"),
        ("cas init ../outputs", "one in another folder"),
    ],
)
@click.argument("folder", required=False, metavar="[DIR]", shell_complete=folders)
@click.pass_obj
def command(call: Invocation, folder: str | None) -> None:
    """Make a store here.

    The store is the folder .cas in DIR (or here), or what --store or CAS_STORE names. Where one is
    already, nothing changes. Git is not needed, and .cas keeps itself out of it.
    """
    place = Path(folder) if folder else named_place(call) or Path()
    if "://" in str(folder or ""):
        raise InvalidInput(f"{folder!r}: a store is a folder on this machine", fix="cas init")
    store, created = init_store(place.absolute())
    with store:
        if call.output.json:
            call.output.record({"store": str(store.folder), "created": created})
            return
        said = "made a store at" if created else "there is a store already at"
        call.output.line(f"{said} {clean(str(store.folder))}")
        call.output.next("cas commit -m first PATH")
