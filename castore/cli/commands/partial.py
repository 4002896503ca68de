"""`cas partial`: incomplete sets."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import actor, opened
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, plural
from castore.cli.verbs import Family, verb
from castore.store.partials import Partial, discard_partials, find_partials, list_partials

command = Family(
    "partial",
    help=(
        "Look after incomplete sets.\n\nA commit that is refused, interrupted or killed loses "
        "nothing: what is good is kept, and `cas commit --resume RUN` goes on with it."
    ),
    examples=[
        ("cas partial list", "what waits, and how to go on"),
        ("cas partial show run-81", "what is there of one, what is missing"),
    ],
)


@verb(
    "list",
    family=command,
    examples=[
        ("cas partial list", "what waits, and how to go on"),
        ("cas partial list --json", "the same for a program"),
    ],
)
@click.pass_obj
def list_(call: Invocation) -> None:
    """List incomplete sets, newest first."""
    with opened(call) as store:
        partials = list_partials(store, cwd=Path.cwd())
        if call.output.json:
            for partial in partials:
                call.output.record(partial.as_json())
            return
        if not partials:
            call.output.say("no incomplete sets")
        for number, partial in enumerate(partials):
            if number:
                call.output.line()
            _summary(call.output, partial)


@verb(
    "show",
    family=command,
    examples=[
        ("cas partial show run-81", "one run's incomplete sets"),
        ("cas partial show run-81 --name report", "that of one branch"),
    ],
)
@click.argument("run", metavar="RUN")
@click.option("--name", default="", metavar="NAME", help="of this branch, where a run has several")
@click.pass_obj
def show(call: Invocation, run: str, name: str) -> None:
    """Show the incomplete sets of one run: what is there, missing and failed."""
    with opened(call) as store:
        for partial in find_partials(store, run, name, cwd=Path.cwd()):
            if call.output.json:
                call.output.record(partial.as_json())
                continue
            _summary(call.output, partial)
            for word, names in (
                ("good", partial.artifacts),
                ("missing", partial.missing),
                ("failed", partial.failed),
            ):
                for artifact in names:
                    call.output.row(f"  {word:<8} {clean(artifact)}")
            if partial.version:
                for check in partial.version.manifest.checks:
                    if check.result == "failed":
                        text = f"{check.artifact}: {check.check}: {check.detail}"
                        call.output.line(f"  {clean(text)}")


@verb(
    "discard",
    family=command,
    examples=[
        ("cas partial discard run-81", "give it up, after a question"),
        ("cas partial discard run-81 --yes", "without one"),
    ],
)
@click.argument("run", metavar="RUN")
@click.option("--name", default="", metavar="NAME", help="of this branch, where a run has several")
@click.option("-n", "--dry-run", is_flag=True, help="say what would go, change nothing")
@click.pass_obj
def discard(call: Invocation, run: str, name: str, dry_run: bool) -> None:
    """Give up the incomplete sets of one run.

    What only they held may then be freed. Asks first, at a terminal; elsewhere --yes is needed.
    """
    with opened(call) as store:
        found = find_partials(store, run, name)
        count = sum(len(partial.artifacts) for partial in found)
        what = f"the incomplete set of {found[0].branch}, run {run} ({plural(count, 'artifact')})"
        if not dry_run:
            call.confirm(f"Discard {clean(what)}?")
            found = discard_partials(store, run, name, by=actor(call))
        if call.output.json:
            for partial in found:
                call.output.record({**partial.as_json(), "discarded": not dry_run})
            return
        call.output.line(f"{'would discard' if dry_run else 'discarded'} {clean(what)}")


def _summary(output: Output, partial: Partial) -> None:
    label = output.style(clean(f"partial/{partial.run}/{partial.branch}"), "yellow")
    who = clean(partial.author) or "unknown"
    output.line(f"{label}  {partial.kind}  {moment(partial.at)}  {who}")
    counts = [f"{len(partial.artifacts)} good"]
    counts += [f"{len(names)} {word}" for word, names in _bad(partial) if names]
    output.line(f"  {', '.join(counts)}")
    if partial.reason:
        output.line(f"  {clean(partial.reason)}")
    output.line(f"  go on: {clean(partial.command)}")


def _bad(partial: Partial) -> list[tuple[str, tuple[str, ...]]]:
    return [("missing", partial.missing), ("failed", partial.failed)]
