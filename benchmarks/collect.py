"""What a collection costs on a big store, and how long writers wait beside it.

    python -m benchmarks.collect [--millions N] [--keep] [FOLDER]

Bulk-writes a store of so many million objects, through the real encoders, then collects it in
processes of their own: `gc -n`, then `gc` beside a process that commits a small file every 50 ms.
The same commits are timed on the full store before, and after, and such with a file of 250 KB.
Prints JSON lines. Half an hour and 6 GB for 10 million; not run by the tests.

What is written, in units of 22,000 files of about 40 bytes in folders of 1,000, solid blocks of 250
files, each twentieth folder a block for each file: versions of 20 folders on branches of their own;
to each a draft nothing names, which shares 18 folders with it. The files of the other two lie in
blocks together with those of the draft, 3 to 2 and 2 to 3. Two of ten units nothing names at all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import castore
from benchmarks.measure import measure
from castore.content.encoder import encode_chunks, encode_metadata, encode_solid
from castore.content.sink import EncodedBlock
from castore.database.environment import Database
from castore.database.writing import Payload, Writing
from castore.model.artifact_set import Artifact, TreeContent, encode_set, make_set
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.manifest import Manifest, SpecPin, encode_manifest
from castore.model.pages import FILE, Entry, encode_tree

_FILES: Final = 1000
_FOLDERS: Final = 20
_SHARED: Final = 18
_SOLID: Final = 250
_UNIT: Final = (2 * _FOLDERS - _SHARED) * _FILES
_UNITS_A_WRITE: Final = 30
_PAUSE: Final = 0.05
_IDLE_COMMITS: Final = 50
# Its chunks need pages side by side.
_BIG: Final = 250_000


def main() -> None:
    """Fill, collect, tell; each step in a process of its own, so that memory is its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collect", description=__doc__)
    parser.add_argument("--millions", type=float, default=1.0)
    parser.add_argument("--keep", action="store_true", help="use and leave the store")
    parser.add_argument("--step", choices=list(_STEPS), help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    if options.step:
        _STEPS[options.step](options.folder, options.millions)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="castore-gc-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for step in _STEPS:
            if step != "fill" or not (folder / ".cas").exists():
                command = [sys.executable, "-m", "benchmarks.collect", "--step", step]
                command += ["--millions", str(options.millions), str(folder)]
                subprocess.run(command, check=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder)


# Filling.


def fill(folder: Path, millions: float) -> None:
    """The store, written in big transactions."""
    begun = time.monotonic(), time.process_time()
    units = round(millions * 1_000_000 / _UNIT)
    with castore.init(folder) as store:
        for start in range(0, units, _UNITS_A_WRITE):
            _put(store, range(start, min(start + _UNITS_A_WRITE, units)))
        objects = store.database.read(lambda tables: tables.counts()["objects"])
        _tell("fill", begun, objects=objects, file_mib=store.database.file_bytes() >> 20)


def _put(store: castore.Store, units: range) -> None:
    blocks: list[EncodedBlock] = []
    pages: list[Payload] = []
    kept: list[tuple[str, Id]] = []
    for unit in units:
        version = _unit(unit, blocks, pages)
        if unit % 10 not in (3, 7):
            kept.append((f"heads/b{unit}", version))

    def transact(tables: Writing) -> None:
        tables.put_blocks(blocks, pages)
        for name, id in kept:
            tables.add_if_new(name, id)

    store.database.write(transact)


def _unit(unit: int, blocks: list[EncodedBlock], pages: list[Payload]) -> Id:
    """A version and its draft; the id of the version."""
    shared: list[Id] = []
    trees: list[Payload] = []
    for number in range(_SHARED):
        files = _files(unit, number)
        if number:
            for at in range(0, _FILES, _SOLID):
                blocks += encode_solid(files[at : at + _SOLID])
        else:
            blocks += encode_chunks(files)
        trees.append(_folder(files))
        shared.append(trees[-1][1])
    own: tuple[list[Id], list[Id]] = ([], [])
    for number, share in zip(range(_SHARED, _FOLDERS), (3, 2), strict=True):
        pair = _files(unit, number), _files(unit, number + _FOLDERS)
        cut = _SOLID * share // 5
        for at in range(0, _FILES, cut):
            blocks += _mixed(*pair, at, cut)
        for files, ids in zip(pair, own, strict=True):
            trees.append(_folder(files))
            ids.append(trees[-1][1])
    for at in range(0, len(trees), 2):
        blocks += encode_metadata(trees[at : at + 2])
    pages += trees
    made = [_version(unit, [*shared, *ids], name) for ids, name in zip(own, "vd", strict=True)]
    for version in made:
        blocks += [block for page in version for block in encode_metadata([page])]
        pages += version
    return made[0][-1][1]


def _mixed(
    ours: list[tuple[Id, bytes]], drafts: list[tuple[Id, bytes]], at: int, cut: int
) -> Iterator[EncodedBlock]:
    """Blocks of `cut` files that stay, each beside so many of the draft as make it full."""
    begin, end = (n * (_SOLID - cut) // cut for n in (at, min(at + cut, _FILES)))
    last = at + cut >= _FILES
    rest = drafts[begin : len(drafts) if last else end]
    for start in range(0, max(len(rest), 1), _SOLID):
        yield from encode_solid([*ours[at : at + cut], *rest[start : start + _SOLID]])
        ours = []


def _files(unit: int, folder: int) -> list[tuple[Id, bytes]]:
    datas = [b"unit %d, folder %d, file %d: nothing new" % (unit, folder, n) for n in range(_FILES)]
    return [(content_id(data), data) for data in datas]


def _folder(files: list[tuple[Id, bytes]]) -> Payload:
    entries = [Entry(b"%06d" % n, FILE, id, len(data), 0) for n, (id, data) in enumerate(files)]
    payload = encode_tree(0, entries)
    return Kind.TREE, object_id(Kind.TREE, payload), payload


def _version(unit: int, folders: list[Id], name: str) -> list[Payload]:
    artifacts = [
        Artifact(f"a{n}", "dataset", "folder", f"a{n}", TreeContent(id, 1))
        for n, id in enumerate(folders)
    ]
    members = encode_set(make_set(artifacts))
    set = object_id(Kind.SET, members)
    branch = f"b{unit}"
    payload = encode_manifest(
        Manifest(set=set, spec=SpecPin(branch), branch=branch, at=unit, message=name)
    )
    return [
        (Kind.SET, set, members),
        (Kind.MANIFEST, object_id(Kind.MANIFEST, payload), payload),
    ]


# Collecting.


def before(folder: Path, _: float) -> None:
    """Commits on the full store, nothing beside them."""
    _idle(folder, "commits before")


def dry_run(folder: Path, _: float) -> None:
    """`gc -n`."""
    _collect(folder, dry_run=True)


def collection(folder: Path, _: float) -> None:
    """`gc` beside a process that commits."""
    code = "import sys; from pathlib import Path; from benchmarks.collect import committer; "
    command = [sys.executable, "-c", code + "committer(Path(sys.argv[1]))", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as beside:
        assert beside.stdout is not None
        beside.stdout.readline()
        _collect(folder, dry_run=False)
        said, _ = beside.communicate("")
        print(json.dumps({"what": "commits beside", **json.loads(said)}), flush=True)


def after(folder: Path, _: float) -> None:
    """Commits on the collected store, and what another collection finds."""
    _idle(folder, "commits after")
    _collect(folder, dry_run=True)


_STEPS: Final[dict[str, Callable[[Path, float], None]]] = {
    "fill": fill,
    "before": before,
    "dry-run": dry_run,
    "collection": collection,
    "after": after,
}


def _collect(folder: Path, *, dry_run: bool) -> None:
    with castore.open(folder) as store:
        seconds = _watch()
        stored = _stored(store)
        found: list[Any] = []
        begun = time.monotonic(), time.process_time()
        for found in seconds.values():
            found.clear()
        reports: list[Any] = []
        run = measure(lambda: reports.append(store.gc(grace=0, dry_run=dry_run)))
        spreads = {f"{name}_ms": _spread(list(found)) for name, found in seconds.items()}
        _tell(
            "dry run" if dry_run else "collection",
            begun,
            memory_mib=round(run.memory / (1 << 20), 1),
            **spreads,
            blocks_less=stored - _stored(store),
            **{key: value for key, value in reports[0].as_json().items() if key != "reasons"},
        )


def _stored(store: castore.Store) -> int:
    """The bytes of all blocks."""
    return store.database.read(lambda tables: sum(i.stored for _, i in tables.block_infos()))


def _watch() -> dict[str, list[float]]:
    """Time every transaction from now on: seconds of each by kind.

    `wait` is until a writer has the lock, `write` from then to the end of its commit.
    """
    seconds: dict[str, list[float]] = {"read": [], "wait": [], "write": []}
    read, write = Database.read, Database.write

    def timed_read(self: Database, fn: Any) -> Any:
        begun = time.monotonic()
        try:
            return read(self, fn)
        finally:
            seconds["read"].append(time.monotonic() - begun)

    def timed_write(self: Database, fn: Any, **options: Any) -> Any:
        begun = had = time.monotonic()

        def run(tables: Writing) -> Any:
            nonlocal had
            had = time.monotonic()
            return fn(tables)

        try:
            return write(self, run, **options)
        finally:
            seconds["wait"].append(had - begun)
            seconds["write"].append(time.monotonic() - had)

    for verb, timed in (("read", timed_read), ("write", timed_write)):
        setattr(Database, verb, timed)
    return seconds


# Commits beside.


def committer(folder: Path) -> None:
    """Commit a small file every 50 ms until stdin ends; one JSON object at the end."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    with castore.open(folder) as store:
        _commit(store, 0)
        print("begin", flush=True)
        threading.Thread(target=wait, daemon=True).start()
        print(json.dumps(_commits(store, lambda _: ended.wait(_PAUSE))), flush=True)


def _idle(folder: Path, what: str) -> None:
    def pause(number: int) -> bool:
        time.sleep(_PAUSE)
        return number >= _IDLE_COMMITS

    with castore.open(folder) as store:
        free = store.database.check_pages().free * 4096 >> 20
        for size in (0, _BIG):
            _commit(store, 0, size)
            print(
                json.dumps(
                    {
                        "what": f"{what}, {size:,} bytes more",
                        "free_mib": free,
                        **_commits(store, pause, size),
                    }
                ),
                flush=True,
            )


def _commits(store: castore.Store, ended: Callable[[int], bool], size: int = 0) -> dict[str, Any]:
    seconds: list[float] = []
    cpu = time.process_time()
    number = 0
    while not ended(number):
        number += 1
        begun = time.monotonic()
        _commit(store, number, size)
        seconds.append(time.monotonic() - begun)
    cpu = (time.process_time() - cpu) / max(number, 1)
    return {"commit_ms": _spread(seconds), "cpu_ms": round(1000 * cpu, 2)}


def _commit(store: castore.Store, number: int, size: int = 0) -> None:
    """A version of a new small file, and of one of so many bytes that compress in no way."""
    with store.session("beside") as session:
        session.write("note", f"{os.getpid()} {number} {time.time_ns()}")
        if size:
            session.write("noise", os.urandom(size))
        session.commit()


def _spread(seconds: list[float]) -> dict[str, float]:
    """How many, and the median, 99th percentile and most, in milliseconds."""
    found = sorted(seconds) or [0.0]
    places = {
        "median": statistics.median(found),
        "p99": found[len(found) * 99 // 100],
        "most": found[-1],
    }
    return {"n": len(seconds), **{name: round(1000 * value, 1) for name, value in places.items()}}


def _tell(what: str, begun: tuple[float, float], **figures: Any) -> None:
    """One JSON line."""
    wall, cpu = time.monotonic() - begun[0], time.process_time() - begun[1]
    line = {"what": what, "s": round(wall, 1), "cpu_s": round(cpu, 1), **figures}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
