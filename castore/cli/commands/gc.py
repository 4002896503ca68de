"""`cas gc`: free what nothing keeps."""

from __future__ import annotations

import click

from castore.cli.access import actor, opened
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.names import quoted
from castore.remote.collect import BucketReport
from castore.store.collect import CollectRequest, collect
from castore.store.collect_report import CollectReport
from castore.store.moments import parse_moment
from castore.store.store import Store
from castore.store.sync import collect_remote


@verb(
    "gc",
    examples=[
        ("cas gc -n", "what is dead, why, and how much that would free"),
        ("cas gc --grace 0 --expire-partials 14d", "also what was deleted just now"),
        ("cas gc --remote origin", "free what none of the bucket's refs needs"),
    ],
)
@click.option("-n", "--dry-run", is_flag=True, help="say what would go, change nothing")
@click.option(
    "--grace",
    default="",
    metavar="AGE",
    help="keep what the log names that long",
)
@click.option("--expire-partials", default="", metavar="AGE", help="give up older incomplete sets")
@click.option(
    "--remote", default="", metavar="NAME", help="of a remote instead", shell_complete=remote_names
)
@click.pass_obj
def command(call: Invocation, dry_run: bool, grace: str, expire_partials: str, remote: str) -> None:
    """Free what no branch, tag, pin, incomplete set or recent operation keeps.

    Commits may go on meanwhile. Beside another gc, or a repack, it waits until that is over, five
    minutes at the most: then exit 75. Freed space is used again by later commits; the file itself
    does not shrink. With --remote it is the bucket that is freed, of what none of its branches and
    tags needs; others may push and pull meanwhile.
    """
    if remote and (grace or expire_partials):
        raise InvalidInput("a remote has neither a grace nor partials", fix="cas gc --remote NAME")
    with opened(call) as store:
        if remote:
            with Progress(call.output, "reading") as progress:
                found = collect_remote(store, remote, dry_run=dry_run, progress=progress.advance)
            _print_bucket(call.output, remote, found)
            return
        request = CollectRequest(
            grace=_age(store, grace) if grace else None,
            expire_partials=_age(store, expire_partials) if expire_partials else None,
            dry_run=dry_run,
            by=actor(call),
        )
        report = collect(store, request)
        if call.output.json:
            call.output.record(report.as_json())
            return
        again = ["cas gc"]
        again += ["--grace", quoted(grace)] if grace else []
        again += ["--expire-partials", quoted(expire_partials)] if expire_partials else []
        _print(call.output, report, " ".join(again))


def _age(store: Store, text: str) -> int:
    """Microseconds from a moment to now; `0` is none. Raises InvalidInput for one to come."""
    now = store.now()
    age = 0 if text == "0" else now - parse_moment(text, now)
    if age < 0:
        raise InvalidInput(f"{text!r} is still to come", fix="use an age: 30d, 12h, 0")
    return age


def _print(output: Output, report: CollectReport, again: str) -> None:
    for run, branch in report.expired:
        verb = "would give up" if report.dry_run else "gave up"
        what = f"the incomplete set of {clean(branch)}, run {clean(run)}"
        output.line(f"{verb} {what if branch else 'content staged for a session'}")
    rows = [
        (clean(reason.name), size(reason.bytes), plural(reason.objects, "object"))
        for reason in report.reasons
    ]
    rows.append(("dead", size(report.dead), "in all, before compression"))
    if report.kept:
        rows.append(("  stays", size(report.kept), "for now, in blocks at least half alive"))
    word = "would free" if report.dry_run else "freed"
    rows.append((word, size(report.freed), f"as stored, {report.freed:,} bytes"))
    if report.cached_files:
        rows.append(("cache", f"{report.cached_files:,}", "oldest rows of the cache of files"))
    for line in columns(rows, right=[1]):
        output.row(line)
    output.say(
        f"the file keeps its {size(report.file)}: freed space in it is used by later commits"
    )
    if report.dry_run and (report.dead or report.expired):
        output.next(again)


def _print_bucket(output: Output, remote: str, report: BucketReport) -> None:
    if output.json:
        output.record({"remote": remote, **report.as_json()})
        return
    word = "would delete" if report.dry_run else "deleted"
    rows = [
        ("alive", f"{report.live:,}", "objects that branches and tags need, and all notes"),
        ("dead", f"{report.dead:,}", "objects"),
        ("anew", f"{report.rewritten:,}", f"of {plural(report.packs, 'pack')} written anew"),
        (word, f"{report.deleted:,}", f"files of the bucket, {size(report.freed)}"),
    ]
    if report.written:
        rows.append(("written", size(report.written), "in new packs"))
    if report.evicted:
        rows.append(("given up", f"{report.evicted:,}", "uploads that were not ended"))
    for line in columns(rows, right=[1]):
        output.row(line)
    if report.dry_run and (report.deleted or report.rewritten):
        output.next(f"cas gc --remote {remote}")
