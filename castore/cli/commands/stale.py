"""`cas stale`: what was made under another spec, or from other sources, than there are today."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.options import spec_option
from castore.cli.output import Output
from castore.cli.screen import clean, plural
from castore.cli.verbs import verb
from castore.store.stale import Freshness, Stale, stale

_NAMES_SHOWN = 6


@verb(
    "stale",
    examples=[
        ("cas stale", "the newest version of every branch"),
        ("cas stale report --exit-code", "one branch, exit 1 when something is stale"),
    ],
)
@click.argument("rev", required=False, metavar="[REV[:ARTIFACT]]", shell_complete=revisions)
@spec_option("compare with this spec (else the one recorded)")
@click.option("--exit-code", is_flag=True, help="exit with 1 when something is stale")
@click.pass_obj
def command(call: Invocation, rev: str | None, spec: str, exit_code: bool) -> int:
    """Show what was made under an older spec or from older sources than today's.

    Without REV the newest version of every branch. A version is compared with its spec file as it
    lies here, or if it does not with the spec of its branch's newest version; a source with what
    the selector it was taken with means now. Each reason says how to commit what was made again.
    """
    found = 0
    with opened(call, spec) as store:
        rev = full_rev(store, rev, spec) if rev else ""
        versions = stale(store, rev, spec=Path(spec) if spec else None, cwd=Path.cwd())
        for one in versions:
            found += len(one.stale)
            if call.output.json:
                for row in one.rows():
                    call.output.record(row)
            else:
                _print(call.output, one, alone=bool(rev))
    if not found:
        call.output.say("nothing is stale")
    return 1 if exit_code and found else 0


def _print(output: Output, found: Freshness, *, alone: bool) -> None:
    for text in found.unchecked:
        output.detail(f"{found.version.label}: not compared: {clean(text)}")
    if found.absent and (alone or found.stale):
        output.say(f"{clean(found.absent)}: compared with the spec of {clean(found.compared)}")
    if found.fresh:
        return
    label = output.style(clean(found.version.label), "yellow")
    output.line(f"{label}  {found.version.short}")
    for line in _reasons(found.stale):
        output.wrap(f"  {line}")
    output.line(f"  refresh: {clean(found.refresh)}")


def _reasons(rows: tuple[Stale, ...]) -> Iterator[str]:
    """One line for all artifacts with the same reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row.reason, row.detail), []).append(row.artifact)
    width = max(len(reason) for reason, _ in groups)
    for (reason, detail), names in groups.items():
        listed = ", ".join(clean(name) or "the whole set" for name in names[:_NAMES_SHOWN])
        more = f" and {plural(len(names) - _NAMES_SHOWN, 'more', 'more')}"
        listed += more if len(names) > _NAMES_SHOWN else ""
        yield f"{reason:<{width}}  {listed}: {clean(detail)}"
