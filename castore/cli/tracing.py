"""Tracing: what `cas lineage` and `cas impact` share, from their options to what they print."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from castore.cli.access import full_rev, opened
from castore.cli.describe import ref_names
from castore.cli.invocation import Invocation
from castore.cli.screen import clean
from castore.cli.walks import Drawing, dot, summary
from castore.errors import RefNotFound
from castore.store.lineage import LIMIT, impact, lineage
from castore.store.recognition import as_path
from castore.store.store import Store
from castore.store.walk import Walk, walk_record

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class Wanted(NamedTuple):
    """What was typed."""

    what: str
    depth: int | None
    limit: int
    dot: bool


def bounds(function: AnyFunction) -> AnyFunction:
    """The options of both commands."""
    function = click.option("--dot", is_flag=True, help="a graph for Graphviz")(function)
    function = click.option(
        "-n", "--limit", type=click.IntRange(min=1), default=LIMIT, metavar="N",
        help=f"at most N of all that is met; else {LIMIT:,}",
    )(function)  # fmt: skip
    return click.option(
        "--depth", type=click.IntRange(min=0), metavar="N", help="at most N steps away"
    )(function)


def trace(call: Invocation, wanted: Wanted, *, back: bool) -> None:
    """Walk, and print what was met."""
    output = call.output
    with opened(call) as store:
        walk = _walk(store, wanted, back=back)
        if output.json:
            output.record(walk_record(walk))
            return
        if wanted.dot:
            for line in dot(walk):
                output.line(line)
            return
        drawing = Drawing(
            walk,
            back=back,
            whole=bool(output.verbose),
            names=store.database.read(ref_names),
            begin=wanted.what,
        )
        for line in drawing.lines():
            output.row(line)
        output.line(_last_line(walk, back=back))
        if not walk.complete:
            output.say("this is not all: what is further away was left out (--limit, --depth)")


def _walk(store: Store, wanted: Wanted, *, back: bool) -> Walk:
    verb = lineage if back else impact
    what = wanted.what
    if as_path(what) is None:
        what = full_rev(store, what)
    walk = verb(store, what, depth=wanted.depth, limit=wanted.limit)
    begin = walk.nodes[0]
    if begin.uri and walk.complete and len(walk.nodes) == 1 and wanted.depth != 0:
        if back:
            fix = f"cas impact {wanted.what}"
            raise RefNotFound(f"{begin.uri} lies elsewhere: its own sources are unknown", fix=fix)
        raise RefNotFound(
            f"no version here names the source {begin.uri}", fix="cas show REV, for its sources"
        )
    return walk


def _last_line(walk: Walk, *, back: bool) -> str:
    met = clean(summary(walk))
    if not met and not walk.complete:
        return "nothing is near enough to be shown"
    if back:
        return f"made from {met}" if met else "no sources are recorded"
    return f"made from it: {met}" if met else "nothing was made from it"
