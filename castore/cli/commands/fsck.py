"""`cas fsck`: check the store for damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from castore.cli.access import full_rev, opened, shared_url, store_place, user_caches
from castore.cli.child import in_child
from castore.cli.completing import revisions
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, plural
from castore.cli.verbs import verb
from castore.errors import CorruptObject, InvalidInput
from castore.store.apart import Tell
from castore.store.cache_listing import cache_info
from castore.store.cache_opening import PRUNE, damaged
from castore.store.mending import with_remotes
from castore.store.opening import FOLDER, find_store
from castore.store.selectors import resolve_version
from castore.store.shared_repair import verify_shared
from castore.store.sync import verify_remote
from castore.store.verify import fsck
from castore.store.verify_pages import unreadable
from castore.store.verify_report import FsckReport


@verb(
    "fsck",
    examples=[
        ("cas fsck", "structure: versions, refs, the operation log"),
        ("cas fsck --full", "every stored byte re-hashed"),
        ("cas fsck --full report@v7", "one version and its chain"),
        ("cas fsck --remote origin", "every byte of a bucket"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.option("--full", is_flag=True, help="re-hash every stored byte too")
@click.option(
    "--remote", default="", metavar="NAME", help="a remote instead", shell_complete=remote_names
)
@click.pass_obj
def command(call: Invocation, rev: str | None, full: bool, remote: str) -> int:
    """Check the store, or one version and its chain of parents, for damage.

    Changes nothing. Exits with 7 when something is wrong, and names what is hurt. A store that
    does not open, or kills the process that reads it, is told of the same way. With --remote all of
    a bucket is fetched and compared.
    """
    if remote:
        if rev:
            raise InvalidInput("a remote is checked as a whole", fix=f"cas fsck --remote {remote}")
        return _remote(call, remote)
    try:
        with Progress(call.output, "checking") as progress:
            report = in_child(lambda tell: _check(call, rev, tell, full=full), progress.advance)
    except CorruptObject as error:
        report = unreadable(_place(call, error), error, full=full)
    if call.output.json:
        call.output.record(report.as_json())
    else:
        if shared_url(call):
            call.output.say("this is the cache; the bucket itself: cas fsck --remote origin")
            if not report.ok:
                report = replace(report, helps=f"{PRUNE} {shared_url(call)}")
        _print(call.output, report)
    return 0 if report.ok else CorruptObject.code


def _place(call: Invocation, error: CorruptObject) -> Path:
    """The folder of the store that does not open, a cache's too; raises the error of a bucket."""
    url = shared_url(call)
    if not url:
        return find_store(store_place(call))
    if not damaged(error, url).fix.startswith(PRUNE):
        raise error
    return cache_info(user_caches(), url).folder / FOLDER


def _check(call: Invocation, rev: str | None, tell: Tell, *, full: bool) -> FsckReport:
    with opened(call) as store:
        version = resolve_version(store, full_rev(store, rev)) if rev else None
        return with_remotes(store, fsck(store, full=full, version=version, progress=tell))


def _remote(call: Invocation, name: str) -> int:
    with Progress(call.output, "fetching") as progress:
        try:
            with opened(call) as store:
                report = verify_remote(store, name, progress=progress.advance)
        except CorruptObject:
            url = shared_url(call)
            if not url:
                raise
            # Too damaged to be opened as a store.
            report = verify_shared(url, user_caches(), progress=progress.advance)
    if call.output.json:
        call.output.record(report.as_json())
    else:
        _print(call.output, report)
    return 0 if report.ok else CorruptObject.code


def _print(output: Output, report: FsckReport) -> None:
    for line in report.lines():
        output.line(output.style(clean(line), "red"))
    counts = ", ".join(
        plural(count, "index" if what == "indexes" else what.removesuffix("s"), what)
        for what, count in sorted(report.counts.items())
        if count
    )
    found = len(report.findings) + report.more
    verdict = "no damage found" if report.ok else plural(found, "finding")
    output.line(f"{verdict}; looked at {counts or 'nothing'}")
    if report.fix:
        output.next(report.fix)
    elif not report.full:
        output.next("cas fsck --full")
