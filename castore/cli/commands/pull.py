"""`cas pull`: bring versions from a remote, and move branches here forward."""

from __future__ import annotations

from collections.abc import Sequence

import click

from castore.cli.access import actor, opened
from castore.cli.commands.fetch import print_fetched
from castore.cli.commands.push import moved_lines
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean
from castore.cli.syncing import all_option, depth_meant, depth_options, with_each
from castore.cli.verbs import verb
from castore.model.ids import short
from castore.store.sync import pull
from castore.store.sync_pull import PullReport


@verb(
    "pull",
    examples=[
        ("cas pull", "all branches of the remote"),
        ("cas pull --rebase origin weekly-report", "put the versions of here after those of there"),
    ],
)
@click.argument("remote", required=False, metavar="[REMOTE", shell_complete=remote_names)
@click.argument("refs", nargs=-1, metavar="[REF]…]")
@click.option("--rebase", is_flag=True, help="make versions that only are here anew after theirs")
@depth_options
@all_option
@click.option("-n", "--dry-run", is_flag=True, help="say what would come, change nothing")
@click.pass_obj
def command(
    call: Invocation,
    remote: str | None,
    refs: tuple[str, ...],
    rebase: bool,
    depth: int | None,
    unshallow: bool,
    every: bool,
    dry_run: bool,
) -> int:
    """Fetch, and move branches here forward to where they are in the remote.

    A branch with versions on both sides stays: exit 4, unless --rebase makes those of here anew
    after the remote's. They keep their sets and get other ids; approvals do not follow.
    """
    far = depth_meant(depth, unshallow=unshallow)

    def one(name: str, names: Sequence[str]) -> None:
        with Progress(call.output, "fetching") as progress:
            report = pull(
                store,
                name,
                names,
                by=actor(call),
                rebase=rebase,
                depth=far,
                dry_run=dry_run,
                progress=progress.advance,
            )
        if call.output.json:
            call.output.record(report.as_json())
        else:
            print_pulled(call.output, report)

    with opened(call) as store:
        return with_each(call, store, remote, refs, one, every=every)


def print_pulled(output: Output, report: PullReport) -> None:
    """What came, and which branches moved."""
    print_fetched(output, report.fetched, pulling=True)
    for line in moved_lines(report.moves):
        output.row(line)
    for old in report.rebased:
        branch = clean(old.branch)
        output.row(
            f"{branch}@v{old.old_number} ({short(old.old)}) is {branch}@v{old.new_number} "
            f"({short(old.new)}) now"
        )
    for taken in report.takes_back:
        output.warn(f"{taken.branch}: {taken.words}")
    if report.rebased:
        output.say("approvals were of the versions before: ask for them again")
    for name in report.diverged:
        output.row(f"{clean(name)}: what is only here would be made anew after what is there")
    for name in report.ahead:
        output.say(f"{clean(name)} has versions here that the remote has not")
    if report.ahead and not report.dry_run:
        output.next(f"cas push {report.fetched.remote}")
