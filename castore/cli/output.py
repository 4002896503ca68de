"""Output: data on stdout, talk on stderr, as text or as JSON, with colour only for a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from typing import IO, Any, Final

from castore.cli.screen import clean, clip, fold
from castore.model.names import quoted

_STYLES: Final = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36",
}  # fmt: skip
_DEFAULT_COLUMNS: Final = 80
_NARROWEST: Final = 20
"""Columns of a terminal below which nothing is made to fit."""
_COMMAND: Final = re.compile(r"(?<![\w./-])cas (?=[a-z])(?!clone |init\b)")
_COMMANDS: Final = ("fix", "next")
_PLACED: Final = re.compile(r" (-C|--store) | a store ")
"""What says of a command that it works elsewhere than here."""


class Output:
    """Where a command's words go; the flags are the global options of the same names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.json = False
        self.quiet = False
        self.verbose = 0
        self.no_color = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._columns = environ.get("COLUMNS", "")
        self._place = ""

    def line(self, text: str = "") -> None:
        """One line of data on stdout; the caller has cleaned what is not castore's own."""
        if sys.stdout is not None:
            sys.stdout.write(text + "\n")

    def row(self, text: str, mark: str = "") -> None:
        """One line of a list: cut to the width of a terminal, with `mark` in it coloured."""
        text = clip(text, self.columns() or 0)
        if mark and mark in text:
            text = text.replace(mark, self.style(mark, "yellow"), 1)
        self.line(text)

    def wrap(self, text: str, indent: str = "    ") -> None:
        """One line of which nothing may be lost: folded to the width of a terminal."""
        limit = self.columns()
        for line in [text] if limit is None else fold(text, max(limit, _NARROWEST), indent):
            self.line(line)

    def record(self, value: Mapping[str, Any]) -> None:
        """One JSON object on a line of stdout; ASCII only, so no terminal or locale is fooled."""
        import json

        named = {key: self.here(value[key]) for key in _COMMANDS if value.get(key)}
        self.line(json.dumps({**value, **named}, separators=(", ", ": ")))

    def say(self, text: str) -> None:
        """One line of talk on stderr; silent under --quiet and --json."""
        if not (self.quiet or self.json):
            self._talk(text)

    def hint(self, text: str) -> None:
        """Why an answer may be empty, on stderr: an object under --json, silent under --quiet."""
        import json

        if not self.quiet:
            self._talk(json.dumps({"hint": text}) if self.json else clean(text))

    def detail(self, text: str) -> None:
        """One line of talk that is shown under --verbose."""
        if self.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """A warning on stderr, also under --quiet; under --json it belongs in the object."""
        if not self.json:
            self._talk(self.style("warning:", "yellow", sys.stderr) + " " + clean(text))

    def next(self, command: str) -> None:
        """The useful next command, the last line of talk."""
        self.say(self.style("next:", "dim", sys.stderr) + " " + clean(self.here(command)))

    def stand(self, option: str, value: str) -> None:
        """Note an option that says where this command works: -C, --store."""
        self._place += f"{option} {quoted(value)} "

    def here(self, command: str) -> str:
        """Commands to type, each with what says where this one works; others stay as they are."""
        if not self._place or _PLACED.search(command):
            return command
        return _COMMAND.sub(lambda found: found.group() + self._place, command)

    def error(self, text: str) -> None:
        """One line of an error message on stderr, whatever the flags."""
        self._talk(text)

    def style(self, text: str, name: str, stream: IO[str] | None = None) -> str:
        """`text` in a colour, where `stream` (stdout) is a terminal that may be coloured."""
        if self.no_color or not is_terminal(stream or sys.stdout):
            return text
        return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"

    def columns(self) -> int | None:
        """The columns of the terminal on stdout, or None when stdout is something else."""
        if not is_terminal(sys.stdout):
            return None
        if self._columns.isdigit() and int(self._columns):
            return int(self._columns)
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or _DEFAULT_COLUMNS
        except (OSError, ValueError):
            return _DEFAULT_COLUMNS

    def _talk(self, text: str) -> None:
        # What was said before must stand before it, where both streams end in one place. What
        # cannot be written stays buffered: the last flush of the program fails for it.
        with contextlib.suppress(OSError, ValueError):
            if sys.stdout is not None:
                sys.stdout.flush()
        # Talk is never worth failing for: the commit it tells of is already durable.
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.write(text + "\n")


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a person looks at this stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
