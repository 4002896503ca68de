"""The verbs of `cas`: the table of commands, loaded one at a time, and what all of them share."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

import click

from castore.cli.options import GLOBAL_OPTIONS, global_options, version_option

HELP_COLUMNS: Final = 80
_TWO_COLUMNS: Final = 76
SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": HELP_COLUMNS}
Examples = Sequence[tuple[str, str]]
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class Entry(NamedTuple):
    """A row of a command table: where the help lists it, its module, what it does."""

    section: str
    module: str
    summary: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "init": Entry("start", "castore.cli.commands.init", "make a store here"),
    "spec": Entry("start", "castore.cli.commands.spec", "check or draft a spec"),
    "commit": Entry("commit", "castore.cli.commands.commit", "store the next version"),
    "status": Entry("commit", "castore.cli.commands.status", "folder against store"),
    "partial": Entry("commit", "castore.cli.commands.partial", "incomplete sets"),
    "log": Entry("inspect", "castore.cli.commands.log", "versions, newest first"),
    "show": Entry("inspect", "castore.cli.commands.show", "one version or artifact"),
    "ls": Entry("inspect", "castore.cli.commands.ls", "artifacts, files of one"),
    "tree": Entry("inspect", "castore.cli.commands.tree", "the same, as a tree"),
    "cat": Entry("inspect", "castore.cli.commands.cat", "the bytes of one file"),
    "diff": Entry("inspect", "castore.cli.commands.diff", "compare two versions"),
    "find": Entry("inspect", "castore.cli.commands.find", "artifacts by name, type…"),
    "stats": Entry("inspect", "castore.cli.commands.stats", "logical and stored bytes"),
    "branch": Entry("share", "castore.cli.commands.branch", "list and change branches"),
    "tag": Entry("share", "castore.cli.commands.tag", "list, make, delete tags"),
    "checkout": Entry("share", "castore.cli.commands.checkout", "write files to a folder"),
    "fsck": Entry("operate", "castore.cli.commands.fsck", "check for damage"),
    "op": Entry("operate", "castore.cli.commands.op", "who moved what, and why"),
    "completion": Entry("operate", "castore.cli.commands.completion", "for your shell"),
}
SECTIONS: Final = ("start", "commit", "inspect", "review", "share", "operate")
# What fingers type that is called something else here.
_HABITS: Final = {
    "add": "commit", "save": "commit", "history": "log", "du": "stats", "verify": "fsck",
    "check": "fsck", "list": "ls", "restore": "checkout", "get": "checkout", "clone": "checkout",
    "grep": "find", "search": "find", "reflog": "op log", "branches": "branch", "tags": "tag",
    "st": "status", "ci": "commit", "co": "checkout", "head": "log", "validate": "spec check",
}  # fmt: skip


def near(name: str, known: Sequence[str]) -> list[str]:
    """The names most like `name`, at most three, best first."""
    from difflib import get_close_matches

    return get_close_matches(name, known, n=3, cutoff=0.6)


class Verb(click.Command):
    """A command with the global options and examples in its help."""

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = dict(SETTINGS)
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.extend(global_options())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples and where the global options are told of."""
        _write_examples(formatter, self.examples)
        _write_global_note(formatter)


class Family(click.Group):
    """A command made of commands, such as `cas spec check`."""

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = dict(SETTINGS)
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.extend(global_options())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with near matches for a name that is unknown."""
        _refuse_unknown(self, ctx, args[0])
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples and where the global options are told of."""
        _write_examples(formatter, self.examples)
        _write_global_note(formatter)


class Root(click.Group):
    """`cas` itself: finds a command's module in the table and imports that one only."""

    def __init__(self) -> None:
        super().__init__(
            "cas",
            context_settings=dict(SETTINGS),
            no_args_is_help=False,
            subcommand_metavar="COMMAND",
        )
        self.params.extend(global_options())
        self.params.append(version_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Every command name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now, or None."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return cast(click.Command, importlib.import_module(entry.module).command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with near matches for a name that is unknown."""
        _refuse_unknown(self, ctx, args[0])
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One screen: what it is, the commands by section, the global options."""
        formatter.write("cas: git for agent outputs.        Usage: cas [OPTIONS] COMMAND [ARGS]…\n")
        left = [line for section in SECTIONS[:3] for line in _section(section)]
        right = [line for section in SECTIONS[3:] for line in _section(section)]
        options = [f"  {names:<14}{summary}" for names, summary in GLOBAL_OPTIONS]
        half = len(options) // 2
        for first, second in ((left, right), (["options", *options[:half]], ["", *options[half:]])):
            for line in _side_by_side(first, second, formatter.width):
                formatter.write(line + "\n")
        formatter.write("Begin: cas init; cas commit -m first out/.  More: cas COMMAND --help\n")


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


def _section(section: str) -> list[str]:
    rows = [(name, entry) for name, entry in COMMANDS.items() if entry.section == section]
    lines = [f"  {name:<10}  {entry.summary}" for name, entry in rows]
    return [section, *lines] if rows else []


def _side_by_side(left: Sequence[str], right: Sequence[str], columns: int) -> list[str]:
    """Two lists of lines beside each other, or below each other where there is no room."""
    if columns < _TWO_COLUMNS:
        return [*left, *(line for line in right if line)]
    pairs = itertools.zip_longest(left, right, fillvalue="")
    return [f"{first:<{columns // 2}}{second}".rstrip() for first, second in pairs]


def _refuse_unknown(group: click.Group, ctx: click.Context, name: str) -> None:
    known = group.list_commands(ctx)
    if name in known or name.startswith("-"):
        return
    habit = _HABITS.get(name, "") if isinstance(group, Root) else ""
    matches = [habit] if habit else near(name, known)
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    error = click.UsageError(f"no command is called {name!r}{hint}", ctx)
    error.fix = f"{ctx.command_path} {matches[0]} --help" if matches else ""  # type: ignore[attr-defined]
    raise error


def _write_examples(formatter: click.HelpFormatter, examples: Examples) -> None:
    if examples:
        with formatter.section("Examples"):
            formatter.write_dl(examples, col_max=40)


def _write_global_note(formatter: click.HelpFormatter) -> None:
    formatter.write_paragraph()
    formatter.write_text("Also: -C DIR, --store PATH, --json, -q, -v, -y, --no-color: cas --help.")
