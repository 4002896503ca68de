"""`cas status`: the work folder against the newest version of its branch."""

from __future__ import annotations

import os
from pathlib import Path

import click

from castore.cli.access import default_branch, opened, spec_head
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.options import LINKS, spec_option
from castore.cli.output import Output
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.model.names import quoted
from castore.store.diff_trees import FileChange
from castore.store.status import UNCHANGED, WorkArtifact, WorkStatus, status

_COLORS = {"modified": "yellow", "new": "green", "missing": "red"}
_QUIET = frozenset({UNCHANGED, "external"})
_FILES_SHOWN = 20
_UNDECLARED_SHOWN = 10


@verb(
    "status",
    examples=[
        ("cas status", "what differs from the newest version"),
        ("cas status report --exit-code", "the same, exit 1 when something does"),
    ],
)
@click.argument("name", required=False, metavar="[BRANCH]", shell_complete=revisions)
@spec_option("the spec (else the one *.spec.yaml here)")
@click.option(
    "--links",
    type=click.Choice(LINKS),
    default="refuse",
    help="symbolic links, as in commit",
)
@click.option("--exit-code", is_flag=True, help="exit with 1 when something differs")
@click.pass_obj
def command(call: Invocation, name: str | None, spec: str, links: str, exit_code: bool) -> int:
    """Compare the work folder with the newest version, and with the spec.

    The branch is BRANCH, else that of --spec, of the one *.spec.yaml here, or the only one. The
    folder is where the spec says, else where the newest version was committed from.
    """
    head = spec_head(spec) if spec or name is None else None
    with opened(call, spec) as store:
        branch = name or default_branch(store, spec)
        with Progress(call.output, "reading") as progress:
            found = status(
                store,
                branch,
                spec=head.path if head else None,
                links=links,
                progress=progress.advance,
            )
        if call.output.json:
            call.output.record(found.as_json())
        else:
            _print(call.output, found, store.root)
    return 1 if exit_code and not found.clean else 0


def _print(output: Output, found: WorkStatus, root: Path) -> None:
    _print_head(output, found)
    if found.absent:
        output.line(f"nothing to compare: {clean(found.absent)} is not here")
        return
    for change in found.spec:
        old, new = (value[:12] or "none" for value in (change.old, change.new))
        output.line(f"spec {change.field}: {clean(old)} → {clean(new)}")
    undeclared = [row for row in found.artifacts if row.state == "undeclared"]
    hidden = undeclared[_UNDECLARED_SHOWN:] if not output.verbose else []
    for row in found.artifacts:
        if (row.state in _QUIET and not output.verbose) or row in hidden:
            continue
        state = f"{_state(row):<10}"
        output.line(f"  {output.style(state, _COLORS.get(row.state, 'dim'))}  {clean(row.name)}")
        for line in _file_lines(row):
            output.line("      " + line)
    if hidden:
        output.line(f"  … and {len(hidden):,} more that are not declared (-v lists all)")
    same = sum(row.state == UNCHANGED for row in found.artifacts)
    if same:
        output.line(f"  {plural(same, 'artifact')} unchanged")
    if found.clean:
        output.line("nothing to commit")
    else:
        output.next(_commit(found, root))


def _print_head(output: Output, found: WorkStatus) -> None:
    head = found.head
    if head is None:
        output.line(f"{clean(found.branch)}: no version yet")
    else:
        output.line(f"{output.style(clean(head.label), 'yellow')}  {head.short}")
    facts = [("folder", found.folder), ("spec", f"{found.spec_path} {found.spec_version}".strip())]
    for line in columns([(word, clean(value)) for word, value in facts if value]):
        output.line(line)


def _state(row: WorkArtifact) -> str:
    return "optional" if row.state == "missing" and not row.required else row.state


def _file_lines(row: WorkArtifact) -> list[str]:
    lines = [_file_line(change) for change in row.files[:_FILES_SHOWN]]
    more = len(row.files) - len(lines) + row.more_files
    return [*lines, f"… and {plural(more, 'more file')}"] if more else lines


def _file_line(change: FileChange) -> str:
    sign = {"added": "+", "removed": "-"}.get(change.change, "~")
    sizes = " → ".join(size(side.size) for side in (change.old, change.new) if side)
    return f"{sign} {clean(change.path)}  {sizes}"


def _commit(found: WorkStatus, root: Path) -> str:
    """The command that commits what was compared; recorded paths are relative to `root`."""
    place = os.path.relpath(root / (found.spec_path or found.folder))
    if found.spec_path:
        return f"cas commit --spec {quoted(place)}"
    named = os.path.basename(os.path.abspath(place)) == found.branch
    place = quoted(place)
    return f"cas commit {place}" if named else f"cas commit --name {found.branch} {place}"
