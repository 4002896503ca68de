"""What the commands share that talk to remotes: how far back, and one remote or all."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from castore.cli.failure import tell
from castore.cli.invocation import Invocation
from castore.errors import CastoreError, InvalidInput, RefNotFound
from castore.store.remotes import remotes
from castore.store.selectors import branch_names
from castore.store.store import Store
from castore.store.sync_depth import WHOLE

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])


def depth_options(function: AnyFunction) -> AnyFunction:
    """The options --depth and --unshallow of a command that fetches."""
    for option in (
        click.option("--unshallow", is_flag=True, help="bring all that was cut off before, too"),
        depth_option,
    ):
        function = option(function)
    return function


def depth_option(function: AnyFunction) -> AnyFunction:
    """The option --depth."""
    at_least = click.IntRange(min=1)
    help = "at most N versions of each line"
    return click.option("--depth", type=at_least, metavar="N", help=help)(function)


def depth_meant(depth: int | None, *, unshallow: bool) -> int | None:
    """How many versions of each line are to come, None for what is new."""
    if depth is not None and unshallow:
        raise InvalidInput("--depth and --unshallow exclude each other", fix="one of them")
    return WHOLE if unshallow else depth


def all_option(function: AnyFunction) -> AnyFunction:
    """The option --all of a command about one remote."""
    help = "every remote, one after the other"
    return click.option("--all", "every", is_flag=True, help=help)(function)


def with_each(
    call: Invocation,
    store: Store,
    remote: str | None,
    refs: Sequence[str],
    work: Callable[[str, Sequence[str]], None],
    *,
    every: bool,
) -> int:
    """Do `work` with the remote that is meant, or with every: then what fails is told, and passed.

    With `every` all arguments are refs. The exit code is that of the first that failed. An
    interrupt says how to go on: what has arrived does not travel twice.
    """
    try:
        return _with_each(call, store, remote, refs, work, every=every)
    except KeyboardInterrupt as error:
        error.add_note(shlex.join(["cas", *call.arguments]))
        raise


def _with_each(
    call: Invocation,
    store: Store,
    remote: str | None,
    refs: Sequence[str],
    work: Callable[[str, Sequence[str]], None],
    *,
    every: bool,
) -> int:
    known = remotes(store)
    if not every:
        if remote and remote not in known and known and remote in branch_names(store):
            name = "origin" if "origin" in known else next(iter(known))
            verb = click.get_current_context().info_name
            raise RefNotFound(
                f"there is no remote {remote!r}; it is a branch", fix=f"cas {verb} {name} {remote}"
            )
        work(remote or "", refs)
        return 0
    if not known:
        raise RefNotFound("there is no remote yet", fix="cas remote add origin URL")
    if remote in known:
        raise InvalidInput(f"{remote!r} is a remote: with --all only refs are named", fix="--all")
    code = 0
    for name in known:
        try:
            work(name, [remote, *refs] if remote else refs)
        except CastoreError as error:
            error.message = f"{name}: {error.message}"
            error.attributes["remote_name"] = name
            failed = tell(error, call.output)
            code = code or failed
    return code
