"""`cas gate`: whether a version may go out, by its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from castore.cli.access import opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.options import spec_option
from castore.cli.paths import files
from castore.cli.progress import Progress
from castore.cli.screen import clean
from castore.cli.verbs import verb
from castore.content.absent import unreadable
from castore.errors import InvalidSpec
from castore.spec.parse import REQUIREMENTS
from castore.store.gate import APPROVED, gate

_POLICY_BYTES = 1 << 20


@verb(
    "gate",
    examples=[
        ("cas gate report@v7", "exit 0 if it is approved and valid, else 6"),
        ("cas gate report --require approved,fresh", "the newest, and not made under an old spec"),
        ("cas gate ./release/", "the version with exactly these files"),
    ],
)
@click.argument("what", metavar="REV|./FOLDER|./FILE", shell_complete=revisions)
@click.option(
    "--require", "words", multiple=True, metavar="WORD,…", help=f"of {', '.join(REQUIREMENTS)}"
)
@click.option(
    "--policy", default="", metavar="FILE", help="a policy that counts too", shell_complete=files
)
@click.option("--expect", default="", metavar="ID", help="refuse unless REV is this full id")
@spec_option("what fresh compares with (else the one recorded)")
@click.pass_obj
def command(
    call: Invocation, what: str, words: tuple[str, ...], policy: str, expect: str, spec: str
) -> None:
    """Let a version pass, or refuse it with exit code 6 and every reason.

    REV is a branch or tag, with or without a selector, or a full id. A folder on disk (begins with
    . or /) is the version with exactly its files, a file one that holds it. Without --require what
    the policy says, else approved and valid. What is incomplete,
    withdrawn, forgotten or purged never passes.
    """
    require = [word for text in words for word in text.split(",") if word]
    with (
        opened(call, spec) as store,
        Progress(call.output, "reading") as progress,
        _named(policy),
    ):
        judged = gate(
            store,
            what,
            require=require,
            policy=_policy(policy) if policy else None,
            expect=expect,
            spec=Path(spec) if spec else None,
            cwd=Path.cwd(),
            progress=progress.advance,
        )
    if not judged.passed:
        raise judged.error()
    if call.output.json:
        call.output.record(judged.as_json())
        return
    version = judged.version
    label = call.output.style(clean(version.label), "yellow")
    by = f" by {', '.join(map(clean, judged.approvers))}" if judged.approvers else ""
    passed = [word + by if word == APPROVED else word for word in judged.require]
    call.output.line(f"{label}  {version.id.hex()}  {('; ' if by else ', ').join(passed)}")
    for note in judged.notes:
        call.output.say(clean(note))


@contextmanager
def _named(policy: str) -> Iterator[None]:
    """Faults of the policy file are told under its name."""
    try:
        yield
    except InvalidSpec as error:
        if policy and error.where == "policy":
            error.where = error.attributes["where"] = policy
        raise


def _policy(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_POLICY_BYTES)
    except OSError as error:
        raise unreadable("policy", Path(path), error) from None
