"""Access: which store and which branch a command means when it is not told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from castore.cli.headers import SpecHead, head_here, read_head
from castore.cli.identity import author
from castore.cli.invocation import Invocation, load
from castore.cli.screen import clean
from castore.errors import CorruptObject, InvalidInput, NotFound, RefNotFound, StoreNotFound
from castore.model.ids import Id
from castore.model.names import quoted
from castore.store.config import CONFIG_FILE
from castore.store.moments import format_minute
from castore.store.opening import FOLDER, find_store, is_store, open_store
from castore.store.selectors import Resolved, branch_names, resolve
from castore.store.store import Behind, Store

_RELATIVE: Final = "@~:"
_LISTED: Final = 10
_SYNC: Final = "castore.store.sync"
_SHARED: Final = "castore.store.shared"
_CACHE: Final = "castore.store.cache_opening"
_MENDING: Final = "castore.store.mending"
_EXTERNALS: Final = "castore.store.externals_verify"


@contextmanager
def opened(call: Invocation, spec: str = "") -> Iterator[Store]:
    """The store that is meant, closed at the end; `spec` is --spec.

    Raises StoreNotFound, InvalidInput for a malformed `config.toml`: no command passes over that.
    """
    url = shared_url(call, spec)
    store = (
        load(_SHARED).open_shared(
            url, user_caches(), user_config=user_config, root=Path.cwd(), offline=call.offline
        )
        if url
        else _own(store_place(call, spec))
    )
    try:
        call.output.detail(f"store: {store.folder}")
        store.own_config()
        store.bring = store.bring or _bring
        store.offline = call.offline
        if store.behind:
            _say_shared(call, store.behind, offline=store.offline)
        yield store
        if store.behind and store.behind.waits:
            call.output.say(
                "it waits in the bucket's inbox, and counts when somebody who may write there "
                "pushes"
            )
    except CorruptObject as error:
        if store.url:
            load(_CACHE).damaged(error, store.url)
        raise
    finally:
        store.close()


def _own(place: Path) -> Store:
    """The store of its own at a place, or above it."""
    try:
        return open_store(place, user_config=user_config)
    except CorruptObject as error:
        load(_MENDING).name_clone(find_store(place), error)
        raise


def _say_shared(call: Invocation, behind: Behind, *, offline: bool) -> None:
    """Tell what a cache of a bucket does not know, or has alone."""
    if offline:
        seen = f"as of {format_minute(behind.seen_at)}" if behind.seen_at else "of unknown age"
        call.output.say(f"offline: {clean(behind.url)} {seen}")
    if behind.owing:
        call.output.say(
            "something that was said here is not in the bucket yet: it goes with the next write, "
            "or by cas push"
        )
    if behind.purged:
        names = " ".join(quoted(selector) for selector in behind.purged[:_LISTED])
        call.output.warn(
            "purged in the bucket, and still in the cache of this machine: "
            f"cas purge {clean(names)} --reason 'purged there' --include all"
        )


def shared_url(call: Invocation, spec: str = "") -> str:
    """The URL of a bucket, if that is what --store, CAS_STORE or the spec's `store:` names."""
    option = call.store_option or call.environ.get("CAS_STORE", "")
    if not option:
        head = spec_head(spec)
        option = head.store if head else ""
    return option if "://" in option else ""


def user_caches() -> Path:
    """The folder in which buckets that are used as stores have their caches."""
    import platformdirs

    return platformdirs.user_cache_path("castore", appauthor=False) / "shared"


def _bring(store: Store, ids: Sequence[Id], *, sharing: Set[Id] | None = None) -> None:
    """Fetch promised files; what talks to buckets is loaded when there are some."""
    load(_SYNC).bring(store, ids, sharing=sharing)


def ask_elsewhere(uri: str, *, pin: bool) -> Any:
    """What is found out of bytes at a URI; what talks to servers is loaded when there are some."""
    from urllib.request import getproxies

    asking = load(_EXTERNALS)
    return asking.ask_elsewhere(uri, proxies=getproxies(), pin=pin)


def user_config() -> Path:
    """The file in which the user configures all stores, whether it is there or not."""
    # Loaded where a setting is asked for: it takes longer than opening a store.
    import platformdirs

    return platformdirs.user_config_path("castore", appauthor=False) / CONFIG_FILE


def store_place(call: Invocation, spec: str = "") -> Path:
    """Where to look for the store: --store, CAS_STORE, the spec's `store:`, else upward from here.

    A place that is named must be a store: castore never looks above it. Raises StoreNotFound.
    """
    named = named_place(call, spec)
    if named is None:
        return Path()
    if not (is_store(named) or is_store(named / FOLDER)):
        raise StoreNotFound(
            f"no store at {str(named)!r}", fix=f"cas init --store {quoted(str(named))}"
        )
    return named


def named_place(call: Invocation, spec: str = "") -> Path | None:
    """The place that --store, CAS_STORE or the spec names, whether a store is there or not."""
    option = call.store_option or call.environ.get("CAS_STORE", "")
    if "://" in option:
        raise InvalidInput(
            f"{option!r}: this takes a store in a folder, not a bucket", fix="--store FOLDER"
        )
    if option:
        return Path(option)
    head = spec_head(spec)
    return head.local_store if head else None


def spec_head(option: str) -> SpecHead | None:
    """The head of the spec of --spec, else of the one `*.spec.yaml` here, else None."""
    return read_head(Path(option)) if option else head_here()


def default_branch(store: Store, spec: str = "") -> str:
    """The branch meant without a REV: the spec's, else the only one; raises RefNotFound."""
    head = spec_head(spec)
    if head is not None and head.id:
        return head.id
    names = branch_names(store)
    if len(names) == 1:
        return names[0]
    if not names:
        raise RefNotFound("the store has no versions yet", fix="cas commit PATH")
    shown = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    raise RefNotFound(
        f"which of {len(names)} branches? {shown}",
        fix=f"name one, such as {names[0]}",
        candidates=names,
    )


def name_of(store: Store, command: str) -> str:
    """What to type for `command` to go on with a version: the branch it would take, if there is."""
    try:
        return f"{command} {default_branch(store)}"
    except RefNotFound as error:
        return "cas branch" if error.attributes else error.fix


def resolve_here(store: Store, rev: str | None, spec: str = "") -> Resolved:
    """What `rev` means; without it, or where it begins with @ ~ or :, of the default branch."""
    if rev and rev[0] not in _RELATIVE:
        return resolve(store, rev)
    return resolve(store, full_rev(store, rev or "", spec))


def full_rev(store: Store, rev: str, spec: str = "") -> str:
    """`rev` with the default branch before it where it names none; raises RefNotFound."""
    if rev and rev[0] not in _RELATIVE:
        return rev
    try:
        return default_branch(store, spec) + rev
    except RefNotFound as error:
        if rev and (names := error.attributes.get("candidates")):
            error.fix = f"name one, such as {names[0]}{rev}"
        raise


def full_selector(store: Store, found: Resolved) -> str:
    """What `found` is called, for a command to type: its version's label where that means it."""
    version, artifact = found.version, found.artifact
    name = version.label
    try:
        known = resolve(store, name).version.id == version.id
    except (NotFound, InvalidInput):
        known = False
    import shlex

    rest = f":{artifact.name}" if artifact else ""
    rest += f"/{found.path}" if found.path else ""
    return shlex.quote((name if known else version.id.hex()) + rest)


def actor(call: Invocation, option: str = "") -> str:
    """Who moves a ref, for the operation log."""
    return author(option, call.environ)
