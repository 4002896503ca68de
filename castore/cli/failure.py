"""Failures: how an exception is told, as text or as JSON, and with which exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

from castore.cli.output import Output
from castore.cli.screen import clean, clean_lines
from castore.errors import CastoreError, InvalidSpec

USAGE: Final = 2
INTERNAL: Final = 70
INTERRUPTED: Final = 130
_FAULTS_SHOWN: Final = 20
_CLICK_RANGE: Final = ("is not a valid integer range", "is not a whole number")


def tell(error: BaseException, output: Output) -> int:
    """Print `error` on stderr and return the exit code; never raises."""
    if isinstance(error, InvalidSpec) and error.faults and not output.json:
        _print_spec_faults(error, output)
        return error.code
    if isinstance(error, CastoreError):
        said = error.as_json()
        _print(output, {**said, "fix": output.here(error.fix) or None}, error.attributes)
        return error.code
    if isinstance(error, click.ClickException):
        _print(output, _usage_object(error), {})
        return USAGE
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        # The first note says how to go on with what is kept of the work.
        fix = next(iter(getattr(error, "__notes__", ())), "")
        fix = output.here(str(fix))
        _print(output, _object("Interrupted", "interrupted", fix, retryable=True), {})
        return INTERRUPTED
    if isinstance(error, OSError):
        _print(output, _object("OSError", _os_message(error), ""), {})
        return 1
    return _tell_internal(error, output)


def _tell_internal(error: BaseException, output: Output) -> int:
    path = _write_report(error)
    name = type(error).__name__
    message = f"internal error: {name}: {error}"
    fix = f"report it with the file {path}" if path else "report it"
    _print(output, {**_object("InternalError", message, fix), "report": path or None}, {})
    return INTERNAL


def _write_report(error: BaseException) -> str:
    """A new file with the traceback and the versions; "" where none can be written."""
    import tempfile
    import traceback

    lines = traceback.format_exception(error)
    facts = f"castore command: {' '.join(sys.argv)}\npython {sys.version}\n{sys.platform}\n\n"
    try:
        handle, path = tempfile.mkstemp(prefix="cas-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(facts + "".join(lines))
    except OSError:
        return ""
    return path


def _object(name: str, message: str, fix: str, *, retryable: bool = False) -> dict[str, Any]:
    return {"error": name, "message": message, "fix": fix or None, "retryable": retryable}


def _usage_object(error: click.ClickException) -> dict[str, Any]:
    fix = getattr(error, "fix", "")
    context = getattr(error, "ctx", None)
    if not fix and context is not None:
        fix = f"{context.command_path} --help"
    message = error.format_message().rstrip(".").replace(*_CLICK_RANGE)
    return _object("InvalidInput", message[:1].lower() + message[1:], fix)


def _os_message(error: OSError) -> str:
    place = f"{os.fsdecode(error.filename)!r}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"


def _print(output: Output, value: dict[str, Any], attributes: dict[str, Any]) -> None:
    if output.json:
        import json

        output.error(json.dumps(value, default=str))
        return
    first, *more = clean_lines(str(value["message"])) or [""]
    output.error(output.style("error:", "red", sys.stderr) + " " + first)
    for line in more:
        output.error("  " + line)
    for line in fault_lines(attributes.get("faults") or []):
        output.error("  " + line)
    if value["fix"]:
        output.error(output.style("try:", "dim", sys.stderr) + "   " + clean(str(value["fix"])))


def _print_spec_faults(error: InvalidSpec, output: Output) -> None:
    """Every fault of a spec: place, message, and its own fix below it."""
    where, count = error.where or "spec", len(error.faults)
    head = f"{where}: {count} fault{'s' if count != 1 else ''}"
    output.error(output.style("error:", "red", sys.stderr) + " " + clean(head))
    for line in clean_lines(describe_faults(error.faults, where)):
        output.error(line)


def fault_lines(faults: Sequence[Mapping[str, Any]]) -> list[str]:
    """The faults of a set as lines, the first twenty of them."""
    lines = [_fault_line(fault) for fault in faults[:_FAULTS_SHOWN]]
    if len(faults) > _FAULTS_SHOWN:
        lines.append(f"… and {len(faults) - _FAULTS_SHOWN} more (--json lists all)")
    return lines


def _fault_line(fault: Mapping[str, Any]) -> str:
    """A fault of a set, `{artifact, check, detail, line}`."""
    said = f"line {fault.get('line')}" in str(fault.get("detail"))
    line = f" (line {fault['line']})" if fault.get("line") and not said else ""
    return clean(f"{fault.get('artifact')}: {fault.get('check')}: {fault.get('detail')}{line}")


def describe_faults(
    faults: Iterable[Mapping[str, Any]], where: str = "spec", text: str = ""
) -> str:
    """Faults as people read them: place, message, the line itself with a caret, the fix.

    `faults` are those of `InvalidSpec.faults`; `text` is the spec, "" to leave its lines out.
    """
    lines = text.splitlines()
    out: list[str] = []
    for fault in faults:
        line, column = int(fault["line"]), int(fault["column"])
        out.append(f"{where}:{line}:{column}: {fault['message']}")
        if 1 <= line <= len(lines):
            excerpt, caret = _excerpt(lines[line - 1], column)
            out += [f"    {excerpt}", f"    {caret}"]
        fix = str(fault.get("fix") or "")
        out += [
            f"  fix: {part}" if index == 0 else f"       {part}"
            for index, part in enumerate(fix.splitlines())
        ]
    return "\n".join(out)


def _excerpt(line: str, column: int) -> tuple[str, str]:
    start = max(0, column - 60)
    visible = "".join(c if c.isprintable() else " " for c in line[start : start + 90])
    return visible, " " * (column - 1 - start) + "^"
