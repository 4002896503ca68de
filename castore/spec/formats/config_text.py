"""YAML and TOML as data files: syntax only for YAML, nothing is constructed from it."""

from __future__ import annotations

import re
from typing import Any, Final

from castore.model.limits import MIB
from castore.spec.formats.source import SKIPPED, Finding, Source, too_big
from castore.spec.formats.text import NotText, decoded

YAML_BYTES: Final = 8 * MIB
YAML_DEPTH: Final = 100
TOML_BYTES: Final = 1 * MIB
# libyaml takes quadratic time over these.
_TAG_DIRECTIVE: Final = re.compile(r"^%TAG", re.MULTILINE)
_DIRECTIVES: Final = 100
# tomllib takes quadratic time over the parts of one dotted key.
_DOTTED: Final = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""", re.ASCII
)
_AT: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
_OPENS: Final = ("MappingStartEvent", "SequenceStartEvent")
_CLOSES: Final = ("MappingEndEvent", "SequenceEndEvent")


def check_yaml(source: Source) -> list[Finding]:
    """YAML syntax, with defined aliases and different keys, up to 8 MiB and 100 levels.

    Aliases and tags are fine here: nothing is built from them.
    """
    findings = too_big(source, YAML_BYTES, "YAML")
    if findings:
        return findings
    try:
        text = "".join(decoded(source))
    except NotText as error:
        return [error.finding]
    if len(_TAG_DIRECTIVE.findall(text)) > _DIRECTIVES:
        return [Finding(f"more than {_DIRECTIVES} %TAG directives are not read", result=SKIPPED)]
    return _yaml_syntax(text.removeprefix("\ufeff"))


def check_toml(source: Source) -> list[Finding]:
    """TOML that the standard library reads, up to 1 MiB."""
    findings = too_big(source, TOML_BYTES, "TOML")
    if findings:
        return findings
    try:
        text = "".join(decoded(source))
    except NotText as error:
        return [error.finding]
    return toml_value(text)[1]


def toml_value(text: str) -> tuple[dict[str, Any], list[Finding]]:
    """What the TOML says (empty if it cannot be read), and what is wrong with it."""
    import tomllib

    if _DOTTED.search(text):
        detail = "a dotted name of more than 32 parts is not read"
        return {}, [Finding(detail, result=SKIPPED)]
    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _AT.search(message)
        line = int(match[1]) if match else text.count("\n") + 1
        return {}, [Finding(f"not TOML: {message}", line)]
    except RecursionError:
        return {}, [Finding("not TOML: nested too deeply")]
    except (ValueError, ArithmeticError) as error:
        return {}, [Finding(f"not TOML: {error}")]


class _Keys:
    """Follows the events of a mapping or list to tell keys from values."""

    __slots__ = ("expects_key", "is_map", "seen")

    def __init__(self, *, is_map: bool) -> None:
        self.is_map = is_map
        self.expects_key = is_map
        self.seen: set[str] = set()


def _yaml_syntax(text: str) -> list[Finding]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        parser = loader(text)
    except yaml.YAMLError as error:
        return [_yaml_fault(error)]
    try:
        return _read_events(parser)
    except yaml.YAMLError as error:
        return [_yaml_fault(error)]
    except RecursionError:
        return [Finding("not YAML: nested too deeply")]
    finally:
        parser.dispose()


def _read_events(parser: Any) -> list[Finding]:
    stack: list[_Keys] = []
    anchors: set[str] = set()
    while parser.check_event():
        event = parser.get_event()
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind in _CLOSES:
            stack.pop()
            continue
        if kind == "DocumentStartEvent":
            anchors.clear()
        if kind not in ("ScalarEvent", "AliasEvent", *_OPENS):
            continue
        problem = _key_problem(event, kind, stack)
        if kind == "AliasEvent" and event.anchor not in anchors:
            problem = f"alias *{event.anchor[:40]} without an anchor"
        if problem:
            return [Finding(problem, line)]
        if kind != "AliasEvent" and event.anchor:
            anchors.add(event.anchor)
        if kind in _OPENS:
            stack.append(_Keys(is_map=kind == "MappingStartEvent"))
            if len(stack) > YAML_DEPTH:
                return [Finding(f"nested deeper than {YAML_DEPTH} levels", line)]
    return []


def _key_problem(event: Any, kind: str, stack: list[_Keys]) -> str:
    if not stack or not stack[-1].is_map:
        return ""
    top = stack[-1]
    top.expects_key = not top.expects_key
    if top.expects_key or kind != "ScalarEvent":
        return ""
    key = event.value
    if key in top.seen and key != "<<":
        return f"key {key[:60]!r} stands twice in one mapping"
    top.seen.add(key)
    return ""


def _yaml_fault(error: Any) -> Finding:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    message = f"{problem} {context}" if context else str(problem)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return Finding(f"not YAML: {message}{where}", mark.line + 1 if mark else None)
