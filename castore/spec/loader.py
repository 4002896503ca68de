"""Strict YAML: text to nodes that know their line and column; nothing is resolved or constructed.

Scalars stay as written, so an unquoted 1.10 is the text 1.10 and NO is the text NO. Anchors,
aliases, tags, merge keys, duplicate keys and second documents are faults. The event stream of
PyYAML is read without recursion and left as soon as the nesting is too deep: libyaml needs two
minutes for 256 KiB of `[`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from castore.model.limits import NESTING, SPEC_BYTES, TEXT_BYTES
from castore.spec.faults import Faults, shown

_NODES: Final = 45_000
_UNPRINTABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
# libyaml takes quadratic time over these.
_TAG_DIRECTIVE: Final = re.compile(r"^%TAG", re.MULTILINE)
_PLAIN: Final = (None, "")


class ScalarNode(NamedTuple):
    """Text as written; `plain` if unquoted; `faulty` if a fault about it was already noted."""

    text: str
    plain: bool
    line: int
    column: int
    faulty: bool = False

    @property
    def void(self) -> bool:
        """Whether YAML reads it as no value."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class MapNode:
    """Keys and values in the order written, duplicates left out."""

    line: int
    column: int
    items: list[tuple[ScalarNode, Node]] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        """The value under `key`, or None."""
        return next((value for name, value in self.items if name.text == key), None)


@dataclass(slots=True)
class ListNode:
    """Items in the order written."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)


Node: TypeAlias = ScalarNode | MapNode | ListNode


@dataclass(slots=True)
class _Frame:
    node: MapNode | ListNode
    key: ScalarNode | None = None
    seen: dict[str, int] = field(default_factory=dict)


class _GiveUp(Exception):
    """What follows cannot be read; the reason is already among the faults."""


def load(data: bytes, faults: Faults) -> Node | None:
    """The one document in `data`, at most 256 KiB of UTF-8; what is wrong goes to `faults`.

    None if it cannot be read as a whole. Never raises for any bytes.
    """
    text = _decode(data, faults)
    if text is None:
        return None
    builder = _Builder(faults)
    try:
        for event in yaml_events(text, faults):
            builder.take(event)
    except _GiveUp:
        return None
    if builder.root is None:
        faults.add(1, 1, "the spec is empty", EXAMPLE)
    return builder.root


def yaml_events(text: str, faults: Faults) -> Iterator[Any]:
    """The parser's events; a syntax error becomes a fault and ends them with _GiveUp."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        context = getattr(error, "context", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = "not YAML: " + (f"{problem} {context}" if context else problem)
        if _inside_artifacts(text, line):
            message = (
                "`artifacts:` holds keys and list items side by side; it is a list of artifacts"
            )
        faults.add(line, column, message, _syntax_fix(text, line, problem))
        raise _GiveUp from None
    except RecursionError:
        faults.add(1, 1, "nested too deeply")
        raise _GiveUp from None
    finally:
        loader.dispose()


EXAMPLE: Final = (
    'spec: weekly-report\nversion: "1"\nartifacts:\n'
    "  - name: summary\n    type: document\n    format: markdown\n    path: summary.md"
)
"""A small spec that is right, for fixes that need the whole form."""

ARTIFACTS_FORM: Final = (
    "store: .cas\nartifacts:\n"
    "  - name: summary\n    type: document\n    format: markdown\n    path: summary.md"
)
"""How `store:` and the list of artifacts stand beside each other."""


class _Builder:
    """Puts events together to nodes on a stack of its own."""

    def __init__(self, faults: Faults) -> None:
        self.root: Node | None = None
        self._faults = faults
        self._stack: list[_Frame] = []
        self._documents = self._nodes = 0

    def take(self, event: Any) -> None:
        """One event of the parser."""
        kind = type(event).__name__
        if kind == "ScalarEvent":
            self._scalar(event)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._stack.pop()
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open(event, is_map=kind == "MappingStartEvent")
        elif kind == "AliasEvent":
            line, column = _start(event)
            self._fault(line, column, f"an alias (*{event.anchor[:40]})", "write the value out")
            self._place(ScalarNode("", False, line, column, faulty=True))
        elif kind == "DocumentStartEvent":
            self._document(event)

    def _scalar(self, event: Any) -> None:
        line, column = _start(event)
        faulty = self._properties(event, line, column)
        text = event.value
        if len(text) > TEXT_BYTES // 4 and len(text.encode("utf-8", "replace")) > TEXT_BYTES:
            self._faults.add(line, column, f"a text of more than {TEXT_BYTES} bytes")
            text, faulty = "", True
        self._place(ScalarNode(text, event.style in _PLAIN, line, column, faulty))

    def _open(self, event: Any, *, is_map: bool) -> None:
        line, column = _start(event)
        self._properties(event, line, column)
        node: MapNode | ListNode = MapNode(line, column) if is_map else ListNode(line, column)
        self._place(node)
        self._stack.append(_Frame(node))
        if len(self._stack) > NESTING:
            self._faults.add(line, column, f"nested deeper than {NESTING} levels")
            raise _GiveUp

    def _document(self, event: Any) -> None:
        line, column = _start(event)
        self._documents += 1
        if self._documents > 1:
            self._faults.add(line, column, "a second document", "keep one document a file")
            raise _GiveUp

    def _properties(self, event: Any, line: int, column: int) -> bool:
        if event.anchor is None and event.tag is None:
            return False
        if event.anchor is not None:
            self._fault(line, column, f"an anchor (&{event.anchor[:40]})", "remove it")
        if event.tag is not None:
            self._fault(line, column, f"a tag ({event.tag[:40]})", "remove it")
        return True

    def _fault(self, line: int, column: int, what: str, fix: str) -> None:
        self._note(line, column, f"{what} is not allowed in a spec", fix)

    def _note(self, line: int, column: int, message: str, fix: str) -> None:
        self._faults.add(line, column, message, fix)
        if self._faults.full:
            raise _GiveUp

    def _place(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > _NODES:
            self._faults.add(node.line, node.column, f"more than {_NODES} values")
            raise _GiveUp
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        if isinstance(frame.node, ListNode):
            frame.node.items.append(node)
        elif frame.key is None:
            frame.key = self._key(node, frame)
        else:
            if not frame.key.faulty:
                frame.node.items.append((frame.key, node))
            frame.key = None

    def _key(self, node: Node, frame: _Frame) -> ScalarNode:
        line, column = node.line, node.column
        if not isinstance(node, ScalarNode):
            self._fault(line, column, "a list or mapping as a key", "use a word as the key")
            return ScalarNode("", False, line, column, faulty=True)
        if node.faulty:
            return node
        if node.text == "<<" and node.plain:
            self._fault(line, column, "a merge key (<<)", "write the keys out")
        elif node.text in frame.seen:
            before = frame.seen[node.text]
            message = f"key {shown(node.text)} stands here twice, first on line {before}"
            self._note(line, column, message, "remove one of the two")
        else:
            frame.seen[node.text] = line
            return node
        return ScalarNode(node.text, node.plain, line, column, faulty=True)


def _start(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _decode(data: bytes, faults: Faults) -> str | None:
    if len(data) > SPEC_BYTES:
        faults.add(1, 1, f"{len(data)} bytes; a spec has at most {SPEC_BYTES}")
        return None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        faults.add(1, 1, "not UTF-8 but UTF-16", "save the file as UTF-8")
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = _position(before)
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        faults.add(line, column, message, "save the file as UTF-8")
        return None
    text = text.removeprefix("\ufeff")
    directive = _TAG_DIRECTIVE.search(text)
    if directive:
        line, column = _position(text[: directive.start()])
        faults.add(line, column, "a %TAG directive is not allowed in a spec", "remove it")
        return None
    bad = _UNPRINTABLE.search(text)
    if bad:
        line, column = _position(text[: bad.start()])
        what = "NUL byte" if bad[0] == "\0" else f"control character {bad[0]!r}"
        faults.add(line, column, f"{what}: not a text file", "a spec is YAML text")
        return None
    return text


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax_fix(text: str, line: int, problem: str) -> str:
    lines = text.split("\n")
    at = lines[line - 1] if line <= len(lines) else ""
    if _inside_artifacts(text, line):
        return f"`artifacts:` is a list, and `store:` stands beside it:\n{ARTIFACTS_FORM}"
    if at[: len(at) - len(at.lstrip())].count("\t"):
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "put the value in quotes if it holds ': '; check the indentation of this line"
    if "cannot start any token" in problem:
        return "put the value in quotes"
    return ""


def _inside_artifacts(text: str, line: int) -> bool:
    """Whether the block that `line` breaks is the one directly under `artifacts:`."""
    lines = text.split("\n")
    at = lines[line - 1] if line <= len(lines) else ""
    indent = len(at) - len(at.lstrip(" "))
    above = [
        other
        for other in lines[: line - 1]
        if other.strip() and len(other) - len(other.lstrip(" ")) < indent
    ]
    return bool(at.strip()) and bool(above) and above[-1].split("#")[0].strip() == "artifacts:"
