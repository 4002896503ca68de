"""Repairing a bucket whose root is missing or unreadable, from the copies that writers keep.

Every writer keeps a copy of the root it wrote, after it wrote it; so the newest copy is the last
root, or one of the last few where a writer was killed in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from castore.errors import CastoreError, Conflict, CorruptObject, InvalidInput
from castore.model.limits import ROOT_BYTES
from castore.remote.bucket import (
    Bucket,
    BucketIdentity,
    Seen,
    decode_root_of,
    encode_same_root,
    put_identity,
    read_identity,
)
from castore.remote.keys import INDEXES, PACKS, ROOT, ROOTS, index_key, pack_key, root_key
from castore.remote.root import Root
from castore.remote.transport import KeyAbsent, Transport


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or with `dry_run` would do.

    `damage` is what was wrong, `copy` the serial of the copy that became root as `serial`.
    `passed` are copies that cannot be read, the newest first, `missing` what the copy leads to and
    is not there. `root` is the new root.
    """

    url: str
    damage: str
    copy: int
    serial: int
    passed: tuple[str, ...]
    missing: tuple[str, ...]
    root: Root
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "url": self.url,
            "damage": self.damage,
            "copy": self.copy,
            "serial": self.serial,
            "passed": list(self.passed),
            "missing": list(self.missing),
            "refs": {ref: id.hex() for ref, id in self.root.refs.items()},
            "dry_run": self.dry_run,
        }


def repair_root(
    transport: Transport,
    project: bytes,
    *,
    client: bytes,
    entropy: Callable[[int], bytes],
    seen: Seen | None = None,
    dry_run: bool = False,
) -> RepairReport:
    """Put the newest readable copy in the place of a root that is missing or unreadable.

    Its serial is higher than any that is known, so that who saw the lost one takes it. Raises
    Conflict where the root is fine, InvalidInput where there is no bucket of this project,
    CorruptObject without a readable copy, RemoteMoved where somebody else writes a root meanwhile.
    """
    identity = _identity(transport)
    damage = _damage(transport, identity, client, entropy, seen)
    known, copy, passed = _newest(transport, project, identity)
    serial = max(copy, seen.serial if seen else 0) + 1
    root = replace(known, serial=serial)
    report = RepairReport(
        transport.url, damage, copy, serial, passed, _missing(transport, root), root, dry_run
    )
    if dry_run:
        return report
    data = encode_same_root(root)
    try:
        etag = transport.get(ROOT, 0, ROOT_BYTES + 1).etag
    except KeyAbsent:
        transport.put(ROOT, data, if_absent=True)
    else:
        transport.replace(ROOT, data, etag)
    if identity is None:
        put_identity(transport, BucketIdentity(root.project, root.uuid))
    with suppress(CastoreError):
        transport.put(root_key(serial), data)
    return report


def _identity(transport: Transport) -> BucketIdentity | None:
    try:
        return read_identity(transport)
    except CorruptObject:
        raise
    except KeyAbsent:
        return None


def _damage(
    transport: Transport,
    identity: BucketIdentity | None,
    client: bytes,
    entropy: Callable[[int], bytes],
    seen: Seen | None,
) -> str:
    """What is wrong with the root; raises Conflict if nothing is."""
    if identity is None:
        with suppress(KeyAbsent):
            transport.get(ROOT, 0, 1)
            raise Conflict(
                f"{transport.url}: its root is there, only castore.json is not",
                fix="cas fetch puts it there",
            )
        return "it has neither castore.json nor a root"
    try:
        view = Bucket(transport, identity, client=client, entropy=entropy, seen=seen).read()
    except CorruptObject as error:
        return error.message
    raise Conflict(
        f"{transport.url}: its root is fine (serial {view.root.serial}): nothing is repaired",
        fix="cas fsck --remote",
    )


def _newest(
    transport: Transport, project: bytes, identity: BucketIdentity | None
) -> tuple[Root, int, tuple[str, ...]]:
    """The newest copy that can be read, its serial, and those passed over."""
    passed: list[str] = []
    for key in sorted((item.key for item in transport.list(ROOTS)), reverse=True):
        try:
            root = decode_root_of(transport, transport.get(key, 0, ROOT_BYTES + 1).data)
        except (CorruptObject, KeyAbsent) as error:
            passed.append(f"{key}: {error.message}")
            continue
        if root_key(root.serial) != key or (
            identity is not None and (root.project, root.uuid) != identity
        ):
            passed.append(f"{key}: a copy of another root")
            continue
        if root.project != project:
            raise InvalidInput(
                f"{transport.url} holds another project ({root.project.hex()}) than this store",
                fix="repair it from a store of that project",
            )
        return root, root.serial, tuple(passed)
    if identity is None and not passed:
        raise InvalidInput(f"{transport.url} is empty: nothing was pushed to it", fix="cas push")
    raise CorruptObject(
        f"{transport.url}: none of its {len(passed)} copies of root can be read"
        + (f": {passed[0]}" if passed else ""),
        where=ROOTS,
        fix="cas push to an empty place, from a store that has all",
    )


def _missing(transport: Transport, root: Root) -> tuple[str, ...]:
    """The indexes that a root lists and the packs that these name, where they are not there."""
    there = {item.key for prefix in (INDEXES, PACKS) for item in transport.list(prefix)}
    lost = {key for name in root.indexes if (key := index_key(name.upload, name.id)) not in there}
    bucket = Bucket(
        transport, BucketIdentity(root.project, root.uuid), client=b"", entropy=lambda _: b""
    )
    for name in root.indexes:
        with suppress(CorruptObject):
            packs = bucket.fetch_index(name).packs()
            lost |= {key for pack in packs if (key := pack_key(*pack)) not in there}
    return tuple(sorted(lost))
