"""`cas branch`: list, make, move and delete branches."""

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
from castore.store.branches import (
    create_branch,
    delete_branch,
    list_branches,
    list_lost,
    move_branch,
)
from castore.store.records import version_record
from castore.store.selectors import resolve_version
from castore.store.standing import Verdicts
from castore.store.store import Store
from castore.store.version import Version


@verb(
    "branch",
    examples=[
        ("cas branch", "every branch and its newest version"),
        ("cas branch hotfix report@v3", "a new branch that begins at version 3"),
    ],
)
@click.argument("name", required=False, metavar="[NAME")
@click.argument("rev", required=False, metavar="[REV]]", shell_complete=revisions)
@click.option("-d", "--delete", is_flag=True, help="delete NAME; its versions stay for now")
@click.option("-f", "--force", is_flag=True, help="move NAME to REV although it exists")
@click.option("--lost", is_flag=True, help="versions whose branch moved before they were published")
@click.pass_obj
def command(
    call: Invocation, name: str | None, rev: str | None, delete: bool, force: bool, lost: bool
) -> None:
    """List branches, or make NAME at REV.

    There is no current branch: a branch is a name that moves with each commit to it.
    """
    if (
        (lost and (name or delete or force))
        or (delete and (rev or force or not name))
        or (force and not rev)
    ):
        raise InvalidInput("use NAME REV, -f NAME REV, -d NAME, or --lost", fix="cas branch --help")
    with opened(call) as store:
        if name is None:
            _list(call.output, store, list_lost(store) if lost else list_branches(store), lost=lost)
        elif delete:
            _delete(call, store, name)
        elif rev is None:
            check_branch(name)
            fix = name_of(store, f"cas branch {name}")
            raise InvalidInput(f"branch {name!r}: say where it begins", fix=fix)
        else:
            _put(call, store, name, resolve_version(store, full_rev(store, rev)), force=force)


def _list(output: Output, store: Store, versions: list[Version], *, lost: bool) -> None:
    if output.json:
        verdicts = Verdicts(store)
        for version in versions:
            output.record(version_record(store, version, verdicts=verdicts))
        return
    if not versions:
        output.say("no lost versions" if lost else "no branches yet")
        return
    rows = [
        (
            clean(version.branch),
            f"v{version.number}",
            version.short,
            moment(version.manifest.at),
            first_line(version.manifest.message),
        )
        for version in versions
    ]
    for line in columns(rows):
        output.row(line)


def _put(call: Invocation, store: Store, name: str, version: Version, *, force: bool) -> None:
    by = actor(call)
    names = [tip.branch for tip in list_branches(store)] if force else []
    old: Version | None = None
    if name in names:
        old = move_branch(store, name, version, by=by)
    else:
        create_branch(store, name, version, by=by)
    if call.output.json:
        call.output.record(_change(name, version, old))
        return
    was = f", was {old.short}" if old else ""
    call.output.line(f"{clean(name)} is at {version.short} (v{version.number}){was}")
    call.output.next(f"cas log {name}")


def _delete(call: Invocation, store: Store, name: str) -> None:
    old = delete_branch(store, name, by=actor(call))
    if call.output.json:
        call.output.record(_change(name, None, old))
        return
    call.output.line(f"deleted branch {clean(name)}, was {old.short} (v{old.number})")
    call.output.next(f"cas branch {name} {old.id.hex()}  (to undo)")


def _change(name: str, new: Version | None, old: Version | None) -> dict[str, str | int | None]:
    return {
        "branch": name,
        "id": new.id.hex() if new else None,
        "number": new.number if new else None,
        "old": old.id.hex() if old else None,
    }
