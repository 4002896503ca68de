"""Noting: what the commands that write a note share, their options and their words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from castore.cli.access import actor
from castore.cli.describe import moment, review_text
from castore.cli.invocation import Invocation
from castore.cli.screen import clean, first_line
from castore.model.ids import Id, short
from castore.model.note import Note
from castore.model.status import Status
from castore.store.context import parse_agent
from castore.store.notes import AGENT, known_as, note_record
from castore.store.policy import Approval, approval, policy_in_force
from castore.store.records import approvals_record
from castore.store.standing import status_of
from castore.store.statements import Speaker, Stated
from castore.store.store import Store

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def note_options(function: AnyFunction) -> AnyFunction:
    """The options of every command that writes a note."""
    for option in (
        click.option("--agent", default="", metavar="A@V", help="the agent that acts for you"),
        click.option("--author", default="", metavar="WHO", help="who you are (else CAS_AUTHOR …)"),
        click.option("-m", "--message", default="", metavar="TEXT", help="what you say about it"),
    ):
        function = option(function)
    return function


def expect_option(function: AnyFunction) -> AnyFunction:
    """The option --expect of a command that gives a verdict."""
    help = "refuse if REV is another version than this full id"
    return click.option("--expect", default="", metavar="ID", help=help)(function)


def speaker(call: Invocation, author: str, agent: str) -> Speaker:
    """Who acts: the author as for a commit, and the agent of --agent or CAS_AGENT."""
    acting = parse_agent(agent or call.environ.get("CAS_AGENT", ""))
    return Speaker(actor(call, author), acting)


def print_stated(call: Invocation, store: Store, stated: Stated, done: str) -> None:
    """Tell what was written and what the notes come to now; `done` is what happened."""
    version, output = stated.version, call.output
    status = status_of(store, version)
    for warning in stated.warnings:
        output.warn(clean(warning))
    judged = None
    if stated.note.subject == "review":
        judged = approval(store, version, policy_in_force(store, version))
    if output.json:
        output.record(
            {
                "id": version.id.hex(),
                "label": version.label,
                "review": status.review,
                "approvals": approvals_record(status),
                "lifecycle": status.lifecycle,
                "approved": judged.approved if judged else None,
                "wanting": list(judged.reasons) if judged else None,
                "uncounted": dict(judged.uncounted) if judged else None,
                "warnings": list(stated.warnings),
                "note": note_record(stated.id, stated.note),
            }
        )
        return
    approves = stated.note.value == "approved"
    if judged is not None and approves and known_as(stated.note.by) in judged.uncounted:
        done = "noted, but it does not count: approval of"
    output.line(f"{done} {clean(version.label)} {version.id.hex()}")
    words = status_words(status)
    output.line(f"note {short(stated.id)} by {writer(stated.note)}; {', '.join(words)}")
    if judged is not None and status.approvers and not judged.approved:
        output.say(f"not approved yet: {clean('; '.join(judged.reasons))}")
    elif judged is not None:
        for sentence in _in_vain(stated.note, judged):
            output.say(sentence)
    output.next(f"cas show {version.label}")


def _in_vain(note: Note, judged: Approval) -> Iterator[str]:
    """What an approval or a request does not do where the version is approved anyway."""
    name = known_as(note.by)
    if note.value == "approved" and name in judged.uncounted:
        yield f"{clean(note.by)} approved, which {clean(judged.uncounted[name])}"
    if note.value == "requested" and judged.approved:
        yield "it is approved: nothing waits for a verdict"


def status_words(status: Status) -> list[str]:
    """What the notes come to, as words: the review, the lifecycle, where it is deployed."""
    more = f" by {status.counted}" if status.review == "approved" and status.counted > 1 else ""
    words = [f"review {review_text(status)}{more}", status.lifecycle]
    return words + [f"deployed to {clean(name)}" for name in status.deployments]


def writer(note: Note) -> str:
    """Who wrote a note, and the agent that acted for them."""
    agent = note.meta.get(AGENT)
    return clean(note.by) + (f" (agent {clean(str(agent))})" if agent else "")


def note_line(id: Id, note: Note, *, stands: bool = True) -> str:
    """A note on one line."""
    said = note.value or ("dismissal" if note.meta.get("dismiss") is True else note.subject)
    if note.subject == "deployment":
        said = f"{'removed' if note.meta.get('state') == 'removed' else 'deployed'} {said}"
    old = "" if stands else " (replaced)"
    if note.subject == "signature":
        said = f"signed by {said}"
    text = first_line(note.text) if note.subject != "signature" else ""
    line = f"{short(id)}  {moment(note.at)}  {clean(said)}{old}  {writer(note)}"
    return f"{line}  {text}" if text else line
