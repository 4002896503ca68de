"""`cas blame`: who made an artifact, and who changed it last."""

from __future__ import annotations

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.describe import agent_text, moment
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, plural
from castore.cli.verbs import verb
from castore.model.ids import short
from castore.store.blame import Blame, blame
from castore.store.recognition import as_path
from castore.store.version import Version


@verb(
    "blame",
    examples=[
        ("cas blame report:summary", "who made it, and who changed it last"),
        ("cas blame report", "the same of each artifact"),
        ("cas blame ./summary.md", "of the file with these bytes"),
    ],
)
@click.argument("what", metavar="REV[:ARTIFACT[/PATH]]|./FILE", shell_complete=revisions)
@click.pass_obj
def command(call: Invocation, what: str) -> None:
    """Show which version made an artifact, and which one last changed its bytes.

    With the agent, the run and the spec version of each. What was carried on leads to the version
    that made it. A file or folder on disk (begins with . or /) is known by its bytes.
    """
    with opened(call) as store, Progress(call.output, "reading", unit=_versions) as progress:
        if as_path(what) is None:
            what = full_rev(store, what)
        found = blame(store, what, progress=progress.advance)
    for one in found:
        if call.output.json:
            call.output.record(one.as_json())
        else:
            _print(call.output, one)


def _versions(count: int) -> str:
    return plural(count, "version")


def _print(output: Output, found: Blame) -> None:
    digest = short(found.digest) or "unknown"
    output.line(f"{output.style(clean(found.name), 'yellow')}  {found.version.short}  {digest}")
    made, changed = found.made, found.changed
    rows = [_row("made", made) if made else ("made", short(found.made_id), "not stored here")]
    rows.append(_row("changed" if found.complete else "changed by", changed))
    if not found.complete:
        output.say("  what was before that is not stored here: it may be older")
    filled = [(*row, *[""] * (6 - len(row))) for row in rows]
    for line in columns(filled):
        output.wrap(f"  {line}", " " * 10)
    if found.before:
        output.row(f"  before that as in {clean(found.before.label)}  {found.before.short}")


def _row(word: str, version: Version) -> tuple[str, ...]:
    manifest = version.manifest
    spec = f"spec {clean(manifest.spec.version)}" if manifest.spec.version else "no spec"
    who = agent_text(manifest.agent) if manifest.agent.id else clean(manifest.author) or "unknown"
    run = f"run {clean(manifest.run)}" if manifest.run else "run unknown"
    place = f"{clean(version.label)} {version.short}"
    return word, place, moment(manifest.at), who, spec, run
