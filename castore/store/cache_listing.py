"""What the caches of buckets on a machine hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castore.database.datafile import DATA_FILE
from castore.database.environment import Database
from castore.database.pages import check_pages
from castore.database.reading import Reading
from castore.errors import CastoreError, RefNotFound
from castore.model.names import near_names
from castore.model.refs import HEADS, LOST, PARTIALS, REMOTES
from castore.store.caches import CacheUse, cache_folder, contents_bytes
from castore.store.config import CONFIG_FILE, KnownRemote, read_config
from castore.store.opening import FOLDER, clock, is_store
from castore.store.remotes import place_url
from castore.store.store import Store
from castore.store.sync_clone import ORIGIN


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds: bytes of its `folder`, and of stored contents in it.

    `seen_at` tells when the bucket was last read, in microseconds; `unsent` counts versions and
    incomplete sets that are here only, as far as is known here. `problem` is why one cannot be
    read, and then the rest is unknown.
    """

    url: str
    folder: Path
    bytes: int
    contents: int = 0
    seen_at: int | None = None
    unsent: int = 0
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """The cache as `--json` prints it."""
        return {
            "url": self.url or None,
            "folder": str(self.folder),
            "bytes": self.bytes,
            "contents": self.contents,
            "seen_at": self.seen_at,
            "unsent": self.unsent,
            "problem": self.problem or None,
        }


def list_caches(caches: Path) -> list[CacheInfo]:
    """Every cache below a folder, the biggest first; nothing is asked of any bucket."""
    found = [_info(home) for home in _homes(caches)]
    return sorted(found, key=lambda info: (-info.bytes, info.url))


def cache_info(caches: Path, place: str) -> CacheInfo:
    """The cache of the bucket at a URL, or in a folder of `caches`; raises RefNotFound.

    Its pages are accounted for before they are mapped, so that no damage kills who asks.
    """
    homes = _homes(caches)
    if "://" not in place and (home := Path(place).absolute()) in homes:
        return _info(home, closely=True)
    url = place_url(place)
    own = cache_folder(caches, KnownRemote(url))
    for home in homes:
        if home == own or _configured(home).url == url:
            return _info(home, url, closely=True)
    hint = near_names(url, [found for home in homes if (found := _configured(home).url)])
    raise RefNotFound(f"there is no cache of {url}{hint}", fix="cas cache list")


def known_remote(info: CacheInfo) -> KnownRemote:
    """The bucket of a cache, as its configuration has it, or as it was asked for."""
    found = _configured(info.folder)
    return found if found.url else KnownRemote(info.url)


def _homes(caches: Path) -> list[Path]:
    return [
        home
        for home in (sorted(caches.iterdir()) if caches.is_dir() else ())
        if (home / FOLDER).is_dir()
    ]


def _configured(home: Path) -> KnownRemote:
    """The bucket that the configuration of a cache names; without a URL where it names none."""
    with suppress(CastoreError):
        return read_config(home / FOLDER / CONFIG_FILE).remotes.get(ORIGIN, KnownRemote(""))
    return KnownRemote("")


def _problem(home: Path, *, closely: bool) -> str:
    """Why a cache cannot be read, as far as that is seen without opening it."""
    if not is_store(home / FOLDER):
        return f"nothing of it is left in {home / FOLDER}"
    data = home / FOLDER / DATA_FILE
    if closely and data.is_file() and (problems := check_pages(str(data)).problems):
        return f"{data}: {problems[0].removeprefix(f'{data}: ')}"
    return ""


def _info(home: Path, asked: str = "", *, closely: bool = False) -> CacheInfo:
    size = folder_bytes(home)
    url = _configured(home).url or asked
    problem = _problem(home, closely=closely)
    if problem:
        return CacheInfo(url, home, size, problem=problem)
    try:
        store = Store(Database.open(home / FOLDER), now=clock, entropy=os.urandom)
    except CastoreError as error:
        return CacheInfo(url, home, size, problem=error.message)
    use = CacheUse(home)
    try:
        contents, unsent = store.database.read(
            lambda tables: (contents_bytes(tables), sum(1 for _ in _unsent(tables)))
        )
    except CastoreError as error:
        return CacheInfo(url, home, size, problem=error.message)
    else:
        problem = "" if url else "it is of no bucket"
        return CacheInfo(url, home, size, contents, use.seen_at, unsent, problem)
    finally:
        use.close()
        store.close()


def _unsent(tables: Reading) -> Iterator[str]:
    """The refs of versions that the bucket had not when it was read last."""
    refs = dict(tables.refs())
    for ref, id in refs.items():
        mirror = ref.replace(HEADS, f"{REMOTES}{ORIGIN}/", 1)
        if ref.startswith((LOST, PARTIALS)) or (ref.startswith(HEADS) and refs.get(mirror) != id):
            yield ref


def folder_bytes(home: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
