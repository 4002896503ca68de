"""`cas op`: the operation log, and taking back what it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from castore.cli.access import actor, opened
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.screen import clean, clip, first_line, plural
from castore.cli.verbs import Family, verb
from castore.database.operations import Operation, RefMove
from castore.store.operations import operation_log, operation_record
from castore.store.undo import undo

_WHO_COLUMNS: Final = 24

command = Family(
    "op",
    help="Look into the operation log, every ref that moved, when, by whom and why; take one back.",
    examples=[
        ("cas op log -n 20", "the newest twenty operations"),
        ("cas op undo", "take back the newest move of a branch"),
    ],
)


@verb(
    "log",
    family=command,
    examples=[
        ("cas op log -n 20", "the newest twenty operations"),
        ("cas op log --json", "all of them, one object a line"),
    ],
)
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="at most N operations")
@click.pass_obj
def log(call: Invocation, limit: int | None) -> None:
    """Show operations, newest first.

    The log is append-only and hash-chained: cas fsck verifies it.
    """
    with opened(call) as store:
        operation = None
        for operation in operation_log(store, limit):
            if call.output.json:
                call.output.record(operation_record(operation))
                continue
            for line in _lines(operation):
                call.output.row(line)
        if operation is None and limit != 0:
            call.output.say("no operations yet")


@verb(
    "undo",
    family=command,
    examples=[
        ("cas op undo", "take back the newest move of a branch"),
        ("cas op undo 12", "take back operation 12 of cas op log"),
        ("cas op undo 12 -n", "what that would move"),
    ],
)
@click.argument("sequence", required=False, type=click.IntRange(min=1), metavar="[N]")
@click.option("-m", "--message", default="", metavar="TEXT", help="why, for the operation log")
@click.option("-n", "--dry-run", is_flag=True, help="say what would move, change nothing")
@click.pass_obj
def undo_command(call: Invocation, sequence: int | None, message: str, dry_run: bool) -> None:
    """Take back what operation N did: a commit, a branch made, moved or deleted, a forget.

    N is the number that cas op log shows; without it the newest that was not taken back yet, unless
    a note, tag, pin or purge is newer. Refs must still be where the operation left them. No version
    is lost; notes, tags and pins are never undone: you are told what to answer them with. This is
    an operation itself: undo its number to have the first one back.
    """
    with opened(call) as store:
        done = undo(store, sequence, by=actor(call), why=message, dry_run=dry_run)
        told = bool(store.url or store.own_config().remotes)
    if call.output.json:
        call.output.record(done.as_json())
        return
    said = "would undo" if dry_run else "undid"
    call.output.line(f"{said} operation {done.operation.sequence}, {clean(done.operation.op)}")
    for line in _moves(done.moves):
        call.output.row(line)
    if done.restored:
        word = "would have" if dry_run else "has"
        call.output.line(f"{plural(len(done.restored), 'version')} {word} content again")
        if told:
            call.output.warn(
                "only here: a bucket that was told of it keeps it as forgotten, and its next "
                "collection takes the bytes; commit them anew"
            )
    if done.record is not None and done.moves:
        call.output.next(f"cas op undo {done.record.sequence}")


def _lines(operation: Operation) -> list[str]:
    why = first_line(operation.why)
    head = f"{operation.sequence:>6}  {moment(operation.at)}  {clean(operation.op)}"
    who = clip(clean(operation.by), _WHO_COLUMNS) or "unknown"
    about = operation.detail.get("target") or operation.detail.get("id")
    noted = [f"          about {about.hex()[:12]}"] if isinstance(about, bytes) else []
    return [f"{head}  {who}" + (f"  {why}" if why else ""), *noted, *_moves(operation.refs)]


def _moves(refs: Sequence[RefMove]) -> list[str]:
    return [
        f"          {clean(name)}  {old.hex()[:12] or 'new'} → {new.hex()[:12] or 'deleted'}"
        for name, old, new in refs
    ]
