"""`cas push`: send versions to a remote."""

from __future__ import annotations

from collections.abc import Sequence

import click

from castore.cli.access import actor, opened
from castore.cli.completing import revisions
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, plural, size
from castore.cli.syncing import all_option, with_each
from castore.cli.verbs import verb
from castore.model.ids import short
from castore.model.names import quoted
from castore.store.sync import push
from castore.store.sync_plan import Move
from castore.store.sync_report import PushReport


@verb(
    "push",
    examples=[
        ("cas push", "all branches and tags, and what is said of them"),
        ("cas push origin weekly-report", "one branch"),
        ("cas push -n", "what would be sent"),
        ("cas push --all", "to every remote"),
    ],
)
@click.argument("remote", required=False, metavar="[REMOTE", shell_complete=remote_names)
@click.argument("refs", nargs=-1, metavar="[REF]…]", shell_complete=revisions)
@all_option
@click.option("-n", "--dry-run", is_flag=True, help="say what would be sent, send nothing")
@click.pass_obj
def command(
    call: Invocation, remote: str | None, refs: tuple[str, ...], every: bool, dry_run: bool
) -> int:
    """Send branches and tags to a remote, with all they need and what is said of them.

    All move or none. A branch that has versions there which are not here is refused: exit 4. What
    was sent before an interruption is not sent again. Without REMOTE: origin, or the only one; with
    --all every one in its turn, and the exit code of the first that failed.
    """

    def one(name: str, names: Sequence[str]) -> None:
        with Progress(call.output, "sending") as progress:
            report = push(
                store, name, names, by=actor(call), dry_run=dry_run, progress=progress.advance
            )
        if call.output.json:
            call.output.record(report.as_json())
        else:
            _print(call.output, report, names)

    with opened(call) as store:
        return with_each(call, store, remote, refs, one, every=every)


def _print(output: Output, report: PushReport, names: Sequence[str]) -> None:
    place = f"{clean(report.remote)} ({clean(report.url)})"
    if report.waits:
        output.line(f"left {plural(report.inbox, 'note')} in the inbox of {place}")
        output.say("they count when somebody who may write there pushes")
        return
    if output.quiet and not report.dry_run:
        return
    if not report.changed:
        output.line(f"{place} has everything already")
        return
    for line in moved_lines(report.moves):
        output.row(line)
    what = plural(report.objects, "object")
    what += f", {plural(report.notes, 'note')} among them" if report.notes else ""
    if report.removed:
        would = "would tell" if report.dry_run else "told"
        output.line(f"{would} {place}: {_removed(report)}")
    if report.dry_run:
        if report.objects or report.moves:
            output.line(f"would send {what} to {place}, about {size(report.bytes)}")
        output.next(" ".join(["cas push", report.remote, *map(quoted, names)]))
        return
    if report.objects or report.moves:
        output.line(f"sent {what} to {place}: {size(report.bytes)}, {plural(report.packs, 'pack')}")
    if report.removed:
        output.next(f"cas gc --remote {report.remote}")


def _removed(report: PushReport) -> str:
    """What a push says was forgotten and purged."""
    said = []
    if report.forgotten:
        said.append(f"{plural(report.forgotten, 'version')} forgotten")
    if report.purged:
        said.append(f"{plural(report.purged, 'object')} of content purged")
    return ", ".join(said)


def moved_lines(moves: Sequence[Move]) -> list[str]:
    """A line for each ref that moved: its name, from where, to where."""
    rows = []
    for move in moves:
        old = short(move.old) if move.old else "new"
        new = short(move.new) if move.new else "deleted"
        kind = move.ref.split("/", 1)[0].removesuffix("s")
        named = {"head": "branch", "tag": "tag", "remote": "seen"}.get(kind, kind)
        rows.append((named, clean(move.name), f"{old} → {new}"))
    return columns(rows)
