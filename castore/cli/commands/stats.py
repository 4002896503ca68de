"""`cas stats`: logical against stored bytes."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.store.selectors import resolve_version
from castore.store.stats import Held, StoreStats, VersionStats, store_stats, version_stats


@verb(
    "stats",
    examples=[
        ("cas stats", "what the store holds, and what that takes"),
        ("cas stats report@v7", "what version 7 alone holds"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, rev: str | None) -> None:
    """Compare logical with stored bytes, of the store or of one version.

    Logical bytes count every file of every version in full; unique ones each content once; stored
    ones are what it takes on disk, compressed.
    """
    with opened(call) as store:
        found: StoreStats | VersionStats
        if rev is None:
            found = store_stats(store)
            rows = _store_rows(found)
        else:
            found = version_stats(store, resolve_version(store, full_rev(store, rev)))
            rows = _version_rows(found)
        if call.output.json:
            call.output.record(found.as_json())
            return
        _print(call.output, rows)


def _store_rows(found: StoreStats) -> list[tuple[str, str, str]]:
    ratio = found.logical / found.stored if found.stored else 0
    return [
        ("versions", f"{found.versions:,}", f"on {plural(found.branches, 'branch', 'branches')}"),
        ("sets", f"{found.sets:,}", "different ones"),
        ("logical", size(found.logical), "every file of every version"),
        ("unique", size(found.unique), "each content once, specs too"),
        ("stored", size(found.stored), f"{ratio:.1f} times smaller" if ratio > 1 else "compressed"),
        ("metadata", size(found.metadata), "versions, sets, folders, chunk lists"),
        ("dead", size(found.dead), "given up, to be freed"),
        ("file", size(found.file), "the data file"),
    ]


def _version_rows(found: VersionStats) -> list[tuple[str, str, str]]:
    rows = [
        ("version", found.version.short, clean(found.version.label)),
        ("artifacts", f"{found.artifacts:,}", plural(found.files, "file")),
        ("logical", size(found.logical), "all its files"),
        ("beyond parent", size(found.beyond_parent.unique), _share(found.beyond_parent)),
    ]
    if found.alone is not None:
        rows.append(("alone", size(found.alone.unique), _share(found.alone)))
    return rows


def _share(held: Held) -> str:
    return f"{size(held.stored)} stored, in {plural(held.objects, 'object')}"


def _print(output: Output, rows: list[tuple[str, str, str]]) -> None:
    for line in columns(rows, right=[1]):
        output.row(line)
