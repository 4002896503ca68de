"""`cas internalize`: bytes that live elsewhere, stored here."""

from __future__ import annotations

import click

from castore.cli.access import actor, opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.progress import Progress
from castore.cli.screen import clean, size
from castore.cli.verbs import verb
from castore.errors import IncompleteSet
from castore.model.names import quoted
from castore.store.internalize import internalize


@verb(
    "internalize",
    examples=[
        ("cas internalize report@v7", "every external artifact of version 7"),
        ("cas internalize report@v7 model", "one of them"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]…")
@click.pass_obj
def command(call: Invocation, rev: str, artifacts: tuple[str, ...]) -> int:
    """Bring the bytes of external artifacts in, so that they no longer depend on their address.

    No id changes: a version says the digest, and other bytes are refused (exit 7). From then on
    cat and checkout give them. One whose digest was never recorded is left (exit 5): commit it
    again with --pin, as a new version.
    """
    from urllib.request import getproxies

    with opened(call) as store, Progress(call.output, "fetching") as progress:
        version = resolve_here(store, rev).version
        report = internalize(
            store,
            version,
            artifacts,
            by=actor(call),
            proxies=getproxies(),
            progress=progress.advance,
        )
    if call.output.json:
        call.output.record(report.as_json())
    else:
        for said, names in (("brought in", report.brought), ("already here", report.held)):
            for name in names:
                call.output.row(f"{said:<12}  {clean(name)}")
        for name in report.unpinned:
            call.output.row(f"{'not pinned':<12}  {clean(name)}")
        if report.brought:
            call.output.line(f"stored {size(report.bytes)}; {clean(version.label)} is as it was")
            if store.url:
                call.output.say("in the cache of this machine: the bucket does not get them")
        elif not (report.held or report.unpinned):
            call.output.say(f"{clean(version.label)} has no external artifacts")
    if not report.unpinned:
        return 0
    uris = {name: uri for name, uri, _ in version.manifest.locations}
    name = report.unpinned[0]
    spec = version.manifest.spec
    under = f"--spec {quoted(spec.path)}" if spec.path else f"--name {version.branch}"
    words = f"cas commit {under} --only {quoted(name)} --pin"
    call.output.next(f"{words} {quoted(f'{name}={uris.get(name, chr(63))}')}")
    return IncompleteSet.code
