"""Which store this is: `store.json` beside the data file, and the same facts in table `meta`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from castore.database.datafile import (
    DATA_FILE,
    HEADS_LOG,
    LOCK_FILE,
    RESTORE,
    RESTORE_OR_SALVAGE,
    UPGRADE_OR_SALVAGE,
    open_at_once,
)
from castore.database.tables import UUID_BYTES
from castore.errors import CorruptObject, StoreNotFound, UnsupportedFormat
from castore.model.encoding import decode, encode
from castore.model.fields import Fields
from castore.model.limits import FORMAT, KIB

STORE_FILE: Final = "store.json"
_FILE_LIMIT: Final = 64 * KIB
_RELICS: Final = (HEADS_LOG, LOCK_FILE)


class Identity(NamedTuple):
    """The store's own uuid, and that of the project, which clones inherit; 16 bytes each."""

    uuid: bytes
    project: bytes


class Features(NamedTuple):
    """What a program must understand to read the store, to write to it, and what it may ignore."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


KNOWN_FEATURES: Final[frozenset[str]] = frozenset()


def identity_text(identity: Identity) -> str:
    """The contents of `store.json`."""
    project, uuid = identity.project.hex(), identity.uuid.hex()
    return f'{{"format": {FORMAT}, "project": "{project}", "uuid": "{uuid}"}}\n'


def read_identity(folder: Path) -> Identity:
    """The identity noted in `folder`; raises StoreNotFound, CorruptObject, UnsupportedFormat."""
    path = folder / STORE_FILE
    try:
        with open_at_once(path) as file:
            data = file.read(_FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / DATA_FILE).exists():
            raise CorruptObject(
                f"{path} is missing", where=str(path), fix=RESTORE_OR_SALVAGE
            ) from None
        if was_store(folder):
            raise CorruptObject(
                f"{folder}: {STORE_FILE} and {DATA_FILE} are missing from this store",
                where=str(folder / DATA_FILE),
                fix=RESTORE,
            ) from None
        raise StoreNotFound(f"no store at {folder}", fix="cas init") from None
    return _as_written(data) or _parsed(data, path)


def was_store(folder: Path) -> bool:
    """Whether files lie in `folder` that only a store has, were it without its data."""
    return any((folder / name).is_file() for name in _RELICS)


def _as_written(data: bytes) -> Identity | None:
    """The identity in a file that is as `identity_text` writes it: read without a JSON parser."""
    start = data.find(b'"project": "') + 12
    digits = 2 * UUID_BYTES
    try:
        project = bytes.fromhex(data[start : start + digits].decode())
        uuid = bytes.fromhex(data[-digits - 3 : -3].decode())
    except ValueError:
        return None
    found = Identity(uuid, project)
    return found if identity_text(found).encode() == data else None


def _parsed(data: bytes, path: Path) -> Identity:
    import json

    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or type(fields.get("format")) is not int:
        raise CorruptObject(f"{path} is damaged", where=str(path), fix=RESTORE_OR_SALVAGE)
    if fields["format"] != FORMAT:
        raise UnsupportedFormat(
            f"{path}: store format {fields['format']}; this castore reads format {FORMAT}",
            fix=UPGRADE_OR_SALVAGE,
        )
    return Identity(_uuid(fields, "uuid", path), _uuid(fields, "project", path))


def encode_features(features: Features) -> bytes:
    """The value of `features` in table `meta`."""
    return encode({key: sorted(names) for key, names in features._asdict().items()})


def decode_features(payload: bytes) -> Features:
    """That value; raises CorruptObject."""
    what = "meta features"
    fields = Fields(decode(payload, limit=64 * KIB, what=what), what, Features._fields)
    lists = [fields.items(key, _name, 256) for key in Features._fields]
    return Features(*lists)


def _name(value: Any, what: str) -> str:
    if type(value) is not str:
        raise CorruptObject(f"{what}: not a name")
    return value


def _uuid(fields: Mapping[str, Any], key: str, path: Path) -> bytes:
    try:
        value = bytes.fromhex(fields[key])
    except (KeyError, TypeError, ValueError):
        value = b""
    if len(value) != UUID_BYTES:
        raise CorruptObject(f"{path}: {key} is damaged", where=str(path), fix=RESTORE_OR_SALVAGE)
    return value
