"""Completion of the names of remotes."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.errors import CastoreError
from castore.store.remotes import remotes


def remote_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The names of remotes that begin with what was typed; none where there is no store."""
    call = ctx.find_object(Invocation)
    if call is None:
        return []
    try:
        with opened(call) as store:
            return [name for name in remotes(store) if name.startswith(incomplete)]
    except (CastoreError, OSError):
        return []
