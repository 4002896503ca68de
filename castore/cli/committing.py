"""What commands that commit have in common: who and from what, and the words about what came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from castore.cli.access import ask_elsewhere
from castore.cli.identity import author as author_of
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, plural, size
from castore.errors import InvalidInput
from castore.model.fields import MetaValue
from castore.model.manifest import Source
from castore.model.names import check_segment
from castore.store.context import Context, parse_agent
from castore.store.externals import Ask
from castore.store.pinning import Pin, pin_https
from castore.store.records import version_record
from castore.store.report import CommitReport
from castore.store.sources import parse_sources
from castore.store.store import Store

LABELS: Final = "labels"
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_MAKING: Final = (
    click.option("--agent", default="", metavar="A@V", help="the agent and version that made it"),
    click.option(
        "--author", default="", metavar="WHO", help="who commits (else CAS_AUTHOR, CI, git)"
    ),
    click.option("--run", default="", metavar="RUN", help="the run it belongs to"),
    click.option("--trace", default="", metavar="ID", help="the trace it belongs to"),
    click.option("--workspace", default="", metavar="W", help="the workspace it belongs to"),
    click.option(
        "--source", multiple=True, metavar="[A=]REF", help="an input: a version, artifact or URI"
    ),
    click.option("--pin", is_flag=True, help="read what is elsewhere once, for its digest"),
    click.option(
        "--allow-secret",
        multiple=True,
        metavar="RULE",
        help="let findings of this rule through, on record",
    ),
    click.option("--meta", multiple=True, metavar="K=V", help="a note of your own"),
    click.option("--label", multiple=True, metavar="L", help="a label, kept in meta"),
)


def making_options(function: AnyFunction) -> AnyFunction:
    """The options that say who made a set, in which run, from what, and what is noted of it."""
    for option in reversed(_MAKING):
        function = option(function)
    return function


def context_of(call: Invocation, given: dict[str, Any]) -> Context:
    """Who commits, in which run: as the options say, else the environment."""
    context = Context.from_environ(call.environ)
    return replace(
        context,
        author=author_of(given["author"], call.environ),
        agent=parse_agent(given["agent"]) if given["agent"] else context.agent,
        run=check_segment(given["run"], "run") if given["run"] else context.run,
        trace=given["trace"] or context.trace,
        workspace=given["workspace"] or context.workspace,
        operation=given["operation_id"] or context.operation,
    )


def sources_of(store: Store, given: dict[str, Any]) -> tuple[Source, ...]:
    """The sources of --source, resolved, and with --pin read where they are."""
    return parse_sources(store, given["source"], folder=Path.cwd(), pin=_pin(given["pin"]))


def _pin(wanted: bool) -> Pin | None:
    if not wanted:
        return None
    from urllib.request import getproxies

    return partial(pin_https, proxies=getproxies())


def ask_of(given: dict[str, Any]) -> Ask:
    """What is asked of external artifacts: size and tag, with --pin their digest."""
    return partial(ask_elsewhere, pin=given["pin"])


def meta_of(pairs: Sequence[str], labels: Sequence[str]) -> dict[str, MetaValue]:
    """The meta of --meta and --label; raises InvalidInput."""
    meta: dict[str, MetaValue] = {}
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


def report_record(store: Store, report: CommitReport) -> dict[str, Any]:
    """What a commit did, as `--json` prints it."""
    return {
        **version_record(store, report.version),
        "new_bytes": report.new_bytes,
        "known_bytes": report.known_bytes,
        "stored_bytes": report.stored_bytes,
        "files": report.files,
        "identical": report.identical,
        "replayed": report.replayed,
        "written": report.written and not report.replayed,
        "warnings": list(report.warnings),
        "next": next_command(report),
    }


def report_lines(output: Output, report: CommitReport) -> Iterator[str]:
    """What a commit did, as lines: the version, then its bytes."""
    version = report.version
    label = output.style(clean(version.label), "yellow")
    yield f"{version.short}  {label}{_remark(report)}"
    stored = f", {size(report.stored_bytes)} stored" if report.new_bytes else ""
    yield (
        f"{plural(report.files, 'file')}: {size(report.new_bytes)} new, "
        f"{size(report.known_bytes)} known{stored}"
    )


def next_command(report: CommitReport) -> str:
    """The useful next command after a commit."""
    version = report.version
    if not version.manifest.complete:
        return f"cas partial show {version.manifest.run}"
    if version.number == 1 or report.identical:
        return f"cas show {version.label}"
    return f"cas diff {version.label}"


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
