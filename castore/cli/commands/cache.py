"""`cas cache`: what buckets that are used as stores keep on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from castore.cli.access import shared_url, user_caches, user_config
from castore.cli.invocation import Invocation
from castore.cli.screen import clean, columns, plural, size
from castore.cli.verbs import Family, verb
from castore.errors import CastoreError, InvalidInput
from castore.model.limits import parse_size
from castore.store.cache_listing import CacheInfo, cache_info, list_caches
from castore.store.cache_pruning import PrunedCache, prune_cache, remove_cache
from castore.store.caches import CACHE_BYTES
from castore.store.config import read_config
from castore.store.moments import format_minute

command = Family(
    "cache",
    help="Look after the caches of buckets that are used as stores.",
    examples=[
        ("cas cache list", "every cache and what it takes"),
        ("cas cache prune --max-size 0", "let all contents go that are in their buckets"),
    ],
)


@verb(
    "list",
    family=command,
    examples=[
        ("cas cache list", "every cache and what it takes"),
        ("cas cache list --json", "the same, one object a line"),
    ],
)
@click.pass_obj
def list_command(call: Invocation) -> None:
    """List the caches of buckets on this machine, the biggest first.

    Nothing is asked of any bucket. A cache holds history, and the files that were read or written
    here; [cache] size in config.toml bounds those.
    """
    found = list_caches(user_caches())
    if call.output.json:
        for info in found:
            call.output.record(info.as_json())
        return
    if not found:
        call.output.say("no caches: no bucket was used as a store here")
    rows = [(size(info.bytes), _seen(info), clean(info.url or str(info.folder))) for info in found]
    for line in columns(rows, right=[0]):
        call.output.row(line)
    for info in found:
        _warn_damaged(call, info)


@verb(
    "show",
    family=command,
    examples=[
        ("cas cache show s3://reports-prod/acme", "what one cache holds, and where"),
        ("cas cache show", "that of the bucket that the spec here names"),
    ],
)
@click.argument("url", required=False, metavar="[URL]")
@click.pass_obj
def show(call: Invocation, url: str | None) -> None:
    """Show what the cache of the bucket at URL holds; nothing is asked of the bucket."""
    info = cache_info(user_caches(), _meant(call, url))
    if call.output.json:
        call.output.record({**info.as_json(), "limit": _limit()})
        return
    for label, value in (
        ("bucket", clean(info.url)),
        ("folder", clean(str(info.folder))),
        ("takes", size(info.bytes)),
        ("contents", f"{size(info.contents)} of at most {size(_limit())}"),
        ("last read", _seen(info)),
    ):
        call.output.line(f"{label:<10}{value}")
    if info.unsent:
        what = plural(info.unsent, "version")
        call.output.warn(f"{what} here only, lost or incomplete: see cas branch --lost")
    _warn_damaged(call, info)


def _warn_damaged(call: Invocation, info: CacheInfo) -> None:
    if info.problem:
        place = clean(info.url or str(info.folder))
        call.output.warn(f"{place}: this cache is damaged: {clean(info.problem)}")
        call.output.next(f"cas cache prune --remove {place}")


@verb(
    "prune",
    family=command,
    examples=[
        ("cas cache prune", "every cache down to its configured size"),
        ("cas cache prune --max-size 100MB s3://reports-prod/acme", "one, down to 100 MB"),
        ("cas cache prune --remove s3://reports-prod/acme", "the whole cache of one bucket"),
    ],
)
@click.argument("url", required=False, metavar="[URL]")
@click.option("--max-size", default="", metavar="SIZE", help="let go of more than that")
@click.option("--remove", is_flag=True, help="remove the cache with all its history")
@click.option("-f", "--force", is_flag=True, help="remove what the bucket has not, too")
@click.option("-n", "--dry-run", is_flag=True, help="say what would go, change nothing")
@click.pass_obj
def prune(
    call: Invocation, url: str | None, max_size: str, remove: bool, force: bool, dry_run: bool
) -> int:
    """Let files go that the buckets have, those stored first; of URL, or of all caches.

    What a bucket has not stays, and a cache that has such is not removed, but named, with what to
    do: exit 4. Nor is one that somebody uses just now. A cache that is damaged goes by --remove as
    well, if the bucket has all that can be read of it; --force asks no bucket. Files that went come
    again when they are read. URL may be a folder that cas cache list shows.
    """
    if force and not remove:
        raise InvalidInput("--force goes with --remove", fix="cas cache prune --remove --force URL")
    if remove and (max_size or url is None):
        raise InvalidInput("--remove takes one URL and no --max-size", fix="cas cache list")
    if call.offline and not force:
        raise InvalidInput("pruning asks the bucket", fix="the same without --offline")
    most = parse_size(max_size) if max_size else _limit()
    if most is None:
        raise InvalidInput(f"--max-size {max_size!r} is no size", fix="--max-size 500MB")
    if url is not None:
        info = cache_info(user_caches(), url)
        if remove:
            _print(call, remove_cache(info, force=force, dry_run=dry_run))
        else:
            _print(call, prune_cache(info, most, dry_run=dry_run))
        return 0
    code = 0
    for info in list_caches(user_caches()):
        try:
            _print(call, prune_cache(info, most, dry_run=dry_run))
        except CastoreError as error:
            fix = f"; try: {clean(error.fix)}" if error.fix else ""
            place = clean(info.url or str(info.folder))
            call.output.error(f"{place}: {clean(error.message)}{fix}")
            code = code or error.code
    return code


def _print(call: Invocation, done: PrunedCache) -> None:
    if call.output.json:
        call.output.record(done.as_json())
        return
    would = "would be " if done.dry_run else ""
    if done.removed:
        what = f"{would}removed"
    elif done.after == done.before:
        what = "nothing is to go"
    else:
        what = f"{would or 'now '}{size(done.after)}"
    call.output.line(f"{clean(done.url or str(done.folder))}: {size(done.before)}, {what}")
    if done.damaged:
        call.output.say("it was damaged; the next command makes a new one from the bucket")


def _meant(call: Invocation, url: str | None) -> str:
    found = url or shared_url(call)
    if not found:
        raise InvalidInput("which bucket? None is used as the store here", fix="cas cache list")
    return found


def _limit() -> int:
    """The configured size of caches, in bytes."""
    found = read_config(Path(user_config())).cache
    return CACHE_BYTES if found is None else found


def _seen(info: CacheInfo) -> str:
    return format_minute(info.seen_at) if info.seen_at else "unknown"
