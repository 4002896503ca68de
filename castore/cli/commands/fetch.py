"""`cas fetch`: bring versions from a remote, and move nothing here."""

from __future__ import annotations

from collections.abc import Sequence

import click

from castore.cli.access import actor, opened
from castore.cli.commands.push import moved_lines
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, plural, size
from castore.cli.syncing import all_option, depth_meant, depth_options, with_each
from castore.cli.verbs import verb
from castore.model.ids import short
from castore.model.names import quoted
from castore.model.refs import REMOTES
from castore.store.sync import fetch
from castore.store.sync_fetch import FetchReport


@verb(
    "fetch",
    examples=[
        ("cas fetch", "all branches and tags of the remote"),
        ("cas fetch origin weekly-report", "one branch"),
        ("cas fetch --unshallow", "also what clone --depth left there"),
    ],
)
@click.argument("remote", required=False, metavar="[REMOTE", shell_complete=remote_names)
@click.argument("refs", nargs=-1, metavar="[REF]…]")
@depth_options
@all_option
@click.option("-n", "--dry-run", is_flag=True, help="say what would come, fetch nothing")
@click.pass_obj
def command(
    call: Invocation,
    remote: str | None,
    refs: tuple[str, ...],
    depth: int | None,
    unshallow: bool,
    every: bool,
    dry_run: bool,
) -> int:
    """Bring what a remote has and this store has not; branches here stay where they are.

    Every byte is compared with its id before it is stored. Notes are added to those here. Where the
    remote's branches are is told by cas remote show; cas pull moves those here forward as well.
    With --depth also what was cut off before comes, as far back as that.
    """
    far = depth_meant(depth, unshallow=unshallow)

    def one(name: str, names: Sequence[str]) -> None:
        with Progress(call.output, "fetching") as progress:
            report = fetch(
                store,
                name,
                names,
                by=actor(call),
                depth=far,
                dry_run=dry_run,
                progress=progress.advance,
            )
        if call.output.json:
            call.output.record(report.as_json())
            return
        print_fetched(call.output, report)
        if report.moves and not dry_run:
            call.output.next(" ".join(["cas pull", report.remote, *map(quoted, names)]))

    with opened(call) as store:
        return with_each(call, store, remote, refs, one, every=every)


def print_fetched(output: Output, report: FetchReport, pulled: Sequence[str] | None = None) -> None:
    """What came, or would; and what of it needs somebody's attention.

    Of a pull, `pulled` are the lines about what became of branches here; where those of the remote
    are is not worth a line then.
    """
    if report.dry_run or not output.quiet:
        _print_came(output, report, pulled)
    _print_waiting(output, report)
    for name in report.conflicts:
        where = clean(report.remote)
        output.warn(f"tag {clean(name)} of {where} is not taken: in use here, or deleted here")
    if report.purged:
        _print_purged(output, report)
    for place in report.reliant:
        output.warn(
            f"{clean(place)} needs bytes that were purged here: it cannot be read here, and by "
            f"nobody after cas push {clean(report.remote)}"
        )


def _print_came(output: Output, report: FetchReport, pulled: Sequence[str] | None) -> None:
    place = f"{clean(report.remote)} ({clean(report.url)})"
    moves = [m for m in report.moves if pulled is None or not m.ref.startswith(REMOTES)]
    for line in [*moved_lines(moves), *(pulled or ())]:
        output.row(line)
    what = plural(report.objects, "object")
    what += f", {plural(report.notes, 'note')} among them" if report.notes else ""
    if not report.changed:
        if not pulled:
            output.line(f"nothing new in {place}")
    elif report.dry_run:
        output.line(f"would fetch {what} from {place}, about {size(report.bytes)}")
    else:
        requests = plural(report.requests, "request")
        output.line(f"fetched {what} from {place}: {size(report.bytes)}, {requests}")


def _print_waiting(output: Output, report: FetchReport) -> None:
    """What others left in the inbox of the bucket."""
    for waiting in report.waiting:
        said = clean(waiting.note.value or waiting.note.subject)
        about = short(waiting.note.target)
        output.say(f"not yet counted: {said} of {about} by {clean(waiting.note.by)}")
    if report.waiting:
        what = plural(len(report.waiting), "note")
        place = f"{clean(report.remote)} ({clean(report.url)})"
        output.say(f"{what} in the inbox of {place}: cas push {report.remote} takes them along")


def _print_purged(output: Output, report: FetchReport) -> None:
    """What was purged there and still lies here, and the command that purges it here."""
    if not report.places:
        ids = ", ".join(short(id) for id in report.purged[:3])
        more = ", …" if len(report.purged) > 3 else ""
        output.say(f"{ids}{more}: purged there, still here, and in no version: cas gc lets it go")
        return
    for place in report.places:
        who = f" by {clean(place.by)}" if place.by else ""
        output.warn(f"{clean(place.selector)}: purged there{who} ({clean(place.why)}), still here")
    names = " ".join(quoted(place.selector) for place in report.places)
    why = quoted(report.places[0].why or "purged there")
    output.next(f"cas purge {clean(names)} --reason {clean(why)} --include all")
