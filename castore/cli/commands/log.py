"""`cas log`: versions, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.describe import headline, oneline, paragraph, ref_names, review_text
from castore.cli.graph import GraphRow, draw
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean
from castore.cli.verbs import verb
from castore.model.ids import Id
from castore.store.history import Filter, log
from castore.store.records import version_record
from castore.store.standing import Verdicts, status_of, unknown_values
from castore.store.store import Store
from castore.store.version import Version

_BARE = GraphRow((), "", "", ())


class Watched:
    """Versions as they pass, and the last of them."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._versions = versions
        self.last: Version | None = None

    def __iter__(self) -> Iterator[Version]:
        for version in self._versions:
            self.last = version
            yield version

    def cut(self, store: Store) -> str:
        """The label of the last if what was before it was not fetched, else ""."""
        if self.last is None or None not in map(store.version_here, self.last.manifest.parents):
            return ""
        return self.last.label


@verb(
    "log",
    examples=[
        ("cas log -n 5 --oneline", "the newest five of all branches"),
        ("cas log report --agent writer@7 --since 30d", "what one agent version made lately"),
    ],
)
@click.argument("rev", required=False, metavar="[REV]", shell_complete=revisions)
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="at most N versions")
@click.option("--oneline", "brief", is_flag=True, help="one line each")
@click.option("--graph", is_flag=True, help="draw how versions descend from each other")
@click.option("--agent", default="", metavar="A[@V]", help="made by this agent")
@click.option("--spec", default="", metavar="ID[@V]", help="made under this spec")
@click.option("--author", default="", metavar="WHO", help="committed by: an e-mail, or as written")
@click.option("--artifact", default="", metavar="NAME", help="that changed this artifact")
@click.option("--review", default="", metavar="STATE", help="approved, pending, contested…")
@click.option("--lifecycle", default="", metavar="STATE", help="published, withdrawn, draft…")
@click.option("--since", default="", metavar="TIME", help="at or after: 2d, yesterday, 2026-11")
@click.option("--until", default="", metavar="TIME", help="at or before; of a period its end")
@click.pass_obj
def command(
    call: Invocation, /, rev: str | None, limit: int | None, brief: bool, graph: bool, **only: str
) -> None:
    """Show versions, newest first.

    With REV that version and its ancestors, else those of all branches. Times are UTC.
    """
    with opened(call) as store:
        start = full_rev(store, rev) if rev else ""
        versions = log(store, start, limit=limit, only=Filter(**only))
        if call.output.json:
            verdicts = Verdicts(store)
            for version in versions:
                call.output.record(version_record(store, version, verdicts=verdicts))
            return
        watched = Watched(versions)
        shown = _show(call.output, store, watched, brief=brief, graph=graph)
        cut = watched.cut(store) if limit is None or shown < limit else ""
        if cut:
            call.output.say(
                f"history here begins with {clean(cut)}; what was before: cas fetch --unshallow"
            )
        if not shown:
            filtered = bool(rev or limit == 0 or any(only.values()))
            call.output.say("no versions match" if filtered else "no versions yet")
            if not filtered:
                call.output.next("cas commit -m first PATH")
            elif limit != 0:
                _hint(call.output, store, only)


def _hint(output: Output, store: Store, only: Mapping[str, str]) -> None:
    """Tell of each value asked for that no version has."""
    for sentence in unknown_values(store, only):
        output.hint(sentence)


def _show(
    output: Output, store: Store, versions: Iterable[Version], *, brief: bool, graph: bool
) -> int:
    count = 0
    names, verdicts = store.database.read(ref_names), Verdicts(store)
    for version, row in _drawn(versions, graph):
        others = [name for name in names.get(version.id, ()) if name != version.branch]
        others += _states(store, version, verdicts)
        for line in row.above:
            output.row(line)
        if brief:
            gap = row.node and row.node + " "
            line = oneline(version, others, forgotten=store.forgotten(version))
            output.row(gap + line, clean(version.label))
        else:
            below = paragraph(version, store.forgotten(version))
            head = headline(output, version, others)
            _show_block(output, head, below, row, graph=graph, first=count == 0)
        for line in row.below:
            output.row(line)
        count += 1
    return count


def _show_block(
    output: Output, head: str, below: list[str], row: GraphRow, *, graph: bool, first: bool
) -> None:
    if not graph and not first:
        output.line()
    gap = row.node and row.node + " "
    beside = row.beside + " " if graph else ""
    output.line(gap + head)
    for line in below:
        output.line(f"{beside}  {line}".rstrip())
    if graph:
        output.line(row.beside.rstrip())


def _drawn(versions: Iterable[Version], graph: bool) -> Iterator[tuple[Version, GraphRow]]:
    if not graph:
        for version in versions:
            yield version, _BARE
        return
    waiting: list[Version] = []

    def rows() -> Iterator[tuple[Id, tuple[Id, ...]]]:
        for version in versions:
            waiting.append(version)
            yield version.id, version.manifest.parents

    for row in draw(rows()):
        yield waiting.pop(0), row


def _states(store: Store, version: Version, verdicts: Verdicts) -> list[str]:
    """What the notes about a version come to, where somebody wrote one."""
    status = status_of(store, version, verdicts)
    states = [review_text(status), status.lifecycle, *(f"on {name}" for name in status.deployments)]
    return [state for state in states if state not in ("none", "draft")]
