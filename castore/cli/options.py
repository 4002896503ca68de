"""The global options: every command takes them, before or after its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from castore.cli.invocation import Invocation
from castore.cli.paths import files, folders

GLOBAL_OPTIONS: Final = (
    ("-C DIR", "work in DIR"),
    ("--store PATH", "the .cas folder"),
    ("--json", "JSON, one a line"),
    ("-q, --quiet", "no talk on stderr"),
    ("-v, --verbose", "more talk on stderr"),
    ("--offline", "ask no bucket"),
    ("-y, --yes", "answer yes"),
    ("--no-color", "no colour"),
)

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

LINKS: Final = ("refuse", "skip", "follow")
"""What --links offers."""


def global_options() -> list[click.Parameter]:
    """Fresh parameters for the options every command takes; they act on the Invocation."""
    return [
        click.Option(
            ["-C", "directory"], metavar="DIR", hidden=True, expose_value=False, is_eager=True,
            callback=_enter, shell_complete=folders,
        ),
        click.Option(
            ["--store"], metavar="PATH", hidden=True, expose_value=False, callback=_set,
            shell_complete=folders,
        ),
        _flag(["--json"]),
        _flag(["-q", "--quiet"]),
        click.Option(
            ["-v", "--verbose"], count=True, hidden=True, expose_value=False, callback=_set,
        ),
        _flag(["--offline"]),
        _flag(["-y", "--yes"]),
        _flag(["--no-color"]),
    ]  # fmt: skip


def spec_option(help: str) -> Callable[[AnyFunction], AnyFunction]:
    """The option --spec of a command."""
    return click.option("--spec", default="", metavar="FILE", help=help, shell_complete=files)


def sign_option(help: str) -> Callable[[AnyFunction], AnyFunction]:
    """The option --sign of a command."""
    return click.option("--sign", is_flag=True, help=help)


def version_option() -> click.Option:
    """The option --version of `cas` itself."""
    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, hidden=True,
        callback=_print_version,
    )  # fmt: skip


def empty_value(ctx: click.Context, name: str) -> click.UsageError:
    """The error for the option or argument `name` that was given with an empty value."""
    return click.UsageError(f"empty value for {name}; give one, or leave it out", ctx)


def _flag(names: list[str]) -> click.Option:
    return click.Option(names, is_flag=True, hidden=True, expose_value=False, callback=_set)


def _set(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    call = ctx.find_object(Invocation)
    if call is None or ctx.resilient_parsing:
        return
    if value == "":
        raise empty_value(ctx, f"--{parameter.name}")
    if not value:
        return
    match parameter.name:
        case "store":
            call.store_option = value
            call.output.stand("--store", value)
        case "yes":
            call.yes = True
        case "offline":
            call.offline = True
        case "verbose":
            call.output.verbose += value
        case "json" | "quiet" | "no_color":
            setattr(call.output, parameter.name, True)


def _enter(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:  # noqa: ARG001
    if value is None or ctx.resilient_parsing:
        return
    if not value:
        raise empty_value(ctx, "-C")
    ctx.find_root().obj.output.stand("-C", value)
    before = os.getcwd()
    try:
        os.chdir(value)
    except OSError as error:
        raise click.UsageError(f"-C {value}: {error.strerror}", ctx) from None
    ctx.find_root().call_on_close(lambda: os.chdir(before))


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        sys.stdout.write(f"cas {version('castore')}\n")
        ctx.exit()
