"""castore.aio: the verbs of a store as coroutines, in threads that keep the core's rules."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import castore
from castore import aio
from castore.errors import InvalidInput, RefNotFound
from castore.store.session import Session
from castore.store.stages import staged_sessions
from castore.store.store import Store as OpenStore


def test_the_verbs_hang_together(tmp_path: Path, out: Path) -> None:
    (tmp_path / "home").mkdir()

    async def work() -> None:
        async with aio.init(tmp_path / "home") as made:
            assert made.store.folder == tmp_path / "home" / ".cas"
        async with aio.open(tmp_path / "home") as store:
            async with store.session("set", agent="writer@7") as session:
                await session.add("report.md", out / "report.md")
                await session.write("text", "hello")
                first = await session.commit("one")
                assert session.report is not None
                assert session.report.version is first
            async with store.session("set") as session:
                await session.use("set@v1")
                await session.add("text", await store.stage(b"changed"))
                second = await session.commit("two", expect=first)
            assert [v.number async for v in store.log("set")] == [2, 1]
            assert await store.read_bytes("set:text") == b"changed"
            assert b"".join([p async for p in store.stream("set@v1:text")]) == b"hello"
            assert [a.artifact.name for a in await store.artifacts("set@v1")] == [
                "report.md",
                "text",
            ]
            assert [e.path async for e in store.files("set")] == ["text"]
            assert {f.version.id async for f in store.find("text")} == {first.id, second.id}
            assert not (await store.diff("set")).identical
            assert (await store.resolve("set")).version.id == second.id
            assert (await store.tag("final", "set")).id == second.id
            assert [name for name, _ in await store.tags()] == ["final"]
            assert await store.partials() == []
            assert (await store.stats()).versions == 2
            assert (await store.record(second))["number"] == 2
            await store.checkout("set", tmp_path / "written")
            assert (tmp_path / "written" / "text").read_bytes() == b"changed"
            assert (await store.commit(str(out), name="whole")).version.branch == "whole"
            assert [op.op async for op in store.operations(2)] == ["commit", "tag"]
            assert (await store.undo()).operation.op == "commit"
            assert [v.branch for v in await store.branches()] == ["set"]
            await store.backup(tmp_path / "copy")
            assert (await store.fsck(full=True)).ok
            assert len(await store.run(castore.Store.tags)) == 1
        with pytest.raises(RuntimeError, match="closed"):
            await store.branches()

    asyncio.run(work())


async def _pieces(number: int = 40) -> AsyncIterator[bytes]:
    for _ in range(number):
        await asyncio.sleep(0)
        yield b"0123456789" * 10_000


def test_pieces_that_arrive_asynchronously(store: castore.Store) -> None:
    async def work() -> None:
        shared = aio.AsyncStore(store)
        async with shared.session("set") as session:
            await session.add("stream", _pieces())
            await session.add("staged", await shared.stage(_pieces(3)))
            await session.commit()
        assert len(await shared.read_bytes("set:stream")) == 4_000_000

    asyncio.run(work())


def test_a_source_that_fails_fails_the_add_only(store: castore.Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the source broke")

    async def work() -> None:
        async with aio.AsyncStore(store).session("set") as session:
            with pytest.raises(OSError, match="the source broke"):
                await session.add("bad", broken())
            await session.write("good", "x")
            await session.commit()

    asyncio.run(work())
    assert [a.artifact.name for a in store.artifacts("set")] == ["good"]


def test_the_loop_goes_on_and_many_tasks_lose_nothing(store: castore.Store) -> None:
    async def one(shared: aio.AsyncStore, number: int) -> int:
        async with shared.session("set") as session:
            await asyncio.gather(*(session.write(f"a{n}", f"{number} {n}") for n in range(5)))
            return (await session.commit(str(number))).number

    async def work() -> None:
        shared = aio.AsyncStore(store)
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        ticking = asyncio.create_task(tick())
        numbers = await asyncio.gather(*(one(shared, number) for number in range(20)))
        ticking.cancel()
        assert sorted(numbers) == list(range(1, 21))
        assert turns > 3

    asyncio.run(work())
    assert {v.manifest.message for v in store.log("set")} == {str(n) for n in range(20)}
    assert store.fsck(full=True).ok


def test_a_session_keeps_to_one_thread_which_ends(store: castore.Store) -> None:
    async def work() -> None:
        threads: set[int] = set()
        shared = aio.AsyncStore(store)
        progress = lambda _: threads.add(threading.get_ident())  # noqa: E731
        async with shared.session("set", progress=progress) as session:
            await asyncio.gather(*(session.write(str(n), "x" * n) for n in range(1, 9)))
            await session.commit()
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    asyncio.run(work())
    for thread in threading.enumerate():
        if thread.name.startswith("castore-session"):
            thread.join(30)
            assert not thread.is_alive()


def test_a_cancelled_add_leaves_a_session_that_can_be_left(store: castore.Store) -> None:
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            waiting.set()
            await asyncio.sleep(0.001)
            yield b"x" * 1000

    async def add(shared: aio.AsyncStore) -> None:
        async with shared.session("set") as session:
            await session.write("kept", "x")
            await session.add("endless", endless())

    async def work() -> None:
        task = asyncio.create_task(add(aio.AsyncStore(store)))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)

    asyncio.run(work())
    assert store.branches() == []
    assert store.fsck(full=True).ok


async def _cut_short(begin: Callable[[AsyncIterator[bytes]], Awaitable[object]]) -> None:
    """Cancel what reads a source that never gives its second piece, while it waits for that."""
    waiting, never = asyncio.Event(), asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        waiting.set()
        await never.wait()

    async def work() -> None:
        await begin(stalled())

    task = asyncio.create_task(work())
    await waiting.wait()
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=20)
        assert task.cancelled()
    finally:
        # A thread that waits all the same ends too, for the loop to close.
        never.set()


def test_an_add_from_a_source_that_stalls_can_be_cancelled(store: castore.Store) -> None:
    async def add(source: AsyncIterator[bytes]) -> None:
        async with aio.AsyncStore(store).session("set", run="r1") as session:
            await session.write("kept", "x")
            await session.add("stalled", source)

    asyncio.run(_cut_short(add))
    assert [left.artifacts for left in store.partials()] == [("kept",)]
    assert store.branches() == []


def test_a_session_goes_on_after_an_add_that_stalled(store: castore.Store) -> None:
    async def work() -> None:
        async with aio.AsyncStore(store).session("set") as session:
            await _cut_short(lambda source: session.add("stalled", source))
            await session.write("kept", "x")
            await session.commit()

    asyncio.run(work())
    assert [one.artifact.name for one in store.artifacts("set")] == ["kept"]


def test_staging_from_a_source_that_stalls_can_be_cancelled(store: castore.Store) -> None:
    staging = aio.AsyncStore(store).stage

    async def work() -> None:
        await _cut_short(staging)
        # With one thread left behind for each, there would be none for this.
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        await _cut_short(staging)
        assert await aio.AsyncStore(store).tags() == []

    asyncio.run(work())
    assert staged_sessions(store) == []


def test_errors_are_the_core_s(store: castore.Store) -> None:
    async def work() -> None:
        shared = aio.AsyncStore(store)
        with pytest.raises(RefNotFound):
            await shared.resolve("nothing")
        with pytest.raises(RefNotFound):
            [version async for version in shared.log("nothing")]
        with pytest.raises(InvalidInput, match="needs a name"):
            async with shared.session():
                pass
        with pytest.raises(RuntimeError, match="async with"):
            _ = shared.session("set").report

    asyncio.run(work())


def test_asyncio_is_loaded_with_it_only() -> None:
    code = (
        "import sys, castore, castore.store.library; assert 'asyncio' not in sys.modules;"
        "import castore.aio; assert 'asyncio' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _verbs(kind: type, base: type = object) -> dict[str, list[inspect.Parameter]]:
    """The public methods of a class and what they take, but for those of `base`."""
    return {
        name: [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in inspect.signature(value).parameters.values()
        ]
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and not hasattr(base, name)
    }


def test_every_verb_of_the_store_is_there_and_takes_the_same() -> None:
    """`open` gives a blocking file: `stream` stands for it."""
    plain, ours = _verbs(castore.Store, OpenStore), _verbs(aio.AsyncStore)
    del plain["open"]
    assert {"commit", "gc", "approve", "sql"} <= plain.keys()
    assert {name: ours.get(name) for name in plain} == plain


def test_the_verbs_of_a_session_take_what_the_core_s_do() -> None:
    plain, ours = _verbs(Session), _verbs(aio.AsyncSession)
    assert {"add", "commit", "use", "write"} == ours.keys()
    assert {name: plain[name] for name in ours} == ours


def test_progress_of_staging_and_of_a_backup_is_told(store: castore.Store, tmp_path: Path) -> None:
    staged: list[int] = []
    copied: list[int] = []

    async def work() -> None:
        shared = aio.AsyncStore(store)
        async with shared.session("set") as session:
            await session.add("a", await shared.stage(b"x" * 1000, progress=staged.append))
            await session.commit()
        await shared.backup(tmp_path / "copy", progress=copied.append)

    asyncio.run(work())
    assert sum(staged) == 1000
    assert copied
