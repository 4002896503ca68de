"""`cas checkout`: write a version's files to a folder."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.paths import folders
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.names import quoted
from castore.store.checkout import Checkout, checkout

_SHOWN = 40


@verb(
    "checkout",
    examples=[
        ("cas checkout report@v1 -o restored/", "all of version 1, into restored/"),
        ("cas checkout report@approved summary", "one artifact, into ./report-vN"),
    ],
)
@click.argument("rev", metavar="REV", shell_complete=revisions)
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]…")
@click.option(
    "-o", "--output", "folder", default="", metavar="DIR", help="else ./NAME-vN",
    shell_complete=folders,
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="replace the set's own files where they exist")
@click.pass_obj
def command(
    call: Invocation, rev: str, artifacts: tuple[str, ...], folder: str, force: bool
) -> None:
    """Write the files of a version, verified, all or none.

    DIR must be absent or empty: nothing of yours is overwritten. With -f the set's own files are
    replaced and others stay.
    """
    if folder == "-":
        raise InvalidInput(
            "-o -: checkout writes a folder; the bytes of one file go to stdout by cas cat",
            fix=f"cas cat {quoted(rev)}" if ":" in rev else f"cas cat {quoted(rev)}:ARTIFACT",
        )
    with opened(call) as store:
        found = resolve_here(store, rev)
        if found.path:
            raise InvalidInput(
                f"{rev!r} is a file; checkout writes whole artifacts", fix=f"cas cat {quoted(rev)}"
            )
        names = ((found.artifact.name,) if found.artifact else ()) + artifacts
        with Progress(call.output, "writing") as progress:
            done = checkout(
                store,
                found.version,
                names,
                Path(folder) if folder else None,
                force=force,
                progress=progress.advance,
            )
        _print(call.output, done)


def _print(output: Output, done: Checkout) -> None:
    if output.json:
        output.record(done.as_json())
        return
    label = output.style(clean(done.version.label), "yellow")
    count = plural(done.files, "file")
    output.line(
        f"{label}  {done.version.short}  {count}, {size(done.size)}, in "
        f"{clean(str(done.destination))}"
    )
    rows = [
        ("  " + clean(item.path), size(item.size), plural(item.files, "file"))
        for item in done.written[:_SHOWN]
    ]
    for line in columns(rows, right=[1, 2]):
        output.line(line)
    if len(done.written) > _SHOWN:
        output.line(f"  … and {plural(len(done.written) - _SHOWN, 'more artifact')}")
    for item in done.external:
        output.line(f"  {clean(item.path)}  external, not written: {clean(item.uri) or 'unknown'}")
    verb = "diff" if done.version.manifest.parents else "show"
    output.next(f"cas {verb} {done.version.label}")
