"""`cas commit`: store outputs as the next version."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from castore.cli.access import opened
from castore.cli.committing import (
    ask_of,
    context_of,
    making_options,
    meta_of,
    next_command,
    report_lines,
    report_record,
    sources_of,
)
from castore.cli.completing import revisions
from castore.cli.failure import fault_lines
from castore.cli.invocation import Invocation
from castore.cli.options import LINKS, sign_option, spec_option
from castore.cli.output import Output
from castore.cli.paths import files
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, size
from castore.cli.signing import key_to_sign, sign_stored
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.store.commit import CommitRequest, commit, preview
from castore.store.preview import Preview
from castore.store.report import CommitReport
from castore.store.store import Store


@verb(
    "commit",
    examples=[
        ("cas commit -m first out/", "a folder; its entries are the artifacts"),
        ("cas commit --spec report.spec.yaml --only summary", "one anew, the rest carried"),
        ("make-report | cas commit --name report report.md=-", "from a pipe"),
    ],
)
@click.argument("paths", nargs=-1, metavar="[PATH | NAME=PATH | NAME=-]…", shell_complete=files)
@click.option("-m", "--message", default="", metavar="TEXT", help="what this version is")
@spec_option("the spec (else the one *.spec.yaml here)")
@click.option("--name", default="", metavar="NAME", help="the branch (else the spec's or folder's)")
@click.option("--only", multiple=True, metavar="NAME", help="make this artifact, carry the others")
@making_options
@click.option(
    "--parent", default="", metavar="REV", help="refuse if the branch is not at REV",
    shell_complete=revisions,
)  # fmt: skip
@click.option("--partial", is_flag=True, help="keep an incomplete set on purpose")
@click.option("--resume", default="", metavar="RUN", help="go on with an incomplete set")
@click.option(
    "--operation-id", default="", metavar="ID", help="give the same version when repeated"
)
@click.option("--if-changed", is_flag=True, help="do nothing when the set is identical")
@click.option("--rebase", is_flag=True, help="in a bucket: after the versions of others")
@click.option(
    "--links",
    type=click.Choice(LINKS),
    default="refuse",
    help="symbolic links; follow stays inside the folder",
)
@sign_option("sign the version, by signing.key")
@click.option("-n", "--dry-run", is_flag=True, help="say what would be stored, store nothing")
@click.pass_obj
def command(call: Invocation, /, paths: tuple[str, ...], **given: Any) -> int:
    """Store outputs as the next version of a branch, all or nothing.

    Without a spec one folder is the set and names the branch. With one, artifacts are found where
    it says. Your files are never moved, locked or changed. A set its spec refuses is kept as a
    partial, to go on with by --resume.
    """
    with opened(call, given["spec"]) as store:
        if store.behind:
            store.behind.rebase = given["rebase"]
        elif given["rebase"]:
            raise InvalidInput(
                "--rebase is for a store in a bucket: here commits never lose to each other",
                fix="leave --rebase out",
            )
        request = _request(call, store, paths, given)
        if given["dry_run"]:
            return _print_preview(call.output, preview(store, request))
        key = key_to_sign(store) if given["sign"] else None
        with Progress(call.output, "storing") as progress:
            report = commit(store, request, progress=progress.advance)
        if key is not None:
            sign_stored(call, store, report.version, request.context, key)
        _print_report(call.output, store, report)
    return 0


def _request(
    call: Invocation, store: Store, paths: tuple[str, ...], given: dict[str, Any]
) -> CommitRequest:
    return CommitRequest(
        cwd=Path(os.getcwd()),
        paths=paths,
        spec=Path(given["spec"]) if given["spec"] else None,
        name=given["name"],
        only=given["only"],
        message=given["message"],
        context=context_of(call, given),
        sources=sources_of(store, given),
        meta=meta_of(given["meta"], given["label"]),
        parent=given["parent"],
        partial=given["partial"],
        resume=given["resume"],
        if_changed=given["if_changed"],
        links=given["links"],
        allow_secrets=given["allow_secret"],
        stdin=_stdin(paths),
        ask=ask_of(given),
    )


def _stdin(paths: Sequence[str]) -> BinaryIO | None:
    if sys.stdin is None or not any(path.endswith("=-") for path in paths):
        return None
    return sys.stdin.buffer


def _print_report(output: Output, store: Store, report: CommitReport) -> None:
    if output.json:
        output.record(report_record(store, report))
        return
    for warning in report.warnings:
        output.warn(warning)
    for line in report_lines(output, report):
        output.line(line)
    output.next(next_command(report))


def _print_preview(output: Output, found: Preview) -> int:
    """Print what would be stored; the exit code of the commit that was not made."""
    code = 5 if found.missing or found.faults else 0
    if output.json:
        output.record(_preview_record(found))
        return code
    for warning in found.warnings:
        output.warn(warning)
    rows = [(row.state, clean(row.name), size(row.size)) for row in found.artifacts]
    rows += [("missing", clean(name), "") for name in found.missing]
    for line in columns(rows, right=[2]):
        output.line(line)
    if found.stands is not None:
        output.line(f"would make nothing: {clean(found.stands.label)} is given back")
    else:
        output.line(
            f"would make {clean(found.branch)}@v{found.number}: {size(found.new_bytes)} new, "
            f"{size(found.known_bytes)} known"
        )
    if found.identical:
        output.say("nothing differs from the parent")
    for line in fault_lines(found.faults):
        output.say("  " + line)
    if code:
        secret = any(fault["check"] == "secret" for fault in found.faults)
        kept = "nothing of it is kept" if secret else "kept as a partial"
        output.say(f"such a commit is refused, and {kept}")
    return code


def _preview_record(found: Preview) -> dict[str, Any]:
    return {
        "dry_run": True,
        "branch": found.branch,
        "number": found.number,
        "parent": found.parent.id.hex() if found.parent else None,
        "artifacts": [
            {"name": row.name, "state": row.state, "size": row.size} for row in found.artifacts
        ],
        "new_bytes": found.new_bytes,
        "known_bytes": found.known_bytes,
        "stored_bytes": found.stored_bytes,
        "missing": list(found.missing),
        "faults": [dict(fault) for fault in found.faults],
        "identical": found.identical,
        "stands": found.stands.id.hex() if found.stands else None,
        "warnings": list(found.warnings),
    }
