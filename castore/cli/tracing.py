"""Tracing: what `cas lineage` and `cas impact` share, from their options to what they print."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import click

from castore.cli.access import full_rev, opened
from castore.cli.describe import ref_names
from castore.cli.invocation import Invocation
from castore.cli.walks import Drawing, dot, summary
from castore.database.folded import statuses
from castore.errors import RefNotFound
from castore.model.names import quoted
from castore.store.lineage import LIMIT, impact, lineage
from castore.store.notes import notes_about
from castore.store.recognition import as_path, spec_with
from castore.store.standing import Verdicts, status_of
from castore.store.store import Store
from castore.store.version import Version
from castore.store.walk import Walk, walk_record

_AGAINST: Final = ("rejected", "contested", "withdrawn")
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
            output.record(walk_record(store, walk))
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
            states=partial(_states, store, Verdicts(store)),
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
    alone = walk.complete and len(walk.nodes) == 1 and wanted.depth != 0
    if alone and begin.digest and (pin := spec_with(store, begin.digest)):
        spec = f"{pin.id}@{pin.version}" if pin.version else pin.id
        which = "is" if begin.digest == pin.source else "belongs to"
        raise RefNotFound(
            f"{what} {which} the spec {pin.id} {pin.version}: no version was made from it, "
            "but under it",
            fix=f"cas audit --spec {quoted(spec)}",
        )
    if alone and begin.uri:
        if back:
            fix = f"cas impact {wanted.what}"
            raise RefNotFound(f"{begin.uri} lies elsewhere: its own sources are unknown", fix=fix)
        raise RefNotFound(
            f"no version here names the source {begin.uri}", fix="cas show REV, for its sources"
        )
    return walk


def _states(store: Store, verdicts: Verdicts, version: Version) -> list[str]:
    """What speaks against a version."""
    notes = notes_about(store, version.id)
    possible = {word for one in statuses(notes, version.id) for word in (one.review, one.lifecycle)}
    states = []
    # Asking for the policy takes longer than the walk: an approval needs none here.
    if not possible.isdisjoint(_AGAINST):
        status = status_of(store, version, verdicts)
        states = [word for word in (status.review, status.lifecycle) if word in _AGAINST]
    return states + ["forgotten"] * (store.forgotten(version) is not None)


def _last_line(walk: Walk, *, back: bool) -> str:
    held, met = summary(walk, back=back)
    if not (met or held) and not walk.complete:
        return "nothing is near enough to be shown"
    if back:
        said = f"made from {met}" if met else "no sources are recorded"
    else:
        said = f"made from it: {met}" if met else "nothing was made from it"
    return f"held by {held}; {said}" if held else said
