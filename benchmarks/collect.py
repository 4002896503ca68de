"""How much memory a collection takes, and how long it keeps writers waiting.

    python benchmarks/collect.py [MILLIONS] [FOLDER]

Bulk-writes a store of so many million objects, half of them small and compressed together, half
alone in their blocks, held by folders of 1,000 files; forgets every second folder, and collects.
Prints JSON lines. Not run by the tests.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import castore
from castore.content.blocks import Codec, Member, join_block
from castore.content.encoder import encode_metadata
from castore.content.sink import EncodedBlock
from castore.database.environment import Database
from castore.database.writing import Writing
from castore.model.artifact_set import Artifact, TreeContent, encode_set, make_set
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.manifest import Manifest, SpecPin, encode_manifest
from castore.model.pages import FILE, Entry, encode_tree

FILES = 1000
FOLDERS = 20


def main() -> None:
    """Fill, collect, tell."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="castore-gc-"))
    begun = time.monotonic()
    with castore.init(folder) as store:
        for number in range(int(millions * 1_000_000 / FILES / FOLDERS)):
            fill(store, number)
        tell("filled", begun, objects=rows(store))
        measure(store, dry_run=False)
    shutil.rmtree(folder, ignore_errors=True)


def rows(store: castore.Store) -> int:
    """The number of objects."""
    return store.database.read(lambda tables: tables.counts()["objects"])


def fill(store: castore.Store, number: int) -> None:
    """One version of 20 folders of 1,000 files, in one transaction; every second one is kept."""
    blocks: list[EncodedBlock] = []
    pages: list[tuple[Kind, Id, bytes]] = []
    for at in range(FOLDERS):
        datas = [b"%d/%d/%d" % (number, at, n) for n in range(FILES)]
        ids = [content_id(data) for data in datas]
        blocks += plain(ids, datas, 1 if at % 2 else FILES)
        entries = [Entry(b"%06d" % n, FILE, id, len(datas[n]), 0) for n, id in enumerate(ids)]
        payload = encode_tree(0, entries)
        pages.append((Kind.TREE, object_id(Kind.TREE, payload), payload))
    for page in pages:
        blocks += encode_metadata([page])
    artifacts = [
        Artifact(f"a{n}", "dataset", "folder", f"a{n}", TreeContent(id, 1))
        for n, (_, id, _) in enumerate(pages)
    ]
    members = encode_set(make_set(artifacts))
    made = (Kind.SET, object_id(Kind.SET, members), members)
    version = encode_manifest(
        Manifest(set=made[1], spec=SpecPin(f"b{number}"), branch=f"b{number}", at=number)
    )
    top = (Kind.MANIFEST, object_id(Kind.MANIFEST, version), version)
    blocks += [*encode_metadata([made]), *encode_metadata([top])]

    def transact(tables: Writing) -> None:
        tables.put_blocks(blocks, [*pages, made, top])
        if number % 2:
            tables.add_if_new(f"heads/b{number}", top[1])

    store.database.write(transact)


def plain(ids: list[Id], datas: list[bytes], together: int) -> Iterator[EncodedBlock]:
    """Uncompressed blocks of so many members."""
    for at in range(0, len(ids), together):
        part = datas[at : at + together]
        members = tuple(
            Member(id, Kind.CHUNK, len(data))
            for id, data in zip(ids[at : at + together], part, strict=True)
        )
        raw = b"".join(part)
        data = join_block(Codec.RAW, False, 0, (), members, raw)
        yield EncodedBlock(data, members, len(raw), ())


def measure(store: castore.Store, *, dry_run: bool) -> None:
    """One collection, its memory and its transactions."""
    longest = {"read": 0.0, "write": 0.0}
    for verb in longest:
        watch(verb, longest)
    before, peak, done = anonymous(), [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    sampler = threading.Thread(target=sample)
    sampler.start()
    begun = time.monotonic()
    report = store.gc(grace=0, dry_run=dry_run)
    done.set()
    sampler.join()
    tell(
        "dry run" if dry_run else "collection",
        begun,
        longest_write_s=round(longest["write"], 3),
        longest_read_s=round(longest["read"], 3),
        memory_before_mib=before >> 20,
        memory_more_mib=(peak[0] - before) >> 20,
        **{key: value for key, value in report.as_json().items() if key != "reasons"},
    )


def watch(verb: str, longest: dict[str, float]) -> None:
    """Time every transaction of this kind, its commit included."""
    run: Callable[..., Any] = getattr(Database, verb)
    run = getattr(run, "unwatched", run)

    def timed(self: Database, fn: Any, **options: Any) -> Any:
        begun = time.monotonic()
        try:
            return run(self, fn, **options)
        finally:
            longest[verb] = max(longest[verb], time.monotonic() - begun)

    timed.unwatched = run  # type: ignore[attr-defined]
    setattr(Database, verb, timed)


def anonymous() -> int:
    """Anonymous memory of this process, in bytes: mapped pages of the store are not counted."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def tell(what: str, begun: float, **figures: Any) -> None:
    """One JSON line."""
    print(
        json.dumps({"what": what, "s": round(time.monotonic() - begun, 1), **figures}), flush=True
    )


if __name__ == "__main__":
    main()
