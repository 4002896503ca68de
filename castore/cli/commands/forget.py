"""`cas forget`: let go of versions."""

from __future__ import annotations

import click

from castore.cli.access import actor, full_rev, opened
from castore.cli.completing import revisions
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.store.forget import ForgetReport, ForgetRequest, forget
from castore.store.moments import parse_moment
from castore.store.retention import Rules


@verb(
    "forget",
    examples=[
        ("cas forget report@v3 -m 'wrong input'", "let go of version 3"),
        ("cas forget --keep-last 10 --all -n", "what rules would let go of, in bytes"),
        ("cas forget --keep-within 90d --name report", "what is older than that"),
    ],
)
@click.argument("revs", nargs=-1, metavar="[REV]…", shell_complete=revisions)
@click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="newest N")
@click.option("--keep-within", default="", metavar="AGE", help="not older than AGE: 90d")
@click.option("--keep-approved", is_flag=True, help="approved versions")
@click.option("--keep-deployed", is_flag=True, help="what is deployed, as any rule does")
@click.option("--keep-tagged", is_flag=True, help="tagged ones, as any rule does")
@click.option("--name", "names", multiple=True, metavar="NAME", help="rules: of this branch")
@click.option("--all", "everywhere", is_flag=True, help="rules: of every branch")
@click.option("-f", "--force", is_flag=True, help="REV even if named or deployed")
@click.option("-m", "--message", default="", metavar="TEXT", help="why, for the record")
@click.option("-n", "--dry-run", is_flag=True, help="say what would go, change nothing")
@click.pass_obj
def command(
    call: Invocation,
    /,
    revs: tuple[str, ...],
    keep_last: int | None,
    keep_within: str,
    names: tuple[str, ...],
    everywhere: bool,
    force: bool,
    message: str,
    dry_run: bool,
    **keep: bool,
) -> None:
    """Let go of versions: of each REV, or of what the --keep rules do not keep.

    What only they held is freed by the next cas gc; until then cas op undo has it back. Versions
    stay in cas log and in lineage, with who forgot them and why. Rules never take the newest
    version of a branch, what is deployed, nor what a tag, a pin or a branch that they are not about
    holds. A REV that a branch, tag or pin names, or that is deployed, goes only with --force.
    """
    with opened(call) as store:
        now = store.now()
        rules = Rules(
            last=keep_last or 0,
            within=max(0, now - parse_moment(keep_within, now)) if keep_within else None,
            approved=keep["keep_approved"],
            tagged=keep["keep_tagged"],
            deployed=keep["keep_deployed"],
        )
        request = ForgetRequest(
            revs=tuple(full_rev(store, rev) for rev in revs),
            rules=rules,
            branches=names,
            everywhere=everywhere,
            force=force,
            dry_run=dry_run,
            by=actor(call),
            why=message,
        )
        report = forget(store, request)
    if call.output.json:
        call.output.record(report.as_json())
        return
    _print(call.output, report)


def _print(output: Output, report: ForgetReport) -> None:
    word = "would forget" if report.dry_run else "forgot"
    for version in report.versions:
        output.row(f"{word} {clean(version.label)}  {version.short}  {moment(version.manifest.at)}")
    rows = [("stays", f"{count:,}", clean(reason)) for reason, count in report.kept]
    if report.already:
        rows.append(("before", f"{report.already:,}", "forgotten already"))
    if report.freed is not None:
        rows.append(("frees", size(report.freed), f"as stored, {report.freed:,} bytes, by cas gc"))
    for line in columns(rows, right=[1]):
        output.row(line)
    if report.dry_run:
        output.say(f"with what is dead anyway, cas gc would free {size(report.collectable or 0)}")
        return
    output.say(f"{plural(len(report.versions), 'version')} forgotten")
    if report.record is not None:
        output.say(f"to have them back before cas gc: cas op undo {report.record.sequence}")
        output.next("cas gc -n")
