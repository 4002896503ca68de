"""Stores with many versions, written through the real encoders in big transactions.

A version has three artifacts, of which one is new, and one or two sources: version n was made from
versions n // 2 and, for every third, n // 3. It goes into the tables exactly as a commit puts it
there, but for the number of versions in a transaction.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from castore.content.encoder import encode_solid
from castore.content.sink import EncodedBlock
from castore.database.environment import Database
from castore.database.writing import Writing
from castore.model.artifact_set import Artifact, FileContent, encode_set, make_set
from castore.model.ids import Id, Kind, content_id
from castore.model.limits import ID_BYTES
from castore.model.manifest import (
    Agent,
    CheckResult,
    Manifest,
    Source,
    SpecPin,
    encode_manifest,
)
from castore.model.refs import branch_ref
from castore.store.publish import metadata_block

BRANCH: Final = "weekly-report"
SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
_PER_TRANSACTION: Final = 5_000
_START: Final = 1_700_000_000_000_000
_SPEC: Final = content_id(b"the spec")


class Built(NamedTuple):
    """One version ready to store."""

    manifest: Manifest
    id: Id
    blocks: list[EncodedBlock]
    indexed: list[tuple[Kind, Id, bytes]]


def histories(cache: Path) -> dict[int, Path]:
    """Stores of every size in SIZES below `cache`, written if they are not there yet."""
    found = {size: cache / f"versions-{size}" / ".cas" for size in SIZES}
    if not all(folder.exists() for folder in found.values()):
        for folder in found.values():
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.parent.mkdir(parents=True)
        _build(cache / "versions-under-way", found)
    return found


def _build(place: Path, targets: dict[int, Path]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    last = max(targets)
    database = Database.create(place / ".cas", now=lambda: _START, entropy=os.urandom)
    groups: Any = multiprocessing.Queue(2)
    encoder = multiprocessing.Process(target=_encode, args=(groups, sorted(targets)), daemon=True)
    encoder.start()
    try:
        done = 0
        while done < last:
            group = groups.get()
            _write(database, group)
            done += len(group)
            if done in targets and done < last:
                database.copy(targets[done])
            if done % 50_000 == 0:
                print(f"history: {done} versions", file=sys.stderr, flush=True)
    finally:
        encoder.terminate()
        database.close()
    os.rename(place / ".cas", targets[last])
    place.rmdir()


def _encode(groups: Any, sizes: list[int]) -> None:
    """Encode in a process of its own: that halves the wait."""
    versions = _versions(sizes[-1])
    done = 0
    while done < sizes[-1]:
        count = min(min(size for size in sizes if size > done) - done, _PER_TRANSACTION)
        groups.put([next(versions) for _ in range(count)])
        done += count


def _write(database: Database, versions: list[Built]) -> None:
    ref = branch_ref(BRANCH)

    def transact(tables: Writing) -> None:
        blocks = [block for version in versions for block in version.blocks]
        tables.put_blocks(blocks, [item for version in versions for item in version.indexed])
        for manifest, id, _, _ in versions:
            before = manifest.parents[0] if manifest.parents else None
            assert tables.set_if_equals(ref, before, id)
            tables.append_operation(
                "commit",
                op_id=manifest.operation,
                at=manifest.at,
                by=manifest.author,
                why=manifest.message,
                refs=[(ref, before or b"", id)],
            )
        tables.bump_generation()

    database.write(transact)


def _versions(count: int) -> Iterator[Built]:
    fixed = [_chunk(f"template {name}\n".encode() * 40) for name in ("chart", "style")]
    ids = bytearray()
    for number in range(1, count + 1):
        rows = [{"week": number, "total": number * 37 % 1009, "region": n} for n in range(8)]
        fresh = _chunk(json.dumps(rows).encode())
        contents = (fresh, *fixed)
        used = [number // 2] if number % 3 else [number // 2, number // 3]
        sources = tuple(_source(at, _id_of(ids, at)) for at in dict.fromkeys(used) if at)
        parents = (_id_of(ids, number - 1),) if number > 1 else ()
        built = _version(number, parents, contents, sources)
        yield built
        ids += built.id


def _id_of(ids: bytearray, number: int) -> Id:
    return bytes(ids[(number - 1) * ID_BYTES : number * ID_BYTES])


def _source(number: int, id: Id) -> Source:
    label = f"{BRANCH}@v{number}"
    return Source(target=id, selector=label, label=label, pinned=True, evidence="observed")


def _version(
    number: int,
    parents: tuple[Id, ...],
    contents: tuple[tuple[Id, bytes], ...],
    sources: tuple[Source, ...],
) -> Built:
    names = (("data", "json"), ("chart", "text"), ("style", "text"))
    members = make_set(
        Artifact(name, "report", format, f"{name}.{format}", FileContent(id, len(data)))
        for (name, format), (id, data) in zip(names, contents, strict=True)
    )
    manifest = Manifest(
        set=members.id,
        spec=SpecPin(BRANCH, "1", _SPEC, _SPEC, "report.spec.yaml"),
        branch=BRANCH,
        at=_START + number * 60_000_000,
        number=number,
        parents=parents,
        agent=Agent(f"writer-{number % 50}", str(number // 10_000)),
        author=f"person-{number % 20}@example.com",
        run=f"run-{number}",
        message=f"numbers of week {number}",
        folder="out",
        sources=sources,
        checks=(CheckResult("data", "format", "passed"),),
    )
    payloads = [(Kind.SET, encode_set(members)), (Kind.MANIFEST, encode_manifest(manifest))]
    stored = [metadata_block(kind, payload) for kind, payload in payloads]
    chunks = contents if number == 1 else contents[:1]
    blocks = [*encode_solid(chunks), *(block for block, _ in stored)]
    indexed = [
        (kind, id, payload) for (kind, payload), (_, id) in zip(payloads, stored, strict=True)
    ]
    return Built(manifest, stored[-1][1], blocks, indexed)


def _chunk(data: bytes) -> tuple[Id, bytes]:
    return content_id(data), data
