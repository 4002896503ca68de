"""Walks over lineage, drawn: as a tree of lines that fits on a screen, and for Graphviz. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from castore.cli.describe import Names, agent_text, moment
from castore.cli.screen import clean, plural, size
from castore.model.ids import short
from castore.store.lineage import CARRIED, HELD, VERSION
from castore.store.version import Version
from castore.store.walk import Edge, Node, Walk

States: TypeAlias = Callable[[Version], Sequence[str]]
"""What is to be said of a version: that it was withdrawn, rejected or forgotten."""

BESIDE: Final = 8
"""Lines below one node, and versions of one branch among them, before the rest is counted."""
LINES: Final = 40


class _Step(NamedTuple):
    """A node below another one, and the edge between them."""

    node: Node
    edge: Edge


class Drawing:
    """A walk as lines; `back` is whether it went to what was used. `whole` draws all of it."""

    def __init__(
        self, walk: Walk, *, back: bool, whole: bool, names: Names, begin: str, states: States
    ) -> None:
        self._nodes = {node.id: node for node in walk.nodes}
        self._whole = whole
        self._names = names
        self._begin = begin
        self._states = states
        self._below: dict[str, list[_Step]] = {}
        for edge in walk.edges:
            above, below = (edge.user, edge.used) if back else (edge.used, edge.user)
            self._below.setdefault(above, []).append(_Step(self._nodes[below], edge))
        self._root = walk.nodes[0]

    def lines(self) -> Iterator[str]:
        """The tree from where the walk began; a node that stands above is not drawn again."""
        for count, line in enumerate(self._tree()):
            if count >= LINES and not self._whole:
                yield "…"
                return
            yield line

    def _tree(self) -> Iterator[str]:
        yield described(self._root, self._names, self._states, called=self._begin)
        drawn = {self._root.id}
        stack = [("", iter(self._rows(self._root)))]
        while stack:
            indent, rows = stack[-1]
            row = next(rows, None)
            if row is None:
                stack.pop()
                continue
            step, text, last = row
            branch = f"{indent}{'└── ' if last else '├── '}"
            if step is None:
                yield branch + text
                continue
            again = step.node.id in drawn and step.node.id in self._below
            yield branch + text + (" (above)" if again else "")
            if step.node.id not in drawn:
                drawn.add(step.node.id)
                deeper = indent + ("    " if last else "│   ")
                stack.append((deeper, iter(self._rows(step.node))))

    def _rows(self, node: Node) -> list[tuple[_Step | None, str, bool]]:
        """The lines below a node: each a step, or None for words about those left out."""
        shown: list[tuple[_Step | None, str]] = []
        more: Counter[str] = Counter()
        versions: Counter[str] = Counter()
        for step in self._below.get(node.id, ()):
            version = step.node.version
            group = f"{version.branch}:{step.node.artifact}" if version else ""
            versions[group] += 1
            crowded = versions[group] > BESIDE // 2 if group else False
            if not self._whole and (crowded or len(shown) >= BESIDE):
                more[version.branch if version else "outside"] += 1
                continue
            text = described(step.node, self._names, self._states, carried=_carried(step))
            text += _relation(step)
            shown.append((step, text))
        if more:
            rest = ", ".join(f"{clean(name)} {count:,}" for name, count in more.most_common(5))
            dots = ", …" if len(more) > 5 else ""
            shown.append((None, f"… and {more.total():,} more: {rest}{dots} (-v shows all)"))
        return [(step, text, at == len(shown) - 1) for at, (step, text) in enumerate(shown)]


def described(
    node: Node, names: Names, states: States, *, called: str = "", carried: bool = False
) -> str:
    """A node on one line: what it is called and said to be, then what is known of who made it."""
    version = node.version
    if version is None:
        return _unversioned(node, called) + ("  [carried]" if carried else "")
    others = [name for name in names.get(version.id, ()) if name != version.branch]
    artifact = f":{clean(node.artifact)}" if node.artifact else ""
    marks = ["newest"] if version.branch in names.get(version.id, ()) else []
    marks += [*map(clean, others), *states(version)]
    facts = [
        f"{clean(version.label)}{artifact}" + (f" ({', '.join(marks)})" if marks else ""),
        *(["[carried]"] if carried else []),
        version.short,
        moment(version.manifest.at),
    ]
    made = node.made_by
    if made and made.manifest.agent.id:
        facts.append(agent_text(made.manifest.agent))
    if made and made.manifest.spec.version:
        facts.append(f"spec {clean(made.manifest.spec.version)}")
    return "  ".join(facts)


def _carried(step: _Step) -> bool:
    return step.edge.relation == CARRIED


def _unversioned(node: Node, called: str) -> str:
    if node.branch:
        return f"{clean(node.id)}  any version of it"
    if node.uri:
        known = f"  {short(node.digest)}  {size(node.size)}" if node.digest else "  not pinned"
        return clean(node.uri) + (known if node.distance else "")
    if node.digest:
        return clean(called or node.id) + (f"  {short(node.digest)}" if called else "")
    where, _, artifact = node.id.partition(":")
    return f"{where[:12]}" + (f":{clean(artifact)}" if artifact else "") + "  not stored here"


def _relation(step: _Step) -> str:
    edge = step.edge
    source = edge.source
    if edge.relation in (CARRIED, HELD, VERSION) or source is None:
        return ""
    said = [f"as {clean(source.selector)}"] if _moves(source.selector, source.label) else []
    if source.artifact and not step.node.artifact:
        said.append(f"for {clean(source.artifact)}")
    if step.node.version is None and source.target:
        said.insert(0, clean(source.label))
    return f"  [{', '.join(said)}]" if said else ""


def _moves(selector: str, label: str) -> bool:
    """Whether what was typed says more than what it meant."""
    return bool(label) and selector != label and "@" in selector


class Met(NamedTuple):
    """What a walk met, by branches, or "" for nothing: `held` has the content it began at."""

    held: str
    other: str


def summary(walk: Walk, *, back: bool) -> Met:
    """How much a walk met; `back` is whether it went to what was used."""
    ends: dict[bool, set[str]] = {True: set(), False: set()}
    for edge in walk.edges:
        ends[edge.relation == HELD].add(edge.used if back else edge.user)
    held = ends[True] - ends[False]
    # The versions of a branch where the walk began are not what was made from it.
    own = {edge.user for edge in walk.edges if edge.relation == VERSION}
    own -= {edge.user for edge in walk.edges if edge.relation != VERSION}
    return Met(
        _counted(node for node in walk.nodes[1:] if node.id in held),
        _counted(node for node in walk.nodes[1:] if node.id not in held | own),
    )


def _counted(nodes: Iterable[Node]) -> str:
    """How many these are, by branches."""
    met = list(nodes)
    versions = {node.version.id: node.version for node in met if node.version}
    outside = sum(1 for node in met if node.version is None)
    branches = Counter(version.branch for version in versions.values())
    parts = []
    if versions:
        listed = ", ".join(f"{clean(name)} {count:,}" for name, count in branches.most_common(6))
        dots = ", …" if len(branches) > 6 else ""
        parts.append(f"{plural(len(versions), 'version')} ({listed}{dots})")
    if outside:
        parts.append(f"{outside:,} from elsewhere")
    return " · ".join(parts)


def dot(walk: Walk) -> Iterator[str]:
    """The walk as a graph for Graphviz; arrows lead from what was used to who used it."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(walk.nodes)}
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    yield "  node [shape=box, fontname=sans];"
    for node in walk.nodes:
        shape = "" if node.version else ", style=dashed"
        yield f"  {numbers[node.id]} [label={_quoted(_label(node, walk.edges))}{shape}];"
    styles: Mapping[str, str] = {CARRIED: " [style=dotted]", HELD: " [style=dashed]"}
    for edge in walk.edges:
        style = styles.get(edge.relation, "")
        yield f"  {numbers[edge.used]} -> {numbers[edge.user]}{style};"
    yield "}"


def _label(node: Node, edges: Sequence[Edge]) -> str:
    if node.version is None:
        names = (e.source.label for e in edges if e.used == node.id and e.source)
        return node.uri or next(names, "") or (node.id if node.branch else node.id[:12])
    artifact = f":{node.artifact}" if node.artifact else ""
    return f"{node.version.label}{artifact}\n{node.version.short}"


def _quoted(text: str) -> str:
    lines = (clean(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'
