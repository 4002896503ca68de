"""`cas ls`: the artifacts of a version, and the files in a folder artifact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from castore.cli.access import opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.describe import content_id
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, size
from castore.cli.verbs import verb
from castore.store.listing import ListedArtifact, ListedEntry, list_artifacts, list_folder
from castore.store.records import artifact_record
from castore.store.removals import purged_ids

_DIGITS = 12
_SIZE = 9


@verb(
    "ls",
    examples=[
        ("cas ls report@v3", "the artifacts of version 3"),
        ("cas ls report:pages/img --json", "a folder in an artifact, one object a line"),
    ],
)
@click.argument("rev", required=False, metavar="[REV[:ARTIFACT[/PATH]]]", shell_complete=revisions)
@click.option("-R", "--recursive", is_flag=True, help="what is in the folders too")
@click.pass_obj
def command(call: Invocation, rev: str | None, recursive: bool) -> None:
    """List the artifacts of a version, or the files of a folder.

    Without REV the newest version of the branch of the one *.spec.yaml here, or of the only branch.
    """
    with opened(call) as store:
        found = resolve_here(store, rev)
        if found.artifact is None and not recursive:
            listed = list_artifacts(store, found.version)
            if call.output.json:
                gone = store.database.read(purged_ids)
                for item in listed:
                    call.output.record(artifact_record(store, found.version, item.artifact, gone))
            else:
                _print_artifacts(call.output, listed, found.version.id)
            return
        for entry in list_folder(store, found, recursive=recursive):
            if call.output.json:
                call.output.record(entry.as_json())
            else:
                call.output.row(_line(entry))


def _print_artifacts(output: Output, listed: Iterable[ListedArtifact], version: bytes) -> None:
    rows = [
        (
            clean(item.artifact.name) + ("/" if item.kind == "folder" else ""),
            clean(item.artifact.type) or "unknown",
            clean(item.artifact.format) or "unknown",
            size(item.artifact.content.size),
            content_id(item.artifact),
            " ".join(_remarks(item, version)),
        )
        for item in listed
    ]
    for line in columns(rows, right=[3]):
        output.row(line)


def _remarks(item: ListedArtifact, version: bytes) -> Iterator[str]:
    if item.kind == "external":
        yield "held" if item.held else "external"
    if item.made_by.id != version:
        yield f"from {clean(item.made_by.label)}"
    if item.purged:
        yield "purged in part" if item.kind == "folder" else "purged"


def _line(entry: ListedEntry) -> str:
    digest = entry.digest.hex()[:_DIGITS] or "-"
    mark = "/" if entry.kind == "folder" else "*" if entry.executable else ""
    gone = ("  purged" if entry.kind == "file" else "  purged in part") if entry.purged else ""
    return f"{size(entry.size):>{_SIZE}}  {digest:<{_DIGITS}}  {clean(entry.path)}{mark}{gone}"
