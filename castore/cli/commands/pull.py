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
from castore.store.sync_pull import PullReport, Rebased
from castore.store.taken_back import TakenBack


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
    would = [f"{clean(name)}: what is only here would be made anew" for name in report.diverged]
    print_fetched(
        output,
        report.fetched,
        [*moved_lines(report.moves), *map(rebased_line, report.rebased), *would],
    )
    print_taken(output, report.rebased, report.takes_back)
    for name in report.ahead:
        output.say(f"{clean(name)} has versions here that the remote has not")
    if report.ahead and not report.dry_run:
        output.next(f"cas push {report.fetched.remote}")


def rebased_line(made: Rebased) -> str:
    """A version that was made anew: what it was and what it is called now."""
    branch = clean(made.branch)
    return (
        f"{branch}@v{made.old_number} ({short(made.old)}) is {branch}@v{made.new_number} "
        f"({short(made.new)}) now"
    )


def print_taken(output: Output, rebased: Sequence[Rebased], taken: Sequence[TakenBack]) -> None:
    """What versions made anew take back of others, and that verdicts do not follow."""
    for one in taken:
        output.warn(f"{one.branch}: {one.words}")
    if any(made.reviewed for made in rebased):
        output.say("reviews were of the versions before: ask for them again")
