"""`cas run`: a command makes a set, and what it made is committed."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

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
from castore.cli.invocation import Invocation
from castore.cli.options import LINKS, sign_option, spec_option
from castore.cli.output import Output
from castore.cli.passing import passing_streams
from castore.cli.paths import files, folders
from castore.cli.progress import Progress
from castore.cli.screen import clean
from castore.cli.signals import HandingOn
from castore.cli.signing import key_to_sign, sign_stored
from castore.cli.verbs import verb
from castore.errors import CastoreError
from castore.store.commit import CommitRequest
from castore.store.records import version_record
from castore.store.run_meta import as_text
from castore.store.runs import Run, RunReport, RunRequest, begin
from castore.store.store import Store


@verb(
    "run",
    examples=[
        ("cas run --spec report.spec.yaml -- python report.py", "writes into $CAS_OUT"),
        ("cas run --name nightly --source sales@approved -- make", "without a spec"),
    ],
)
@click.argument(
    "arguments", nargs=-1, required=True, metavar="COMMAND [ARG]…", type=click.UNPROCESSED,
    shell_complete=files,
)  # fmt: skip
@click.option("-m", "--message", default="", metavar="TEXT", help="what this version is")
@spec_option("the spec (else the one *.spec.yaml here)")
@click.option("--name", default="", metavar="NAME", help="the branch (else the spec's)")
@click.option("--only", multiple=True, metavar="NAME", help="make this artifact, carry the others")
@making_options
@click.option("--checkout-sources", is_flag=True, help="check sources out for the command")
@click.option(
    "-o", "--output", "folder", default="", metavar="DIR", help="$CAS_OUT, else a temporary folder",
    shell_complete=folders,
)  # fmt: skip
@click.option("--resume", default="", metavar="RUN", help="go on with an incomplete set")
@click.option(
    "--operation-id", default="", metavar="ID", help="run once, give the version when repeated"
)
@click.option("--if-changed", is_flag=True, help="commit nothing when the set is identical")
@click.option("--links", type=click.Choice(LINKS), default="refuse", help="as in commit")
@click.option("--no-output", is_flag=True, help="keep nothing of what the command prints")
@sign_option("sign the version, by signing.key")
@click.pass_obj
def command(call: Invocation, /, arguments: tuple[str, ...], **given: Any) -> int:
    """Run a command and commit what it put into the folder $CAS_OUT.

    The folder is new and empty and stands for the spec's base. $CAS_SOURCES is a JSON file of the
    sources: one that means nothing is refused before the command starts, and one that was
    withdrawn, rejected, forgotten or purged is warned of. What the command commits itself joins the
    run. If it fails, what is there is kept as a partial, and the exit code is the command's.

    With --no-output nothing that it prints is kept; else the last 8 KiB are, in meta, for as long
    as the version, and so is a secret among them. The command line is always kept.
    """
    with opened(call, given["spec"]) as store:
        request = _request(call, store, arguments, given)
        key = key_to_sign(store) if given["sign"] else None
        run = begin(store, request)
        told: tuple[str, ...] = ()
        if isinstance(run, Run):
            with run:
                told = _warn(call.output, run.warnings)
                report = _run(call.output, run)
        else:
            report = run
        if key is not None and report.version and not report.code:
            sign_stored(call, store, report.version, request.commit.context, key)
        _print(call.output, store, arguments, report, told)
    return report.code


# What follows the command's name is the command's, options too.
command.allow_interspersed_args = False


def _request(
    call: Invocation, store: Store, arguments: tuple[str, ...], given: dict[str, Any]
) -> RunRequest:
    commit = CommitRequest(
        cwd=Path.cwd(),
        spec=Path(given["spec"]) if given["spec"] else None,
        name=given["name"],
        only=given["only"],
        message=given["message"],
        context=context_of(call, given),
        sources=sources_of(store, given),
        meta=meta_of(given["meta"], given["label"]),
        resume=given["resume"],
        if_changed=given["if_changed"],
        links=given["links"],
        allow_secrets=given["allow_secret"],
        ask=ask_of(given),
    )
    return RunRequest(
        command=arguments,
        commit=commit,
        env=dict(call.environ),
        out=Path(given["folder"]) if given["folder"] else None,
        checkout_sources=given["checkout_sources"],
        keep_output=not given["no_output"],
    )


def _run(output: Output, run: Run) -> RunReport:
    """Run the command; signals are its own until what it left after a failure is sealed."""
    with HandingOn() as signals:
        ended = run.execute(passing_streams(aside=output.json), started=signals.to)
        if ended.code:
            return run.seal(ended)
    try:
        with Progress(output, "storing") as progress:
            return run.commit(ended, progress=progress.advance)
    except CastoreError as error:
        output.warn(f"not committed; the outputs are kept in {run.out}")
        if not error.fix and not any(run.out.iterdir()):
            error.fix = "let the command write its outputs into $CAS_OUT"
        raise


def _warn(output: Output, warnings: tuple[str, ...]) -> tuple[str, ...]:
    """Tell what speaks against the sources before the command runs; in JSON the end tells it."""
    for warning in () if output.json else warnings:
        output.warn(warning)
    return warnings


def _print(
    output: Output,
    store: Store,
    arguments: tuple[str, ...],
    report: RunReport,
    told: tuple[str, ...],
) -> None:
    """What came of it, but for the warnings that were `told` before."""
    if output.json:
        output.record(_record(store, arguments, report))
        return
    warnings = (*report.warnings, *(report.report.warnings if report.report else ()))
    for warning in warnings:
        if warning not in told:
            output.warn(warning)
    if report.code:
        _print_failure(output, arguments, report)
        return
    if report.report is not None:
        for line in report_lines(output, report.report):
            output.say(line)
    elif report.version is not None:
        output.say(f"{report.version.short}  {clean(report.version.label)}  by the command itself")
    if report.kept is not None:
        output.say(f"the outputs are kept in {clean(str(report.kept))}")
    output.next(_next(report))


def _print_failure(output: Output, arguments: tuple[str, ...], report: RunReport) -> None:
    assert report.ended is not None
    name = clean(shlex.quote(arguments[0]))
    seconds = f"after {report.ended.seconds:.1f} s"
    if report.ended.signal:
        how = f"{name} was killed by {_signal(report.ended.signal)} {seconds}"
    else:
        how = f"{name} exited with {report.ended.code} {seconds}"
    version = report.version
    published = version is not None and version.manifest.complete
    head = output.style("error:", "red", sys.stderr)
    output.error(f"{head} {how}" + ("" if published else "; nothing was published"))
    if version is not None:
        what = "it committed" if published else "kept as"
        output.error(f"  {what} {clean(version.label)} {version.short}")
    if report.kept is not None:
        output.error(f"  the outputs are kept in {clean(str(report.kept))}")
    if report.fix:
        output.error(output.style("try:", "dim", sys.stderr) + "   " + clean(report.fix))


def _next(report: RunReport) -> str:
    if report.report is not None:
        return next_command(report.report)
    return f"cas show {report.version.label}" if report.version else "cas log"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _record(store: Store, arguments: tuple[str, ...], report: RunReport) -> dict[str, Any]:
    """The version's record, or of nothing; what a commit did; how the command ended."""
    record: dict[str, Any] = {"id": None, "branch": report.branch, "run": report.run}
    if report.report is not None:
        record = report_record(store, report.report)
    elif report.version is not None:
        record = version_record(store, report.version)
    ended = report.ended
    record["command"] = None
    if ended is not None:
        tail = as_text(ended.tail)
        record["command"] = {
            "arguments": list(arguments),
            "exit_code": ended.code,
            "signal": _signal(ended.signal) if ended.signal else None,
            "seconds": round(ended.seconds, 3),
            "output": tail if isinstance(tail, str) else None,
            "output_hex": tail.hex() if isinstance(tail, bytes) else None,
        }
    record["by_command"] = report.by_command
    record["out"] = str(report.kept) if report.kept else None
    record["fix"] = report.fix or None
    record["warnings"] = [*record.get("warnings", []), *report.warnings]
    return record
