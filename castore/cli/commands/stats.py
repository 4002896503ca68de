"""`cas stats`: logical against stored bytes."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.remote.census import BucketStats
from castore.store.savings import Savings
from castore.store.selectors import resolve_version
from castore.store.stats import Held, StoreStats, VersionStats, store_stats, version_stats
from castore.store.sync import remote_stats


@verb(
    "stats",
    examples=[
        ("cas stats", "what the store holds, and what that takes"),
        ("cas stats report@v7", "what version 7 alone holds"),
        ("cas stats --remote origin", "what a bucket holds"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.option(
    "--remote", default="", metavar="NAME", help="a remote instead", shell_complete=remote_names
)
@click.pass_obj
def command(call: Invocation, rev: str | None, remote: str) -> None:
    """Compare logical with stored bytes, of the store or of one version.

    Logical bytes count every file of every version in full; unique ones each content once; stored
    ones are what it takes on disk. Between them: what was saved by not storing content again, by
    compressing each object, and by keeping small or similar ones together. With --remote it is told
    what a bucket holds, and what that takes there.
    """
    if remote and rev:
        raise InvalidInput("a remote is told of as a whole", fix=f"cas stats --remote {remote}")
    with opened(call) as store:
        if remote:
            _remote(call.output, remote_stats(store, remote))
            return
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


Row = tuple[str, str, str]


def _remote(output: Output, found: BucketStats) -> None:
    if output.json:
        output.record(found.as_json())
        return
    branches = plural(found.branches, "branch", "branches")
    rows: list[Row] = [
        ("versions", f"{found.versions:,}", f"on {branches}, {plural(found.tags, 'tag')}"),
        ("notes", f"{found.notes:,}", "what is said of them"),
        ("objects", f"{found.objects:,}", f"{size(found.raw)} before compression"),
        ("packs", f"{found.packs:,}", f"{size(found.packs_bytes)}, indexed by {found.indexes:,}"),
        ("stored", size(found.bytes), "in all"),
    ]
    if found.uploads:
        rows.append(("uploads", f"{found.uploads:,}", "pushes under way, or given up"))
    _print(output, rows)


def _store_rows(found: StoreStats) -> list[Row]:
    return [
        ("versions", f"{found.versions:,}", f"on {plural(found.branches, 'branch', 'branches')}"),
        ("sets", f"{found.sets:,}", "different ones"),
        ("logical", size(found.logical), "every file of every version"),
        ("unique", size(found.unique), "each content once, specs too"),
        ("stored", size(found.stored), _stored(found.stored, found.logical)),
        *_saved(found.saved, "content that was there already"),
        ("metadata", size(found.metadata), "versions, sets, folders, chunk lists"),
        ("dead", size(found.dead), "given up, to be freed"),
        ("file", size(found.file), "the data file"),
    ]


def _version_rows(found: VersionStats) -> list[Row]:
    rows = [
        ("version", found.version.short, clean(found.version.label)),
        ("artifacts", f"{found.artifacts:,}", plural(found.files, "file")),
        ("logical", size(found.logical), "all its files"),
        ("stored", size(found.stored), _stored(found.stored, found.logical)),
        *_saved(found.saved, "content it holds more than once"),
        ("beyond parent", size(found.beyond_parent.unique), _share(found.beyond_parent)),
    ]
    if found.alone is not None:
        rows.append(("alone", size(found.alone.unique), _share(found.alone)))
    return rows


def _stored(stored: int, logical: int) -> str:
    if 0 < stored <= logical:
        percent = 100 * stored / logical
        return "under 1 % of logical" if percent < 1 else f"{percent:.0f} % of logical"
    return (
        "its content on disk"
        if not stored
        else "more than logical: headers, specs, what is on no branch"
    )


def _saved(saved: Savings, repeated: str) -> list[Row]:
    """One row for each way that saved or cost anything."""
    estimate = ", estimated" if saved.measured < saved.grouped else ""
    ways = [
        ("dedup", saved.dedup, repeated),
        ("compression", saved.compression, f"each object by itself{estimate}"),
        ("solid blocks", saved.solid, f"small objects together{estimate}"),
        ("deltas", saved.delta, f"against similar content{estimate}"),
    ]
    return [
        (f"  {name}", size(abs(count)), f"{'saved' if count > 0 else 'added'}: {how}")
        for name, count, how in ways
        if count
    ]


def _share(held: Held) -> str:
    return f"{size(held.stored)} stored, in {plural(held.objects, 'object')}"


def _print(output: Output, rows: list[Row]) -> None:
    for line in columns(rows, right=[1]):
        output.row(line)
