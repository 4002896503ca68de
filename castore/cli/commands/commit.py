"""`cas commit`: store outputs as the next version."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import click

from castore.cli.access import opened
from castore.cli.completing import revisions
from castore.cli.failure import fault_lines
from castore.cli.identity import author as author_of
from castore.cli.invocation import Invocation
from castore.cli.options import LINKS, spec_option
from castore.cli.output import Output
from castore.cli.paths import files
from castore.cli.progress import Progress
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.names import check_segment
from castore.store.commit import CommitRequest, commit, preview
from castore.store.context import Context, parse_agent
from castore.store.preview import Preview
from castore.store.records import version_record
from castore.store.report import CommitReport
from castore.store.store import Store

LABELS = "labels"


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
@click.option("--agent", default="", metavar="A@V", help="the agent and version that made it")
@click.option("--author", default="", metavar="WHO", help="who commits (else CAS_AUTHOR, CI, git)")
@click.option("--run", default="", metavar="RUN", help="the run it belongs to")
@click.option("--trace", default="", metavar="ID", help="the trace it belongs to")
@click.option("--workspace", default="", metavar="W", help="the workspace it belongs to")
@click.option(
    "--source", multiple=True, metavar="[A=]REF", help="an input: a version, artifact or URI"
)
@click.option("--meta", multiple=True, metavar="K=V", help="a note of your own")
@click.option("--label", multiple=True, metavar="L", help="a label, kept in meta")
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
@click.option(
    "--links",
    type=click.Choice(LINKS),
    default="refuse",
    help="symbolic links; follow stays inside the folder",
)
@click.option("-n", "--dry-run", is_flag=True, help="say what would be stored, store nothing")
@click.pass_obj
def command(call: Invocation, /, paths: tuple[str, ...], **given: Any) -> int:
    """Store outputs as the next version of a branch, all or nothing.

    Without a spec one folder is the set and names the branch. With one, artifacts are found where
    it says. Your files are never moved, locked or changed. A set its spec refuses is kept as a
    partial, to go on with by --resume.
    """
    with opened(call, given["spec"]) as store:
        request = _request(call, store, paths, given)
        if given["dry_run"]:
            return _print_preview(call.output, preview(store, request))
        with Progress(call.output, "storing") as progress:
            report = commit(store, request, progress=progress.advance)
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
        context=_context(call, store, given),
        sources=given["source"],
        meta=_meta(given["meta"], given["label"]),
        parent=given["parent"],
        partial=given["partial"],
        resume=given["resume"],
        if_changed=given["if_changed"],
        links=given["links"],
        stdin=_stdin(paths),
    )


def _context(call: Invocation, store: Store, given: dict[str, Any]) -> Context:
    context = Context.from_environ(call.environ, now=store.now(), entropy=store.entropy)
    who = author_of(given["author"], call.environ)
    return replace(
        context,
        author=who,
        agent=parse_agent(given["agent"]) if given["agent"] else context.agent,
        run=check_segment(given["run"], "run") if given["run"] else context.run,
        trace=given["trace"] or context.trace,
        workspace=given["workspace"] or context.workspace,
        operation=given["operation_id"] or context.operation,
    )


def _meta(pairs: Sequence[str], labels: Sequence[str]) -> dict[str, str | int | bool | bytes]:
    meta: dict[str, str | int | bool | bytes] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            raise InvalidInput(f"--meta {pair!r}: use KEY=VALUE")
        if key in meta:
            raise InvalidInput(f"--meta {key!r} was given twice")
        meta[key] = value
    for label in labels:
        if not label or "," in label:
            raise InvalidInput(f"--label {label!r}: a label is text without commas")
    if labels:
        if LABELS in meta:
            raise InvalidInput(f"--meta {LABELS}=… and --label were both given; use --label")
        meta[LABELS] = ",".join(sorted(set(labels)))
    return meta


def _stdin(paths: Sequence[str]) -> BinaryIO | None:
    if sys.stdin is None or not any(path.endswith("=-") for path in paths):
        return None
    return sys.stdin.buffer


def _print_report(output: Output, store: Store, report: CommitReport) -> None:
    version = report.version
    following = _next(report)
    if output.json:
        output.record(
            {
                **version_record(store, version),
                "new_bytes": report.new_bytes,
                "known_bytes": report.known_bytes,
                "stored_bytes": report.stored_bytes,
                "files": report.files,
                "identical": report.identical,
                "replayed": report.replayed,
                "written": report.written and not report.replayed,
                "warnings": list(report.warnings),
                "next": following,
            }
        )
        return
    for warning in report.warnings:
        output.warn(warning)
    label = output.style(clean(version.label), "yellow")
    output.line(f"{version.short}  {label}{_remark(report)}")
    stored = f", {size(report.stored_bytes)} stored" if report.new_bytes else ""
    output.line(
        f"{plural(report.files, 'file')}: {size(report.new_bytes)} new, "
        f"{size(report.known_bytes)} known{stored}"
    )
    output.next(following)


def _remark(report: CommitReport) -> str:
    if report.replayed:
        return "  (this operation was done before; nothing was written)"
    if not report.written:
        return f"  (nothing was written: identical to {clean(report.version.label)})"
    if report.identical and not report.version.manifest.complete:
        return ""
    if report.identical:
        return "  (the set is identical to the one before)"
    return ""


def _next(report: CommitReport) -> str:
    version = report.version
    if not version.manifest.complete:
        return f"cas partial show {version.manifest.run}"
    if version.number == 1 or report.identical:
        return f"cas show {version.label}"
    return f"cas diff {version.label}"


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
    output.line(
        f"would make {clean(found.branch)}@v{found.number}: {size(found.new_bytes)} new, "
        f"{size(found.known_bytes)} known"
    )
    if found.identical:
        output.say("nothing differs from the parent")
    for line in fault_lines(found.faults):
        output.say("  " + line)
    if code:
        output.say("such a commit is refused, and kept as a partial")
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
        "warnings": list(found.warnings),
    }
