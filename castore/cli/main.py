"""The entry point of `cas`: runs one command and turns every outcome into an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from castore.cli.failure import tell
from castore.cli.invocation import Invocation
from castore.cli.program import Root
from castore.cli.quick import leave
from castore.cli.verbs import HELP_COLUMNS

_COMPLETE = "_CAS_COMPLETE"


class Program(Root):
    """`cas`, run by castore's own rules for errors, streams and exit codes."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, **_: Any
    ) -> Any:
        """Run a command line and exit; what click's own runner calls."""
        sys.exit(run(list(sys.argv[1:] if args is None else args)))


program = Program()


def main() -> int:
    """Run the command line of this process, and end it or return its exit code."""
    code = run(sys.argv[1:])
    leave(code)
    return code


def run(arguments: list[str]) -> int:
    """Run `cas` with these arguments; prints, and returns the exit code (interface: 0 to 130)."""
    call = Invocation(os.environ)
    call.arguments = arguments
    for stream in (sys.stdout, sys.stderr):
        _tolerate(stream)
    try:
        code = _dispatch(arguments, call)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted: `cas log | head` is no failure.
        _silence()
        return 0
    except click.exceptions.NoArgsIsHelpError as help:
        if call.output.json:
            code = tell(click.UsageError("a command must follow", help.ctx), call.output)
        else:
            sys.stderr.write(help.format_message().removesuffix(".") + "\n")
            code = 2
    except click.exceptions.Exit as end:
        code = end.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, click.UsageError):
            call.output.json = call.output.json or _asks_for_json(arguments)
        code = tell(error, call.output)
        if isinstance(error, OSError):
            # What could not be written is still buffered; at exit it would fail a second time.
            _silence()
    return code


def _dispatch(arguments: list[str], call: Invocation) -> int:
    if _COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(program, {"obj": call}, "cas", _COMPLETE, os.environ[_COMPLETE])
    if not arguments:
        with click.Context(program, info_name="cas", max_content_width=HELP_COLUMNS) as context:
            sys.stderr.write(program.get_help(context) + "\n")
        return 2
    with program.make_context("cas", list(arguments), obj=call) as context:
        result = program.invoke(context)
    return result if isinstance(result, int) else 0


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether --json was typed, for errors found before the options were read."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _tolerate(stream: IO[str] | None) -> None:
    """Let text the locale cannot show be printed as escapes instead of failing."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _silence() -> None:
    """Point stdout at nothing, so that the interpreter's last flush stays quiet too."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
