"""Completion of names: what a shell may offer for a REV."""

from __future__ import annotations

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.errors import CastoreError
from castore.model.refs import HEADS, TAGS


def revisions(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The branches and tags that begin with what was typed; none where there is no store."""
    call = ctx.find_object(Invocation)
    if call is None:
        return []
    try:
        with opened(call) as store:
            refs = store.database.read(lambda tables: [*tables.refs(HEADS), *tables.refs(TAGS)])
    except (CastoreError, OSError):
        return []
    names = (name.partition("/")[2] for name, _ in refs)
    return [name for name in names if name.startswith(incomplete)]
