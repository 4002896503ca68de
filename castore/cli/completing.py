"""Completion of names: what a shell may offer for a REV, and for an artifact after it."""

from __future__ import annotations

from typing import Final

import click

from castore.cli.access import full_rev, opened
from castore.cli.invocation import Invocation
from castore.content.trees import iter_tree, look_up
from castore.errors import CastoreError
from castore.model.artifact_set import TreeContent
from castore.model.pages import TREE
from castore.model.refs import HEADS, REMOTES, TAGS
from castore.store.selectors import resolve
from castore.store.store import Store

_OFFERED: Final = 1_000


def revisions(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """What begins with what was typed: branches and tags; after a colon artifacts, then files.

    None where there is no store, or no such version.
    """
    call = ctx.find_object(Invocation)
    if call is None:
        return []
    try:
        with opened(call) as store:
            revision, colon, inside = incomplete.partition(":")
            names = _inside(store, revision, inside) if colon else _refs(store)
    except (CastoreError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)][:_OFFERED]


def _refs(store: Store) -> list[str]:
    kinds = (HEADS, TAGS, REMOTES)
    refs = store.database.read(lambda tables: [ref for kind in kinds for ref in tables.refs(kind)])
    return [name.partition("/")[2] for name, _ in refs]


def _inside(store: Store, revision: str, inside: str) -> list[str]:
    """The artifacts of a version; once one that is a folder is typed, what is in that folder."""
    version = resolve(store, full_rev(store, revision)).version
    members = store.set_of(version)
    name, slash, path = inside.partition("/")
    if not slash:
        return [
            f"{revision}:{found.name}" + "/" * isinstance(found.content, TreeContent)
            for found in members.artifacts
        ]
    artifact = members.get(name)
    if artifact is None or not isinstance(artifact.content, TreeContent):
        return []
    root, above = artifact.content.id, path.rpartition("/")[0]
    if above:
        folder = look_up(store.reader.tree_page, root, above)
        if folder is None or folder.kind != TREE:
            return []
        root = folder.id
    prefix = f"{revision}:{name}/" + (f"{above}/" if above else "")
    return [
        prefix + entry.name.decode() + "/" * (entry.kind == TREE)
        for entry in iter_tree(store.reader.tree_page, root)
    ]
