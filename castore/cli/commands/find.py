"""`cas find`: artifacts by name, digest, type or format, over all versions."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.screen import clean, size
from castore.cli.verbs import verb
from castore.store.find import Found, Wanted, find, find_near


@verb(
    "find",
    examples=[
        ("cas find '*.csv'", "artifacts by name, in every version"),
        ("cas find --digest $(b3sum --no-names data.csv)", "who holds these very bytes"),
    ],
)
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--digest", default="", metavar="HEX", help="BLAKE3 of a file, 6 digits or more")
@click.option("--type", "type_", default="", metavar="TYPE", help="artifacts of this type")
@click.option("--format", "format_", default="", metavar="FORMAT", help="artifacts of this format")
@click.option("--branch", default="", metavar="NAME", help="in versions of this branch")
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="at most N")
@click.pass_obj
def command(
    call: Invocation,
    name: str | None,
    digest: str,
    type_: str,
    format_: str,
    branch: str,
    limit: int | None,
) -> None:
    """Find artifacts in every version, newest first.

    NAME may have wildcards. With --digest files inside folder artifacts are found too.
    """
    wanted = Wanted(name=name or "", digest=digest, type=type_, format=format_, branch=branch)
    with opened(call) as store:
        count = 0
        for found in find(store, wanted, limit=limit):
            count += 1
            if call.output.json:
                call.output.record(found.as_json())
            else:
                call.output.row(_line(found))
        if not count:
            near = "" if call.output.json or call.output.quiet else find_near(store, wanted)
            call.output.say(clean(f"nothing found{': ' * bool(near)}{near}"))


def _line(found: Found) -> str:
    artifact = found.artifact
    place = f"{found.version.label}:{artifact.name}" + (f"/{found.path}" if found.path else "")
    form = artifact.format or "unknown"
    return f"{found.version.short}  {clean(place)}  {clean(form)}  {size(artifact.content.size)}"
