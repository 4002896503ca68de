"""`cas tree`: what a version or a folder artifact holds, drawn as a tree."""

from __future__ import annotations

import click

from castore.cli.access import opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.screen import clean
from castore.cli.verbs import verb
from castore.store.listing import draw_tree, list_folder


@verb(
    "tree",
    examples=[
        ("cas tree report@v3", "every file of version 3"),
        ("cas tree report:pages", "the files of one artifact"),
    ],
)
@click.argument("rev", required=False, metavar="[REV[:ARTIFACT[/PATH]]]", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, rev: str | None) -> None:
    """Draw the files of a version or of a folder as a tree.

    Without REV the newest version of the branch of the one *.spec.yaml here, or of the only branch.
    """
    with opened(call) as store:
        found = resolve_here(store, rev)
        entries = list_folder(store, found, recursive=True)
        if call.output.json:
            for entry in entries:
                call.output.record(entry.as_json())
            return
        label = found.version.label + (f":{found.artifact.name}" if found.artifact else "")
        label += f"/{found.path}" if found.path else ""
        call.output.line(f"{call.output.style(clean(label), 'yellow')}  {found.version.short}")
        for line in draw_tree(entries):
            call.output.row(clean(line))
