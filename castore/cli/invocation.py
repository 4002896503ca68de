"""Invocation: one run of `cas`, its global options, environment, output and the store it opens."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Final

from castore.cli.output import Output, is_terminal
from castore.errors import InvalidInput

_VARIABLES: Final = "castore.remote.variables"


def load(name: str) -> ModuleType:
    """A module, loaded now; what talks to buckets is told then what the environment is."""
    module = importlib.import_module(name)
    variables = sys.modules.get(_VARIABLES)
    if variables is not None:
        variables.tell_variables(os.environ)
    return module


class Invocation:
    """What every command is given: how it was called, where its words go."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.output = Output(environ)
        self.store_option = ""
        self.arguments: Sequence[str] = ()
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
