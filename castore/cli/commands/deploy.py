"""`cas deploy`: say what is deployed where."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.noting import note_options, print_stated, speaker
from castore.cli.screen import clean, columns, first_line
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.store.deployments import Deployment, deployments
from castore.store.review import deploy
from castore.store.selectors import resolve_version
from castore.store.store import Store


@verb(
    "deploy",
    examples=[
        ("cas deploy report@approved --to production", "record that it is there now"),
        ("cas deploy report --to production --remove", "and that it is no longer"),
        ("cas deploy", "what is where, by whom, and who approved it"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.option("--to", "environment", default="", metavar="ENV", help="the environment")
@click.option("--remove", is_flag=True, help="REV is not there any more")
@note_options
@click.pass_obj
def command(
    call: Invocation,
    rev: str | None,
    environment: str,
    remove: bool,
    message: str,
    author: str,
    agent: str,
) -> None:
    """Record that REV is deployed to ENV, or list what is deployed where.

    castore deploys nothing itself. For each environment and spec one version is there: the last
    that was said to be, whoever said it. The list tells who said so, when, and who approved the
    version, if that is enough for the policy in force. What is not approved, or is withdrawn, is
    recorded with a warning; what was forgotten or purged is refused.
    """
    with opened(call) as store:
        if rev is None and not (environment or remove):
            _list(call, store)
            return
        if rev is None or not environment:
            raise InvalidInput("which version, and where?", fix="cas deploy REV --to ENV")
        version = resolve_version(store, full_rev(store, rev))
        who = speaker(call, author, agent)
        stated = deploy(store, version, environment, who, text=message, remove=remove)
        done = f"removed from {environment}:" if remove else f"deployed to {environment}:"
        print_stated(call, store, stated, done)


def _approval(item: Deployment) -> str:
    """Who approved what is deployed, what is wanting, and what else speaks against it."""
    who = ", ".join(item.approval.approvers)
    if item.approval.approved:
        words = [f"approved by {who}"]
    else:
        words = [f"not approved: {'; '.join(item.approval.reasons)}"]
        words.append(f"approved by {who}" if who else "")
    words.append("withdrawn" if item.status.lifecycle == "withdrawn" else "")
    words.append("forgotten" if item.removal else "")
    return "; ".join(filter(None, words))


def _list(call: Invocation, store: Store) -> None:
    found = deployments(store)
    if call.output.json:
        for item in found:
            call.output.record(item.as_json())
        return
    if not found:
        call.output.say("nothing is deployed")
    rows = [
        (
            clean(item.environment),
            clean(item.version.label),
            item.version.short,
            moment(item.note.at),
            clean(item.note.by),
            clean(_approval(item)),
            first_line(item.note.text),
        )
        for item in found
    ]
    for line in columns(rows):
        call.output.wrap(line)
