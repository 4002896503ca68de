"""Remotes: the buckets that have a name in a store, as its `config.toml` says."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from castore.database.failures import using_files
from castore.database.operations import RefMove
from castore.database.writing import Writing
from castore.errors import (
    FULL_CHECK,
    CastoreError,
    Conflict,
    InvalidInput,
    RefNotFound,
    RemoteError,
)
from castore.model.names import check_segment, near_names, quoted
from castore.model.refs import REMOTES
from castore.remote.address import parse_url
from castore.remote.bucket import CHECK, REPAIR
from castore.remote.probe import probe
from castore.remote.repair import ANEW
from castore.remote.transport import Transport
from castore.remote.urls import open_transport
from castore.store.config import CONFIG_FILE, KnownRemote, parse_config
from castore.store.store import Store

_REMOVED: Final = "remote-remove"
# How damage of this store, and of a bucket, is called.
_NEAR: Final = r"block \d"
_FAR: Final = r"a block that was fetched|the block at |(pack|index) [0-9a-f]|root\b|castore\.json"
# A path with a colon before its first '/' is more likely a URL that was mistyped.
_PATH: Final = r"[^/:]*(/.*)?"


def remotes(store: Store) -> Mapping[str, KnownRemote]:
    """Every remote by its name, sorted; raises InvalidInput for a malformed configuration."""
    return dict(sorted(store.config().remotes.items()))


def remote(store: Store, name: str) -> KnownRemote:
    """The remote of this name; raises RefNotFound."""
    known = store.config().remotes
    found = known.get(name)
    if found is None:
        hint = near_names(name, known)
        raise RefNotFound(f"there is no remote {name!r}{hint}", fix=f"cas remote add {name} URL")
    return found


def refuse_offline(store: Store, place: str) -> None:
    """Raise RemoteError where no bucket may be asked."""
    if store.offline:
        raise RemoteError(f"{place} is not asked: offline", fix="the same without --offline")


@contextmanager
def naming_repair(
    name: str, url: str = "", *, place: str = "", folder: Path | None = None, sends: bool = False
) -> Iterator[None]:
    """Let errors of a damaged bucket name a command that works: of a remote, or of a store.

    `place` is where the bucket is, `url` the same where it is the store. With `folder`, the store's
    own, damage of which nobody said what helps is told as the bucket's; where the store `sends`,
    only what was read there.
    """
    try:
        yield
    except CastoreError as error:
        if error.fix == FULL_CHECK and folder is not None:
            blame(error, place or url, folder, sends=sends)
        if error.fix == ANEW and url:
            error.fix = f"cas cache prune --remove --force {url}"
        elif error.fix in (REPAIR, CHECK, ANEW):
            error.fix = error.fix.replace("NAME", name)
            if url:
                error.fix = error.fix.replace("cas", f"cas --store {url}", 1)
        raise


def blame(error: CastoreError, place: str, folder: Path, *, sends: bool = False) -> None:
    """Say of damage that it is the bucket's at `place`, unless it is that of the store's folder."""
    where = str(error.attributes.get("where", ""))
    about = (where, error.message)
    near = re.match(_NEAR, where) or any(str(folder) in text for text in about)
    far = place in error.message or any(re.match(_FAR, text) for text in about)
    if near or (sends and not far):
        return
    error.fix = CHECK
    if place not in error.message:
        error.message = f"{place} is damaged: {error.message}"
        error.args = (error.message,)


def open_remote(found: KnownRemote, *, options: Mapping[str, str] | None = None) -> Transport:
    """A transport to a remote; `options` are obstore's own. Raises InvalidInput, RemoteError."""
    return open_transport(found.url, endpoint=found.endpoint, region=found.region, options=options)


def add_remote(
    store: Store,
    name: str,
    place: str,
    *,
    endpoint: str = "",
    region: str = "",
    options: Mapping[str, str] | None = None,
) -> KnownRemote:
    """Give a bucket a name, once it has shown that it keeps what castore's safety rests on.

    `place` is a URL or the path of a folder, which is made if the one above is there. Raises
    InvalidInput, Conflict where the name is taken, RemoteError for a bucket that does not keep it.
    """
    check_segment(name, "remote")
    found = KnownRemote(_url(store, place), endpoint.rstrip("/"), region)
    found.check()
    _refuse_taken(store, name)
    refuse_offline(store, found.url)
    transport = open_remote(found, options=options)
    try:
        probe(transport)
    finally:
        transport.close()
    write_remote(store, name, found)
    return found


def write_remote(store: Store, name: str, found: KnownRemote) -> None:
    """Write a remote into the store's configuration, comments kept; nothing is asked of it.

    Raises InvalidInput, Conflict where the name is taken.
    """
    check_segment(name, "remote")
    found.check()
    _refuse_taken(store, name)
    with _edited(store) as document:
        tables = _tables(document)
        if name in tables:
            raise _taken(name)
        tables[name] = {key: value for key, value in found._asdict().items() if value}


def remove_remote(store: Store, name: str, *, by: str = "") -> KnownRemote:
    """Take a remote's name away, with what was seen of it; the bucket stays as it is.

    The refs `remotes/NAME/…` go; what they named stays until gc's grace has passed. Raises
    RefNotFound, also for one of the user's own configuration; InvalidInput for the bucket that is
    the store itself.
    """
    found = store.own_config().remotes.get(name)
    if found is not None and store.url and store.url == found.url:
        raise InvalidInput(
            f"remote {name!r} is the bucket that is this store",
            fix=f"cas cache prune --remove {store.url}",
        )
    if found is None:
        remote(store, name)
        raise RefNotFound(
            f"remote {name!r} is of your own configuration, not of this store's",
            fix="edit config.toml in your own folder of castore",
        )
    at = store.now()

    def transact(tables: Writing) -> None:
        moves: list[RefMove] = [(ref, id, b"") for ref, id in tables.refs(f"{REMOTES}{name}/")]
        for ref, id, _ in moves:
            tables.remove_if_equals(ref, id)
        tables.drop_upload(name)
        for key in tables.located_keys(name.encode() + b"\0"):
            tables.drop_located(key)
        tables.append_operation(_REMOVED, at=at, by=by, refs=moves, detail={"remote": name})

    store.database.write(transact, urgent=True)
    with _edited(store) as document:
        tables = _tables(document)
        tables.pop(name, None)
        if not tables:
            document.pop("remote")
    return found


def place_url(place: str) -> str:
    """The URL of a URL or of the path of a folder; raises InvalidInput."""
    if "://" not in place:
        if not re.fullmatch(_PATH, place):
            raise InvalidInput(
                f"{place[:80]!r} is neither a URL nor a path",
                fix="use s3://BUCKET/PREFIX, or ./PATH for a folder",
            )
        place = Path(os.path.normpath(Path(place).absolute())).as_uri()
    return parse_url(place).url


def _url(store: Store, place: str) -> str:
    address = parse_url(place_url(place))
    inside = (address.folder, *address.folder.parents)
    if address.scheme == "file" and store.folder.resolve() in inside:
        raise InvalidInput(f"{place!r} is in the store itself", fix="use a folder outside of it")
    return address.url


def _refuse_taken(store: Store, name: str) -> None:
    if name in store.own_config().remotes:
        raise _taken(name)


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a remote {name!r} already", fix=f"cas remote remove {name}")


def _tables(document: Any) -> Any:
    """The table of remotes in a parsed file, made if it is not there."""
    import tomlkit

    if "remote" not in document:
        document.append("remote", tomlkit.table(is_super_table=True))
    return document["remote"]


@contextmanager
def _edited(store: Store) -> Iterator[Any]:
    """The store's `config.toml`, parsed for changes that are written, whole, at the end.

    Whoever changes it by this function waits for the others.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = Path(os.path.realpath(store.folder / CONFIG_FILE))
    with using_files(store.folder), _locked(store.folder):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        try:
            document = tomlkit.parse(text)
            yield document
            data = tomlkit.dumps(document).encode()
        except TOMLKitError as error:
            raise InvalidInput(
                f"{str(path)!r} cannot be edited: {error}", fix=f"edit {quoted(str(path))}"
            ) from None
        parse_config(data, str(path))
        _replace(path, data)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    """Put bytes in place of a file, durably; its permissions stay."""
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        with open(new, "xb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
