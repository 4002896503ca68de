"""Invocation: one run of `cas`, its global options, environment, output and the store it opens."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from castore.cli.output import Output, is_terminal
from castore.errors import InvalidInput


class Invocation:
    """What every command is given: how it was called, where its words go."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.output = Output(environ)
        self.store_option = ""
        self.yes = False
        self.offline = False

    def confirm(self, question: str) -> None:
        """Go on only after a yes: --yes, or an answer at a terminal; raises InvalidInput."""
        if self.yes:
            return
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise InvalidInput(f"{question} Confirm with --yes", fix="add --yes")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise InvalidInput("not confirmed; nothing was changed")
