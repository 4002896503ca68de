"""Repairing a bucket whose root is missing or unreadable, from the copies that writers keep.

Every writer keeps a copy of the root it wrote, after it wrote it; so the newest copy is the last
root, or one of the last few where a writer was killed in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from castore.errors import CastoreError, Conflict, CorruptObject, InvalidInput
from castore.model.limits import ROOT_BYTES
from castore.remote.bucket import (
    CHECK,
    Bucket,
    BucketIdentity,
    Seen,
    decode_root_of,
    encode_same_root,
    identity_text,
    put_identity,
    read_identity,
)
from castore.remote.keys import IDENTITY, INDEXES, PACKS, ROOT, ROOTS, index_key, pack_key, root_key
from castore.remote.root import Root
from castore.remote.transport import KeyAbsent, Transport

# What helps, by the name of the remote.
ANEW: Final = "cas remote remove NAME, and add it again, if this is meant"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or with `dry_run` would do.

    `damage` is what was wrong, `copy` the serial of the copy that became root as `serial`, None
    where root stayed as it was. `identity` tells that `castore.json` was written anew. `passed` are
    copies that cannot be read, the newest first, `missing` what the root leads to and is not there.
    """

    url: str
    damage: str
    copy: int | None
    serial: int
    passed: tuple[str, ...]
    missing: tuple[str, ...]
    root: Root
    identity: bool = False
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "url": self.url,
            "damage": self.damage,
            "copy": self.copy,
            "serial": self.serial,
            "identity": self.identity,
            "passed": list(self.passed),
            "missing": list(self.missing),
            "refs": {ref: id.hex() for ref, id in self.root.refs.items()},
            "dry_run": self.dry_run,
        }


class _Known(NamedTuple):
    """What is known of a bucket here: a root that says otherwise is not one of it."""

    project: bytes | None
    seen: Seen | None

    def fits(self, found: BucketIdentity | Root) -> bool:
        """Whether a bucket of this project and uuid may be the one that was seen."""
        return (self.project is None or found.project == self.project) and (
            self.seen is None or found.uuid == self.seen.uuid
        )


def repair_root(
    transport: Transport,
    project: bytes | None,
    *,
    client: bytes,
    entropy: Callable[[int], bytes],
    seen: Seen | None = None,
    dry_run: bool = False,
) -> RepairReport:
    """Put the newest readable copy in the place of a root that is missing or unreadable.

    Its serial is higher than any that is known, so that who saw the lost one takes it. A damaged
    `castore.json` is written anew as root, or a copy of it, of this `project` proves it; without a
    project, whatever they say. Raises Conflict where nothing is wrong, InvalidInput where there is
    no bucket of this project, CorruptObject without a readable copy, RemoteMoved where somebody
    else writes a root meanwhile.
    """
    known = _Known(project, seen)
    said, wrong = _said(transport)
    live = _live(transport)
    identity = said
    if wrong or (said is not None and not known.fits(said)):
        identity = _proven(transport, known, live, said, wrong)
        wrong = wrong or "its castore.json is of another bucket than its root"
    damage = _damage(transport, identity, client, entropy, seen, wrong)
    if not damage:
        assert live is not None
        report = RepairReport(
            transport.url, wrong, None, live.serial, (), _missing(transport, live), live, True
        )
    else:
        told = "; ".join(filter(None, (wrong, damage)))
        report = _from_copy(transport, known, identity, live, told)
        report = replace(report, identity=said is None or identity != said)
    if dry_run:
        return replace(report, dry_run=True)
    if report.copy is not None:
        _put_root(transport, report.root)
    if report.identity:
        _put_identity(transport, BucketIdentity(report.root.project, report.root.uuid))
    return report


def _from_copy(
    transport: Transport,
    known: _Known,
    identity: BucketIdentity | None,
    live: Root | None,
    damage: str,
) -> RepairReport:
    """What the newest copy makes of a root."""
    copy, passed = _newest(transport, known, identity)
    if live is not None and known.fits(live) and (copy is None or live.serial > copy.serial):
        # It only tells of less than was seen: whoever pushed since is in it.
        copy = live
    if copy is None:
        raise CorruptObject(
            f"{transport.url}: none of its {len(passed)} copies of root can be read"
            + (f": {passed[0]}" if passed else ""),
            where=ROOTS,
            fix="cas push to an empty place, from a store that has all",
        )
    serial = max(copy.serial, known.seen.serial if known.seen else 0) + 1
    root = replace(copy, serial=serial)
    missing = _missing(transport, root)
    return RepairReport(transport.url, damage, copy.serial, serial, passed, missing, root)


def _put_root(transport: Transport, root: Root) -> None:
    data = encode_same_root(root)
    try:
        etag = transport.get(ROOT, 0, ROOT_BYTES + 1).etag
    except KeyAbsent:
        transport.put(ROOT, data, if_absent=True)
    else:
        transport.replace(ROOT, data, etag)
    with suppress(CastoreError):
        transport.put(root_key(root.serial), data)


def _put_identity(transport: Transport, identity: BucketIdentity) -> None:
    try:
        etag = transport.get(IDENTITY).etag
    except KeyAbsent:
        put_identity(transport, identity)
    else:
        transport.replace(IDENTITY, identity_text(identity), etag)


def _said(transport: Transport) -> tuple[BucketIdentity | None, str]:
    """What `castore.json` says, and what is wrong with it."""
    try:
        return read_identity(transport), ""
    except KeyAbsent:
        return None, ""
    except CorruptObject as error:
        return None, error.message


def _live(transport: Transport) -> Root | None:
    """The root as it is, if that can be read."""
    try:
        return decode_root_of(transport, transport.get(ROOT, 0, ROOT_BYTES + 1).data)
    except (CorruptObject, KeyAbsent):
        return None


def _proven(
    transport: Transport,
    known: _Known,
    live: Root | None,
    said: BucketIdentity | None,
    wrong: str,
) -> BucketIdentity:
    """Which bucket it is where `castore.json` does not tell: root says so, or a copy of it."""
    proof = live if live is not None and known.fits(live) else None
    if proof is None:
        proof, _ = _newest(transport, known, None)
    if proof is not None:
        return BucketIdentity(proof.project, proof.uuid)
    if said is None:
        raise CorruptObject(
            f"{wrong}, and neither its root nor a copy of that is of the bucket known here",
            where=IDENTITY,
            fix="cas push to an empty place, from a store that has all",
        )
    if known.project not in (None, said.project):
        raise _of_another(transport, said.project)
    raise InvalidInput(
        f"{transport.url} is another bucket ({said.uuid.hex()}) than the one it was, and nothing "
        "in it is of that",
        fix=ANEW,
    )


def _of_another(transport: Transport, project: bytes) -> InvalidInput:
    return InvalidInput(
        f"{transport.url} holds another project ({project.hex()}) than this store",
        fix="repair it from a store of that project",
    )


def _damage(
    transport: Transport,
    identity: BucketIdentity | None,
    client: bytes,
    entropy: Callable[[int], bytes],
    seen: Seen | None,
    wrong: str,
) -> str:
    """What is wrong with the root; raises Conflict if nothing is, nor `wrong` is said."""
    if identity is None:
        with suppress(KeyAbsent):
            transport.get(ROOT, 0, 1)
            if _live(transport) is None:
                return "it has no castore.json, and its root cannot be read"
            raise Conflict(
                f"{transport.url}: its root is there, only castore.json is not",
                fix="cas fetch puts it there",
            )
        return "it has neither castore.json nor a root"
    try:
        view = Bucket(transport, identity, client=client, entropy=entropy, seen=seen).read()
    except CorruptObject as error:
        return error.message
    if wrong:
        return ""
    raise Conflict(
        f"{transport.url}: its root is fine (serial {view.root.serial}): nothing is repaired",
        fix=CHECK,
    )


def _newest(
    transport: Transport, known: _Known, identity: BucketIdentity | None
) -> tuple[Root | None, tuple[str, ...]]:
    """The newest copy that can be read, and those passed over."""
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
        if known.project not in (None, root.project):
            raise _of_another(transport, root.project)
        if not known.fits(root):
            passed.append(f"{key}: a copy of another bucket's root")
            continue
        return root, tuple(passed)
    if identity is None and not passed:
        raise InvalidInput(f"{transport.url} is empty: nothing was pushed to it", fix="cas push")
    return None, tuple(passed)


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
