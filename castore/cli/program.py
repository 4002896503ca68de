"""The program `cas`: the table of commands, each loaded when it is called, and its help screen."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

import click

from castore.cli.invocation import load
from castore.cli.options import GLOBAL_OPTIONS, global_options, version_option
from castore.cli.verbs import SETTINGS, Choosing

_TWO_COLUMNS: Final = 76


class Entry(NamedTuple):
    """A row of a command table: where the help lists it, its module, what it does.

    Without a summary it stands on the line of the command of its section above, whose summary is
    that of both.
    """

    section: str
    module: str
    summary: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "init": Entry("start", "castore.cli.commands.init", "make a store here"),
    "clone": Entry("start", "castore.cli.commands.clone", ""),
    "spec": Entry("start", "castore.cli.commands.spec", "check or draft a spec"),
    "commit": Entry("commit", "castore.cli.commands.commit", "store the next version"),
    "run": Entry("commit", "castore.cli.commands.run", ""),
    "status": Entry("commit", "castore.cli.commands.status", "folder against store"),
    "partial": Entry("commit", "castore.cli.commands.partial", "incomplete sets"),
    "log": Entry("inspect", "castore.cli.commands.log", "versions, newest first"),
    "show": Entry("inspect", "castore.cli.commands.show", "one version or artifact"),
    "ls": Entry("inspect", "castore.cli.commands.ls", "artifacts and bytes"),
    "tree": Entry("inspect", "castore.cli.commands.tree", ""),
    "cat": Entry("inspect", "castore.cli.commands.cat", ""),
    "diff": Entry("inspect", "castore.cli.commands.diff", "compare two versions"),
    "find": Entry("inspect", "castore.cli.commands.find", "artifacts by name, type…"),
    "lineage": Entry("inspect", "castore.cli.commands.lineage", "made from, used by"),
    "impact": Entry("inspect", "castore.cli.commands.impact", ""),
    "audit": Entry("inspect", "castore.cli.commands.audit", "all of an agent, a spec…"),
    "blame": Entry("inspect", "castore.cli.commands.blame", "who made it; is it old"),
    "stale": Entry("inspect", "castore.cli.commands.stale", ""),
    "stats": Entry("operate", "castore.cli.commands.stats", "logical and stored bytes"),
    "request-review": Entry("review", "castore.cli.commands.request_review", "ask for a verdict"),
    "approve": Entry("review", "castore.cli.commands.approve", "a version may go out"),
    "reject": Entry("review", "castore.cli.commands.reject", "it may not"),
    "revoke": Entry("review", "castore.cli.commands.revoke", "take your verdict back"),
    "dismiss": Entry("review", "castore.cli.commands.dismiss", "somebody's note, to count no more"),
    "comment": Entry("review", "castore.cli.commands.comment", "say something"),
    "mark": Entry("review", "castore.cli.commands.mark", "published, withdrawn…"),
    "deploy": Entry("review", "castore.cli.commands.deploy", "say what is where"),
    "review": Entry("review", "castore.cli.commands.review", "what waits for a verdict"),
    "sign": Entry("review", "castore.cli.commands.sign", "sign by your SSH key"),
    "verify-signatures": Entry(
        "review", "castore.cli.commands.verify_signatures", "who signed what"
    ),
    "gate": Entry("review", "castore.cli.commands.gate", "may it go out? for CI"),
    "branch": Entry("share", "castore.cli.commands.branch", "names of versions"),
    "tag": Entry("share", "castore.cli.commands.tag", ""),
    "remote": Entry("share", "castore.cli.commands.remote", "share by a bucket"),
    "push": Entry("share", "castore.cli.commands.push", ""),
    "pull": Entry("share", "castore.cli.commands.pull", ""),
    "fetch": Entry("share", "castore.cli.commands.fetch", ""),
    "bundle": Entry("share", "castore.cli.commands.bundle", ""),
    "verify-external": Entry("share", "castore.cli.commands.verify_external", ""),
    "internalize": Entry("share", "castore.cli.commands.internalize", ""),
    "pin": Entry("operate", "castore.cli.commands.pin", "what is kept, and why"),
    "unpin": Entry("operate", "castore.cli.commands.unpin", ""),
    "why": Entry("operate", "castore.cli.commands.why", ""),
    "forget": Entry("operate", "castore.cli.commands.forget", "let go, free, erase"),
    "gc": Entry("operate", "castore.cli.commands.gc", ""),
    "repack": Entry("operate", "castore.cli.commands.repack", ""),
    "sql": Entry("share", "castore.cli.commands.sql", "ask for, write tables"),
    "export": Entry("share", "castore.cli.commands.export", ""),
    "purge": Entry("operate", "castore.cli.commands.purge", ""),
    "checkout": Entry("share", "castore.cli.commands.checkout", "write files to a folder"),
    "fsck": Entry("operate", "castore.cli.commands.fsck", "check and copy"),
    "salvage": Entry("operate", "castore.cli.commands.salvage", ""),
    "backup": Entry("operate", "castore.cli.commands.backup", ""),
    "heal": Entry("operate", "castore.cli.commands.heal", "damage, from a remote"),
    "reindex": Entry("operate", "castore.cli.commands.reindex", ""),
    "cache": Entry("operate", "castore.cli.commands.cache", "caches of buckets"),
    "op": Entry("operate", "castore.cli.commands.op", "who moved what, and why"),
    "completion": Entry("operate", "castore.cli.commands.completion", "for your shell"),
}
SECTIONS: Final = ("start", "commit", "inspect", "review", "share", "operate")
# Listed on the screen of `cas --help` by name only.
ALSO: Final = (
    "request-review", "reject", "revoke", "dismiss", "comment", "mark", "deploy", "sign",
    "verify-signatures", "partial", "fetch", "bundle", "cache", "heal",
    "verify-external", "internalize", "repack", "reindex", "completion",
)  # fmt: skip
# What fingers type that is called something else here.
HABITS: Final = {
    "add": "commit", "save": "commit", "history": "log", "du": "stats", "verify": "fsck",
    "check": "fsck", "list": "ls", "restore": "checkout", "get": "checkout",
    "grep": "find", "search": "find", "reflog": "op log", "branches": "branch", "tags": "tag",
    "st": "status", "ci": "commit", "co": "checkout", "head": "log", "validate": "spec check",
    "recover": "salvage", "repair": "heal",
}  # fmt: skip


class Root(Choosing):
    """`cas` itself: finds a command's module in the table and imports that one only."""

    habits = HABITS

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
        return cast(click.Command, load(entry.module).command)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One screen: what it is, the commands by section, the global options."""
        formatter.write("cas: git for agent outputs.        Usage: cas [OPTIONS] COMMAND [ARGS]…\n")
        left, right = _balanced([_section(section) for section in SECTIONS])
        options = [f"  {names:<14}{summary}" for names, summary in GLOBAL_OPTIONS]
        half = len(options) // 2
        for first, second in ((left, right), (options[:half], options[half:])):
            for line in _side_by_side(first, second, formatter.width):
                formatter.write(line + "\n")
        for line in _wrapped("also:", ALSO, min(formatter.width, _TWO_COLUMNS)):
            formatter.write(line + "\n")
        formatter.write("Begin: cas init; cas commit -m first out/.  More: cas COMMAND --help\n")


def _section(section: str) -> list[str]:
    rows: list[tuple[str, str]] = []
    for name, entry in COMMANDS.items():
        if entry.section != section or name in ALSO:
            continue
        if entry.summary:
            rows.append((name, entry.summary))
        else:
            names, summary = rows[-1]
            rows[-1] = (f"{names}, {name}", summary)
    lines = [f"  {names:<10}  {summary}" for names, summary in rows]
    return [section, *lines] if rows else []


def _balanced(blocks: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """The blocks in two columns, cut where the longer one is shortest."""
    cuts = [
        ([line for block in blocks[:at] for line in block],
         [line for block in blocks[at:] for line in block])
        for at in range(len(blocks) + 1)
    ]  # fmt: skip
    return min(cuts, key=lambda cut: max(map(len, cut)))


def _wrapped(title: str, words: Sequence[str], columns: int) -> list[str]:
    """Words behind a title, with commas, in lines of at most so many columns."""
    lines = [title]
    for word in words:
        if len(lines[-1]) + len(word) + 2 > columns:
            lines.append(" " * len(title))
        lines[-1] += f" {word},"
    lines[-1] = lines[-1][:-1]
    return lines


def _side_by_side(left: Sequence[str], right: Sequence[str], columns: int) -> list[str]:
    """Two lists of lines beside each other, or below each other where there is no room."""
    if columns < _TWO_COLUMNS:
        return [*left, *(line for line in right if line)]
    pairs = itertools.zip_longest(left, right, fillvalue="")
    return [f"{first:<{columns // 2}}{second}".rstrip() for first, second in pairs]
