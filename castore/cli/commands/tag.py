"""`cas tag`: list, make and delete tags."""

from __future__ import annotations

import click

from castore.cli.access import actor, full_rev, name_of, opened
from castore.cli.completing import revisions
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, first_line
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.names import check_branch
from castore.store.records import version_record
from castore.store.selectors import resolve_version
from castore.store.store import Store
from castore.store.tags import create_tag, delete_tag, list_tags


@verb(
    "tag",
    examples=[
        ("cas tag q3-final report@v7", "name version 7 for ever"),
        ("cas tag", "every tag and its version"),
    ],
)
@click.argument("name", required=False, metavar="[NAME")
@click.argument("rev", required=False, metavar="[REV]]", shell_complete=revisions)
@click.option("-d", "--delete", is_flag=True, help="delete NAME; the name stays taken")
@click.option("-m", "--message", default="", metavar="TEXT", help="why, for the operation log")
@click.pass_obj
def command(
    call: Invocation, name: str | None, rev: str | None, delete: bool, message: str
) -> None:
    """List tags, or name REV for ever.

    A tag never moves, and the name of a deleted tag is never given again.
    """
    with opened(call) as store:
        if name is None:
            if delete or message:
                raise InvalidInput("which tag?", fix="cas tag --help")
            _list(call.output, store)
        elif delete:
            if rev is not None:
                raise InvalidInput("use -d NAME, without REV", fix=f"cas tag -d {name}")
            _delete(call, store, name, message)
        elif rev is None:
            check_branch(name, "tag")
            fix = name_of(store, f"cas tag {name}")
            raise InvalidInput(f"tag {name!r}: say which version", fix=fix)
        else:
            _make(call, store, name, rev, message)


def _list(output: Output, store: Store) -> None:
    tags = list_tags(store)
    if output.json:
        for name, version in tags:
            output.record({"tag": name, **version_record(store, version)})
        return
    if not tags:
        output.say("no tags yet")
    rows = [
        (
            clean(name),
            clean(version.label),
            version.short,
            moment(version.manifest.at),
            first_line(version.manifest.message),
        )
        for name, version in tags
    ]
    for line in columns(rows):
        output.row(line)


def _make(call: Invocation, store: Store, name: str, rev: str, message: str) -> None:
    version = resolve_version(store, full_rev(store, rev))
    create_tag(store, name, version, by=actor(call), why=message)
    if call.output.json:
        call.output.record({"tag": name, "id": version.id.hex(), "number": version.number})
        return
    call.output.line(f"tag {clean(name)} is {clean(version.label)} {version.short}")
    call.output.next(f"cas checkout {name}")


def _delete(call: Invocation, store: Store, name: str, message: str) -> None:
    old = delete_tag(store, name, by=actor(call), why=message)
    if call.output.json:
        call.output.record({"tag": name, "id": None, "old": old.id.hex()})
        return
    call.output.line(f"deleted tag {clean(name)}, was {clean(old.label)} {old.short}")
