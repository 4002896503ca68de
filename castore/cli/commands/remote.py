"""`cas remote`: the buckets that have a name in this store."""

from __future__ import annotations

from typing import Any

import click

from castore.cli.access import actor, opened, shared_url, user_caches
from castore.cli.completing_remotes import remote_names
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.screen import clean, columns, plural
from castore.cli.verbs import Family, verb
from castore.model.refs import HEADS, REMOTES
from castore.store.config import KnownRemote
from castore.store.remotes import add_remote, remote, remotes, remove_remote
from castore.store.shared_repair import repair_shared
from castore.store.store import Store
from castore.store.sync import repair_remote
from castore.store.sync_repair import RemoteRepair

command = Family(
    "remote",
    help="Give buckets a name: where a team shares its versions.",
    examples=[
        ("cas remote add origin s3://reports-prod/acme", "a bucket of S3, with a prefix"),
        ("cas remote list", "every remote and its URL"),
    ],
)


@verb(
    "add",
    family=command,
    examples=[
        ("cas remote add origin s3://reports-prod/acme --region eu-central-1", "a bucket of S3"),
        ("cas remote add minio s3://reports --endpoint https://minio.example", "a server like S3"),
        ("cas remote add disk ../shared", "a folder, on a disk that several mount"),
    ],
)
@click.argument("name", metavar="NAME")
@click.argument("url", metavar="URL")
@click.option("--endpoint", default="", metavar="URL", help="of a server that is not the cloud's")
@click.option("--region", default="", metavar="NAME", help="of a bucket of S3")
@click.pass_obj
def add(call: Invocation, name: str, url: str, endpoint: str, region: str) -> None:
    """Call the bucket at URL by NAME: s3://, gs://, az://, file://, or the path of a folder.

    The bucket is tried first, on a scratch object below probe/: one that does not honour conditions
    of writes is refused, since writers would lose each other's versions. Credentials come from the
    environment or from the machine, and are never kept. The name stands in .cas/config.toml.
    """
    with opened(call) as store:
        found = add_remote(store, name, url, endpoint=endpoint, region=region)
        if call.output.json:
            call.output.record(_record(name, found))
            return
        call.output.line(f"remote {clean(name)} is {clean(found.url)}")
        call.output.next(f"cas push {name}")


@verb(
    "list",
    family=command,
    examples=[
        ("cas remote list", "every remote and its URL"),
        ("cas remote list --json", "the same, one object a line"),
    ],
)
@click.pass_obj
def list_command(call: Invocation) -> None:
    """List remotes."""
    with opened(call) as store:
        known = remotes(store)
    if call.output.json:
        for name, found in known.items():
            call.output.record(_record(name, found))
        return
    if not known:
        call.output.say("no remotes yet")
        call.output.next("cas remote add origin URL")
    for line in columns([(clean(name), clean(found.url)) for name, found in known.items()]):
        call.output.row(line)


@verb(
    "show",
    family=command,
    examples=[
        ("cas remote show origin", "its URL, and its branches and tags as last seen"),
        ("cas remote show origin --json", "the same as one object, ids in full"),
    ],
)
@click.argument("name", metavar="NAME", shell_complete=remote_names)
@click.pass_obj
def show(call: Invocation, name: str) -> None:
    """Show where a remote is, and where its branches and tags were when last seen.

    Nothing is asked of the remote.
    """
    with opened(call) as store:
        found = remote(store, name)
        refs = _seen(store, name)
    if call.output.json:
        call.output.record({**_record(name, found), "refs": refs})
        return
    rows = [("url", found.url), ("endpoint", found.endpoint), ("region", found.region)]
    for label, value in rows:
        if value:
            call.output.line(f"{label:<10}{clean(value)}")
    for line in columns([(clean(ref), id[:12]) for ref, id in refs.items()]):
        call.output.row(line)
    if not refs:
        call.output.say("nothing of it was seen yet")


@verb(
    "repair",
    family=command,
    examples=[
        ("cas remote repair -n origin", "what would be done, and what may be lost"),
        ("cas remote repair origin", "put the newest copy in the place of the root"),
    ],
)
@click.argument("name", metavar="NAME", shell_complete=remote_names)
@click.option("-n", "--dry-run", is_flag=True, help="say what would be done, change nothing")
@click.pass_obj
def repair(call: Invocation, name: str, dry_run: bool) -> None:
    """Give a bucket whose root is missing or unreadable the newest copy of it.

    Whoever writes to a bucket keeps copies of its root. A root that is fine is refused: exit 4.
    What was pushed after the copy is not in it, and is told as far as it was seen here; a push by
    who has it brings it again, and where the bucket is the store, this command by itself. A damaged
    castore.json is written anew, as the root of this project tells. For packs and indexes that are
    damaged there is cas heal --remote.
    """
    url = shared_url(call)
    if url and not call.offline:
        done = repair_shared(url, user_caches(), name, by=actor(call), dry_run=dry_run)
    else:
        with opened(call) as store:
            done = repair_remote(store, name, dry_run=dry_run)
    if call.output.json:
        call.output.record(done.as_json())
        return
    print_repair(call.output, name, done, url)


def print_repair(output: Output, name: str, done: RemoteRepair, url: str = "") -> None:
    """The steps of a repair, and what may be lost; `url` is that of a bucket that is the store."""
    report = done.report
    output.line(f"damage: {clean(report.damage)}")
    for passed in report.passed:
        output.line(f"passed over: {clean(passed)}")
    if report.identity:
        would = "would be" if report.dry_run else "was"
        output.line(f"castore.json {would} written anew, as root tells")
    if report.copy is not None:
        would = "would become" if report.dry_run else "became"
        output.line(f"copy {report.copy} of root {would} root, with serial {report.serial}")
    for ref in sorted(report.root.refs):
        output.row(f"  {clean(ref)}  {report.root.refs[ref].hex()[:12]}")
    _print_behind(output, done)
    for key in report.missing:
        output.warn(f"it leads to {key}, which is gone")
    if report.copy is not None:
        output.say(
            "what others pushed after that copy is not in it: a push of theirs brings it again"
            + ("" if url else "; who saw more notes than are left repairs it as well")
        )
    place = f"cas --store {url} " if url else "cas "
    after = f"heal --remote {name}" if report.missing else f"fsck --remote {name}"
    if not (url or report.missing):
        after = f"push {name}"
    output.next(place + (f"remote repair {name}" if report.dry_run else after))


def _print_behind(output: Output, done: RemoteRepair) -> None:
    """What was seen of the bucket that its new root does not know."""
    would = "would be" if done.report.dry_run else "was"
    if done.behind:
        changes = plural(done.behind, "change")
        output.warn(f"{changes} of root seen here came after that copy")
    for branch, (seen, now) in done.moved.items():
        place = now.hex()[:12] if now else "not there"
        again = f"; {would} sent again" if HEADS + branch in done.again else ""
        output.warn(f"{branch} was at {seen.hex()[:12]} when last seen, and is {place}{again}")
    if done.notes:
        again = f"; {plural(done.notes_again, 'note')} sent again" if done.notes_again else ""
        verb = "is" if done.notes == 1 else "are"
        output.warn(f"{plural(done.notes, 'note')} seen here {verb} not in it{again}")
    if done.unsent:
        output.warn(f"what was seen here could not be sent again: {clean(done.unsent)}")


@verb(
    "remove",
    family=command,
    examples=[
        ("cas remote remove origin", "forget the name; the bucket stays as it is"),
        ("cas remote remove disk --json", "the same, and where it was as one object"),
    ],
)
@click.argument("name", metavar="NAME", shell_complete=remote_names)
@click.pass_obj
def remove(call: Invocation, name: str) -> None:
    """Forget the name of a remote, and what was seen of it; the bucket stays as it is.

    That it never went back is known by what was seen: a remote added again is trusted anew.
    """
    with opened(call) as store:
        found = remove_remote(store, name, by=actor(call))
    if call.output.json:
        call.output.record(_record(name, found))
        return
    call.output.line(f"removed remote {clean(name)}, was {clean(found.url)}")


def _record(name: str, found: KnownRemote) -> dict[str, Any]:
    return {
        "name": name,
        "url": found.url,
        "endpoint": found.endpoint or None,
        "region": found.region or None,
    }


def _seen(store: Store, name: str) -> dict[str, str]:
    """The refs of a remote as last seen, and the ids that they named."""
    prefix = f"{REMOTES}{name}/"
    refs = store.database.read(lambda tables: list(tables.refs(prefix)))
    return {ref.removeprefix(prefix): id.hex() for ref, id in refs}
