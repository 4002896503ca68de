"""Versions: one commit, the log of long histories, `@vN`, audit, and the bytes a version takes."""

from __future__ import annotations

import itertools
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import castore
from benchmarks.history import BRANCH, SIZES, histories
from benchmarks.measure import Run, middle, repeat
from benchmarks.report import Row
from benchmarks.stage import Stage
from castore.database.operations import encode_operation
from castore.database.reading import Index

_COMMITS: Final = 200
_PROCESSES: Final = 21
_SMALL: Final = 1_000


def one_file_commit(stage: Stage) -> list[Row]:
    """A version of one small file through the library, durable, against appends and fdatasync."""
    folder = stage.scratch("commits")
    with stage.store("one") as store:

        def commit(number: int) -> None:
            with store.session("small") as session:
                session.write("report", f"report number {number}\n" * 20)
                session.commit(f"number {number}")

        ours, cpu = _each(commit, _COMMITS)
    with (folder / "raw").open("wb", buffering=0) as file:

        def append(_: int) -> None:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())

        raw, _ = _each(append, _COMMITS)
    name = "append 4 KiB, fdatasync"
    return [_milliseconds("one-file commit, durable", ours, raw, name, cpu, 10, 3)]


def log_process(stage: Stage) -> list[Row]:
    """`cas log -n 50` as a process, on 1,000,000 versions, against python that imports click."""
    root = histories(stage.cache)[SIZES[-1]].parent
    cas = [str(Path(sys.executable).with_name("cas"))]
    if not Path(cas[0]).exists():
        cas = [
            sys.executable,
            "-c",
            "import sys; from castore.cli.main import main; sys.exit(main())",
        ]
    log = [*cas, "-C", str(root), "log", "-n", "50"]
    ours, raw, bare = _processes(stage.cache, log, _python("import click"), _python(""))
    cpu = middle([run.cpu for run in ours])
    detail = {"bare_python_ms": 1000 * middle([run.wall for run in bare])}
    walls = [run.wall for run in ours], [run.wall for run in raw]
    name = "python -c 'import click'"
    row = _milliseconds("cas log -n 50 of 1,000,000", *walls, name, cpu, 80, 55, detail)
    used = _milliseconds(
        "  the same in seconds of CPU",
        [run.cpu for run in ours],
        [run.cpu for run in raw],
        name,
        cpu,
        None,
        None,
    )
    return [row, used]


def numbered(stage: Stage) -> list[Row]:
    """`@vN` of any N among 1,000,000 versions, and the versions of one agent."""
    folder = histories(stage.cache)[SIZES[-1]]
    source = random.Random(1)
    with castore.open(folder) as store:
        newest = store.resolve(BRANCH).version.number

        def find(_: int) -> None:
            store.resolve(f"{BRANCH}@v{source.randint(1, newest)}")

        def tip(_: int) -> None:
            store.resolve(BRANCH)

        def audit(_: int) -> None:
            agent = f"writer-{source.randrange(50)}"

            def newest_of(tables: Any) -> list[bytes]:
                found = itertools.islice(tables.lookup(Index.AGENT, agent), 50)
                return [id for _, id in found]

            for id in store.database.read(newest_of):
                store.version(id)

        ours, cpu = _each(find, _SMALL)
        raw, _ = _each(tip, _SMALL)
        audited, audit_cpu = _each(audit, 100)
    return [
        _milliseconds("@vN among 1,000,000 versions", ours, raw, "the tip", cpu, None, None),
        _milliseconds("audit: 50 newest of an agent", audited, [], "", audit_cpu, 100, 30),
    ]


def walks(stage: Stage) -> list[Row]:
    """Lineage and impact of versions among 1,000,000, against plain gets of as many manifests."""
    folder = histories(stage.cache)[SIZES[-1]]
    source = random.Random(2)
    with castore.open(folder) as store:
        newest = store.resolve(BRANCH).version.number
        rows: list[Row] = []
        for name, verb, numbers in (
            ("lineage", store.lineage, (newest // 2, newest)),
            ("impact", store.impact, (newest // 40, newest // 20)),
        ):
            met: list[int] = []

            def walk(_: int, verb: Any = verb, numbers: Any = numbers, met: Any = met) -> None:
                found = verb(f"{BRANCH}@v{source.randint(*numbers)}")
                assert found.complete
                met.append(len(found.nodes))

            ours, cpu = _each(walk, 100)
            nodes = round(middle([float(count) for count in met]))
            start = store.resolve(f"{BRANCH}@v{numbers[0]}").version.id
            ids = [node.id for node in verb(start.hex()).nodes]
            raw, _ = _each(partial(_plain_gets, store, [bytes.fromhex(id) for id in ids]), 100)
            limit = f"{len(ids)} manifests by plain gets"
            detail = {"nodes": float(nodes)}
            title = f"{name}, {nodes} nodes of 1,000,000"
            rows.append(_milliseconds(title, ours, raw, limit, cpu, 100, 30, detail))
    return rows


def _plain_gets(store: castore.Store, ids: list[bytes], _: int) -> None:
    """The stored bytes of these objects, in one transaction, not decoded and not compared."""
    store.database.read(lambda tables: [tables.load(id) for id in ids])


def history_cost(stage: Stage) -> list[Row]:
    """A commit and 50 versions of log, on 1,000 to 1,000,000 versions."""
    stores = {size: castore.open(path) for size, path in histories(stage.cache).items()}
    turn = itertools.count(time.time_ns())
    # In turns, so that other work on the machine hits every size alike.
    commits = repeat(
        *(partial(_commit_next, store, turn) for store in stores.values()),
        times=_COMMITS,
        warm=20,
        watch=False,
    )
    logs = repeat(*(partial(_log, store) for store in stores.values()), times=50, watch=False)
    for store in stores.values():
        store.close()
    rows: list[Row] = []
    for name, found in (("commit", commits), ("log of 50", logs)):
        for size, runs in zip(stores, found, strict=True):
            low, high = runs.spread
            walls = (1000 * runs.wall, 1000 * low, 1000 * high)
            rows.append(Row(f"{name}, {size} versions", "ms", *walls, len(runs.runs), cpu=runs.cpu))
        rows.append(_growth(f"  {name}: most to least, CPU", [r.cpu for r in found], 1.5))
        rows.append(_growth(f"  {name}: most to least, clock", [r.wall for r in found], None))
    return rows


def _growth(name: str, seconds: list[float], at_least: float | None) -> Row:
    ratio = max(seconds) / min(seconds)
    return Row(name, "×", ratio, ratio, ratio, 1, at_least=at_least, less_is_better=True)


def _commit_next(store: castore.Store, numbers: Iterator[int]) -> None:
    _commit(store, next(numbers))


def _log(store: castore.Store) -> None:
    list(store.log(limit=50))


def bytes_per_version(stage: Stage) -> list[Row]:
    """What a small version adds beside its content: to the rows, and to the file."""
    with stage.store("bytes") as store:
        for number in range(_SMALL):
            _commit(store, number)
        before, pages = _rows(store), _pages(store)
        for number in range(_SMALL, 2 * _SMALL):
            _commit(store, number)
        after, pages_after = _rows(store), _pages(store)
        payload = {name: (after[name] - before[name]) / _SMALL for name in after}
    content = payload["content"]
    rows = sum(payload.values()) - content
    in_file = {name: (pages_after[name] - pages[name]) / _SMALL for name in pages}
    file = sum(in_file.values()) - content
    return [
        _bytes("index, manifest, set of a version", rows, payload, 3, 2),
        _bytes("  the same in pages of the file", file, in_file, None, None),
    ]


def _commit(store: castore.Store, number: int) -> None:
    with store.session(BRANCH, agent="writer@7", run=f"run-{number}") as session:
        session.write("report", f"report number {number}\n" * 20)
        session.commit(f"numbers of week {number}")


def _rows(store: castore.Store) -> dict[str, int]:
    """Bytes of keys and values, by what they are for."""

    def count(tables: Any) -> dict[str, int]:
        found = {"content": 0, "blocks": 0, "objects": 0, "lookup": 0, "blockinfo": 0, "ops": 0}
        for _, info in tables.block_infos():
            found["blocks" if info.metadata else "content"] += 8 + info.stored
            found["blockinfo"] += 8 + 13
        found["objects"] = sum(32 + 12 for _ in tables.object_rows())
        found["lookup"] = sum(len(key) + len(value) for key, value in tables.lookup_rows())
        found["ops"] = sum(_operation_bytes(operation) for operation in tables.operations())
        return found

    return store.database.read(count)


def _operation_bytes(operation: Any) -> int:
    payload = encode_operation(
        operation.op,
        op_id=operation.op_id,
        at=operation.at,
        by=operation.by,
        why=operation.why,
        prev=operation.prev,
        refs=operation.refs,
        detail=operation.detail,
    )
    return 8 + len(payload)


def _pages(store: castore.Store) -> dict[str, int]:
    """Bytes of the pages in use."""
    report = store.database.check_pages()
    return {"pages": (report.pages - report.free) * 4096}


def _each(work: Callable[[int], object], times: int, warm: int = 20) -> tuple[list[float], float]:
    """Seconds of each call, and seconds of CPU a call."""
    for number in range(warm):
        work(number)
    found = []
    cpu = time.process_time()
    for number in range(warm, warm + times):
        start = time.perf_counter()
        work(number)
        found.append(time.perf_counter() - start)
    return found, (time.process_time() - cpu) / times


def _processes(cache: Path, *commands: list[str]) -> list[list[Run]]:
    """Wall and CPU seconds of whole processes, in turns."""
    found: list[list[Run]] = [[] for _ in commands]
    environment = {**os.environ, "NO_COLOR": "1"}
    # An installed program has its bytecode at hand.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(cache / "bytecode")
    for turn in range(_PROCESSES + 3):
        for index, command in enumerate(commands):
            used = _children()
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            wall = time.perf_counter() - start
            if turn >= 3:
                found[index].append(Run(wall, _children() - used, -1))
    return found


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def _milliseconds(
    name: str,
    seconds: list[float],
    raw: list[float],
    limit: str,
    cpu: float,
    at_least: float | None,
    aim: float | None,
    detail: dict[str, Any] | None = None,
) -> Row:
    return Row(
        name=name,
        unit="ms",
        value=1000 * middle(seconds),
        low=1000 * min(seconds),
        high=1000 * max(seconds),
        runs=len(seconds),
        limit=1000 * middle(raw) if raw else 0.0,
        limit_name=limit,
        at_least=at_least,
        aim=aim,
        less_is_better=True,
        cpu=cpu,
        detail=detail or {},
    )


def _bytes(
    name: str, value: float, parts: dict[str, float], at_least: float | None, aim: float | None
) -> Row:
    kib = value / 1024
    return Row(
        name=name,
        unit="KiB",
        value=kib,
        low=kib,
        high=kib,
        runs=1,
        at_least=at_least,
        aim=aim,
        less_is_better=True,
        detail={part: round(size) for part, size in parts.items()},
    )
