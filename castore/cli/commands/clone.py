"""`cas clone`: a new store with all that a bucket has."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import actor
from castore.cli.commands.pull import print_pulled
from castore.cli.invocation import Invocation
from castore.cli.paths import folders
from castore.cli.progress import Progress
from castore.cli.screen import clean
from castore.cli.syncing import depth_option
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.store.config import ON_DEMAND, KnownRemote
from castore.store.remotes import place_url
from castore.store.sync import clone


@verb(
    "clone",
    examples=[
        ("cas clone s3://reports-prod/acme acme", "a store in the new folder acme"),
        ("cas clone ../shared copy", "from a folder that somebody pushed to"),
        ("cas clone --metadata-only s3://reports-prod/acme", "history now, files when read"),
        ("cas clone --depth 1 s3://reports-prod/acme", "the newest version of each branch"),
    ],
)
@click.argument("url", metavar="URL")
@click.argument("folder", required=False, metavar="[DIR]", shell_complete=folders)
@click.option("--endpoint", default="", metavar="URL", help="of a server that is not the cloud's")
@click.option("--region", default="", metavar="NAME", help="of a bucket of S3")
@click.option("--metadata-only", is_flag=True, help="files come when they are read")
@depth_option
@click.pass_obj
def command(
    call: Invocation,
    url: str,
    folder: str | None,
    endpoint: str,
    region: str,
    metadata_only: bool,
    depth: int | None,
) -> None:
    """Make a store in DIR with all that the bucket at URL has, and call that bucket origin.

    DIR is named after the last part of URL unless given; it must not be there, or be empty. What
    was fetched before an interruption is not fetched again: cas pull, in DIR, goes on. With
    --metadata-only versions, folders and notes come; a file comes when it is read, and stays. With
    --depth history begins N versions back; cas fetch --unshallow brings the rest.
    """
    if call.offline:
        raise InvalidInput("a clone asks the bucket", fix="the same without --offline")
    contents = ON_DEMAND if metadata_only else ""
    found = KnownRemote(place_url(url), endpoint.rstrip("/"), region, contents)
    place = Path(folder or found.url.rstrip("/").rsplit("/", 1)[-1])
    with Progress(call.output, "fetching") as progress:
        store, report = clone(found, place, by=actor(call), depth=depth, progress=progress.advance)
    with store:
        if call.output.json:
            call.output.record({"store": str(store.folder), **report.as_json()})
            return
        print_pulled(call.output, report)
        if not call.output.quiet:
            call.output.line(f"made a store at {clean(str(store.folder))}")
        call.output.next(f"cd {clean(str(place))} && cas log")
