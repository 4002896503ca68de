"""Verbs: what all commands of `cas` share, in options, help and what an unknown name is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from castore.cli.options import empty_value, global_options

HELP_COLUMNS: Final = 80
SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_COLUMNS}
_MAY_BE_EMPTY: Final = ("message", "arguments")
Examples = Sequence[tuple[str, str]]
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def near(name: str, known: Sequence[str]) -> list[str]:
    """The names most like `name`, at most three, best first."""
    from difflib import get_close_matches

    return get_close_matches(name, known, n=3, cutoff=0.6)


class _Quick(click.Command):
    """A command that is parsed without a look for translations, nor guesses that nobody reads."""

    _help: click.Option | None = None

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """As click's, but for the translation of its help."""
        if self._help is None:
            self._help = click.Option(
                self.get_help_option_names(ctx), is_flag=True, is_eager=True, expose_value=False,
                callback=_show_help, help="Show this message and exit.",
            )  # fmt: skip
        return self._help

    def make_parser(self, ctx: click.Context) -> Any:
        """As click's, which tries `-n` as a long option first: without near matches for it."""
        parser: Any = super().make_parser(ctx)
        known, match = getattr(parser, "_long_opt", {}), getattr(parser, "_match_long_opt", None)
        if match is None:
            return parser

        def match_long(option: str, *rest: Any) -> None:
            if option not in known and not option.startswith("--"):
                raise click.NoSuchOption(option, f"no option {option}", ctx=ctx)
            match(option, *rest)

        parser._match_long_opt = match_long
        return parser


class Verb(_Quick):
    """A command with the global options and examples in its help."""

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = dict(SETTINGS)
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.extend(global_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, but an empty value is refused: an unset variable of a script is no value."""
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _unknown_option(ctx, error.option_name) from None
        if not ctx.resilient_parsing:
            for parameter in self.params:
                _refuse_empty(ctx, parameter)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples and where the global options are told of."""
        _write_examples(formatter, self.examples)
        _write_global_note(formatter)


class Choosing(_Quick, click.Group):
    """A group that tells near matches for an unknown name; `habits` maps names from elsewhere."""

    habits: Mapping[str, str] = {}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but for the words about an unknown name."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            habit = self.habits.get(name)
            matches = [habit] if habit else near(name, known)
            hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
            error = click.UsageError(f"no command is called {name!r}{hint}", ctx)
            if matches:
                error.fix = f"{ctx.command_path} {matches[0]} --help"  # type: ignore[attr-defined]
            raise error
        return super().resolve_command(ctx, args)


class Family(Choosing):
    """A command made of commands, such as `cas spec check`."""

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = dict(SETTINGS)
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.extend(global_options())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples and where the global options are told of."""
        _write_examples(formatter, self.examples)
        _write_global_note(formatter)


def verb(
    name: str, *, examples: Examples, family: Family | None = None
) -> Callable[[AnyFunction], Verb]:
    """Make a function a command; its docstring is the help, its first line the summary."""

    def decorate(function: AnyFunction) -> Verb:
        made = click.command(name, cls=Verb, examples=examples)(function)
        if family is not None:
            family.add_command(made)
        return made

    return decorate


def _show_help(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def _unknown_option(ctx: click.Context, typed: str) -> click.UsageError:
    """The error for an option that is not there, with those that look like it."""
    names = [name for parameter in ctx.command.params for name in parameter.opts if len(name) > 2]
    found = near(typed.lstrip("-"), [name.lstrip("-") for name in names if name.startswith("--")])
    hint = f"; did you mean {' or '.join('--' + name for name in found)}?" if found else ""
    return click.UsageError(f"{ctx.command_path} has no option {typed!r}{hint}", ctx)


def _refuse_empty(ctx: click.Context, parameter: click.Parameter) -> None:
    """Refuse an empty value that was typed; only a message, and words for others, may be empty."""
    name = parameter.name or ""
    if name in _MAY_BE_EMPTY or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return
    value = ctx.params.get(name)
    if value == "" or (isinstance(value, tuple) and "" in value):
        shown = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else ""
        raise empty_value(ctx, shown or name.upper())


def _write_examples(formatter: click.HelpFormatter, examples: Examples) -> None:
    if examples:
        with formatter.section("Examples"):
            formatter.write_dl(examples, col_max=40)


def _write_global_note(formatter: click.HelpFormatter) -> None:
    formatter.write_paragraph()
    formatter.write_text("Also: -C DIR, --store PATH, --json, -q, -v, -y, --no-color: cas --help.")
