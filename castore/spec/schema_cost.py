"""How many steps a JSON Schema can take over a value, bounded from above before it is run.

Two subschemas that both reach a third one at the same place of the value make it run twice there;
nested, that doubles with every level: a schema for and/or trees and a value 16 deep took 3.4 GiB.
Per level of the value, the number of ways to reach each subschema is followed as a sparse vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

_HERE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_HERE_ONE: Final = ("not", "if", "then", "else")
_HERE_MAPS: Final = ("dependentSchemas", "dependencies")
_BELOW_ONE: Final = (
    "items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties",
    "unevaluatedProperties", "propertyNames",
)  # fmt: skip
_BELOW_LISTS: Final = ("items", "prefixItems")
_HELD_MAPS: Final = ("$defs", "definitions")
_REFS: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_CEILING: Final = 1e12
_CHAIN: Final = 500

_Ways: TypeAlias = dict[int, float]


class Measure(NamedTuple):
    """How many values there are in a JSON value, and how deep they lie."""

    values: int
    depth: int


def measure(value: Any) -> Measure:
    """Count without recursion."""
    values, depth, level = 0, 0, [value]
    while level:
        values += len(level)
        depth += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below
    return Measure(values, depth)


@dataclass(slots=True)
class Shape:
    """A schema as a graph: edges that stay at a value, edges to its children by name or to any."""

    here: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    named: dict[int, list[tuple[str | int, int]]] = field(default_factory=lambda: defaultdict(list))
    any: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    _levels: list[tuple[float, float]] = field(default_factory=list)
    _ways: _Ways = field(default_factory=lambda: {0: 1.0})

    def steps(self, size: Measure) -> float:
        """At most so many subschema runs over a value of this size."""
        return size.values * max((total for total, _ in self._up_to(size.depth)), default=1.0)

    def branches(self, size: Measure) -> float:
        """At most so many runs of one subschema at one place."""
        return max((most for _, most in self._up_to(size.depth)), default=1.0)

    def _up_to(self, depth: int) -> list[tuple[float, float]]:
        while len(self._levels) < depth and self._ways:
            ways = self._settle(self._ways)
            self._levels.append((sum(ways.values()), max(ways.values(), default=0.0)))
            self._ways = self._descend(ways) if max(ways.values(), default=0) < _CEILING else {}
        return self._levels[:depth]

    def _settle(self, start: _Ways) -> _Ways:
        """Ways at one value, through all edges that stay there."""
        total: _Ways = defaultdict(float)
        front = start
        for _ in range(_CHAIN):
            following: _Ways = defaultdict(float)
            for node, ways in front.items():
                total[node] += ways
                for target in self.here.get(node, ()):
                    following[target] += ways
            if not following or max(following.values()) > _CEILING:
                break
            front = following
        else:
            following = {}
        for node, ways in following.items():
            total[node] += ways
        return total

    def _descend(self, ways: _Ways) -> _Ways:
        """Ways at the worst child of a value: every unnamed edge, and those of one name."""
        common: _Ways = defaultdict(float)
        by_name: dict[tuple[str | int, int], float] = defaultdict(float)
        for node, count in ways.items():
            for target in self.any.get(node, ()):
                common[target] += count
            for name, target in self.named.get(node, ()):
                by_name[name, target] += count
        most: _Ways = defaultdict(float)
        for (_, target), count in by_name.items():
            most[target] = max(most[target], count)
        for target, count in most.items():
            common[target] += count
        return {node: min(count, _CEILING) for node, count in common.items()}


def shape_of(schema: Mapping[str, Any] | bool) -> Shape:
    """The graph of a schema; references out of it are left out (they are refused elsewhere)."""
    shape = Shape()
    nodes = list(_walk(schema))
    numbers = {id(node): number for number, node in enumerate(nodes)}
    names = _names(nodes)
    for number, node in enumerate(nodes):
        for target in _staying(node):
            shape.here[number].append(numbers[id(target)])
        for name, target in _named(node):
            shape.named[number].append((name, numbers[id(target)]))
        for target in _unnamed(node):
            shape.any[number].append(numbers[id(target)])
        for keyword in _REFS:
            reference = node.get(keyword)
            if isinstance(reference, str):
                shape.here[number] += [
                    numbers[id(target)]
                    for target in _targets(reference, schema, names)
                    if id(target) in numbers
                ]
    return shape


def _walk(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in the schema: pointers may reach any of them, whatever its keyword."""
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _names(nodes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    names: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for node in nodes:
        for keyword in ("$anchor", "$dynamicAnchor", "$id", "id"):
            name = node.get(keyword)
            if isinstance(name, str):
                names[name.rpartition("#")[2] or name.rstrip("#")].append(node)
    return names


def _targets(
    reference: str, root: Any, names: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    base, _, fragment = reference.partition("#")
    starts = [root] if not base else _by_id(base, names)
    if fragment and not fragment.startswith("/"):
        return names.get(fragment, [])
    targets = []
    for start in starts:
        target = start
        for part in fragment.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                target = target[int(key)]
            else:
                target = target.get(key) if isinstance(target, dict) else None
        if isinstance(target, dict):
            targets.append(target)
    return targets


def _by_id(base: str, names: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Schemas whose $id may be meant: the whole of it, or its last component."""
    last = base.rpartition("/")[2]
    found = names.get(base)
    if found:
        return found
    return [
        node for name, nodes in names.items() if name.rpartition("/")[2] == last for node in nodes
    ]


def _staying(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for keyword in _HERE_LISTS:
        yield from _objects(node.get(keyword))
    for keyword in _HERE_ONE:
        yield from _objects([node.get(keyword)])
    for keyword in _HERE_MAPS:
        value = node.get(keyword)
        yield from _objects(list(value.values()) if isinstance(value, dict) else [])


def _named(node: Mapping[str, Any]) -> Iterator[tuple[str | int, dict[str, Any]]]:
    properties = node.get("properties")
    if isinstance(properties, dict):
        for name, target in properties.items():
            if isinstance(target, dict):
                yield name, target
    for keyword in _BELOW_LISTS:
        value = node.get(keyword)
        if isinstance(value, list):
            for index, target in enumerate(value):
                if isinstance(target, dict):
                    yield index, target


def _unnamed(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for keyword in _BELOW_ONE:
        yield from _objects([node.get(keyword)])
    patterns = node.get("patternProperties")
    yield from _objects(list(patterns.values()) if isinstance(patterns, dict) else [])


def _objects(values: Any) -> Iterator[dict[str, Any]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))
