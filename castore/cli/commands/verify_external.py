"""`cas verify-external`: what lives elsewhere, compared with what a version says of it."""

from __future__ import annotations

import click

from castore.cli.access import opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns
from castore.cli.verbs import verb
from castore.errors import CorruptObject, RemoteError
from castore.store.externals_verify import verify_external

_COLOURS = {"same": "green", "changed": "red", "unreachable": "red", "unpinned": "yellow"}


@verb(
    "verify-external",
    examples=[
        ("cas verify-external report@v7", "every external artifact, read as a whole"),
        ("cas verify-external report@v7 model --quick", "its size and tag only"),
    ],
)
@click.argument("rev", required=False, metavar="[REV", shell_complete=revisions)
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]…]")
@click.option("--quick", is_flag=True, help="ask for size and tag, read nothing")
@click.pass_obj
def command(call: Invocation, rev: str | None, artifacts: tuple[str, ...], quick: bool) -> int:
    """Compare external artifacts of a version with what is at their addresses now.

    One whose digest is recorded is read as a whole; others by the tag that the server gives, or by
    size. Exits with 7 when one has changed, else with 9 when one cannot be reached.
    """
    from urllib.request import getproxies

    states = set()
    with opened(call) as store, Progress(call.output, "reading") as progress:
        version = resolve_here(store, rev).version
        found = verify_external(
            store,
            version,
            artifacts,
            quick=quick,
            proxies=getproxies(),
            progress=progress.advance,
        )
        for verdict in found:
            states.add(verdict.state)
            if call.output.json:
                call.output.record(verdict.as_json())
                continue
            by = f"by {verdict.by}" if verdict.by else ""
            row = (f"{verdict.state:<11}", clean(verdict.artifact), clean(verdict.uri), by)
            (line,) = columns([row])
            call.output.row(call.output.style(line, _COLOURS[verdict.state]))
            if verdict.detail:
                call.output.line(f"    {clean(verdict.detail)}")
    if not states:
        call.output.say(f"{clean(version.label)} has no external artifacts")
    if "changed" in states:
        return CorruptObject.code
    return RemoteError.code if "unreachable" in states else 0
