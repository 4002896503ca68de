"""YAML data as the JSON values of YAML 1.2's core schema, with the line of every value."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from castore.spec.json_lines import Path

Positions: TypeAlias = dict[Path, int]

_NULL: Final = ("", "~", "null", "Null", "NULL")
_BOOL: Final = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT: Final = re.compile(r"[-+]?\d{1,4000}\Z", re.ASCII)
_BASE: Final = re.compile(r"0(?:o[0-7]{1,1000}|x[0-9a-fA-F]{1,1000})\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?\Z", re.ASCII)
_VALUES: Final = 200_000


class NotPlain(Exception):
    """YAML with aliases, tags, merge keys or odd keys: its JSON value is not evident."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def yaml_documents(data: bytes) -> list[tuple[Any, Positions]]:
    """Each document's value and lines by path; raises NotPlain. `data` is sound YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data.decode("utf-8", "replace"))
    documents: list[tuple[Any, Positions]] = []
    builder = _Builder()
    try:
        while loader.check_event():
            event = loader.get_event()
            if type(event).__name__ == "DocumentEndEvent":
                documents.append((builder.root, builder.positions))
                builder = _Builder()
            else:
                builder.take(event)
    except yaml.YAMLError as error:
        raise NotPlain(str(error).split("\n")[0], 1) from None
    finally:
        loader.dispose()
    return documents


class _Builder:
    """Puts the events of one document together on a stack of its own."""

    def __init__(self) -> None:
        self.root: Any = None
        self.positions: Positions = {}
        self._stack: list[Any] = []
        self._path: list[str | int] = []
        self._expects_key: list[bool] = []

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._stack.pop()
            self._path.pop()
            self._expects_key.pop()
        elif kind == "AliasEvent" or getattr(event, "tag", None) is not None:
            raise NotPlain("it uses aliases or tags", line)
        elif kind == "ScalarEvent":
            self._scalar(event, line)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            is_map = kind == "MappingStartEvent"
            value: Any = {} if is_map else []
            self._place(value, line)
            self._stack.append(value)
            self._path.append("" if is_map else -1)
            self._expects_key.append(is_map)

    def _scalar(self, event: Any, line: int) -> None:
        if self._stack and self._expects_key[-1]:
            if event.value == "<<":
                raise NotPlain("it uses merge keys", line)
            self._path[-1] = event.value
            self._expects_key[-1] = False
            return
        plain = event.style in (None, "")
        self._place(_resolve(event.value) if plain else event.value, line)

    def _place(self, value: Any, line: int) -> None:
        if len(self.positions) >= _VALUES:
            raise NotPlain(f"more than {_VALUES} values", line)
        if not self._stack:
            self.root = value
        elif isinstance(self._stack[-1], dict):
            if self._expects_key[-1]:
                raise NotPlain("it has a list or mapping as a key", line)
            self._stack[-1][self._path[-1]] = value
            self._expects_key[-1] = True
        else:
            self._stack[-1].append(value)
            self._path[-1] = len(self._stack[-1]) - 1
        self.positions[tuple(self._path)] = line


def _resolve(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.match(text):
        return int(text)
    if _BASE.match(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _FLOAT.match(text):
        value = float(text)
        return value if value - value == 0 else text
    return text
