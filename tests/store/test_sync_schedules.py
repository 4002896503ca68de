"""Writers and collectors of one bucket whose every request is a step that a seed chooses."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

import castore
from castore.errors import Conflict, OutcomeUnknown, RemoteMoved
from castore.remote.collect import collect_bucket
from castore.remote.memory import MemoryTransport
from castore.remote.transport import Got, Listed
from castore.store.sync_plan import Move
from castore.store.sync_push import push, push_moves
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.store.syncing import NAME, commit, copy_of, refs, sound

Result = TypeVar("Result")
ROUNDS = 25


class Killed(BaseException):
    """The process of an actor ended here."""


class Turns:
    """Lets one actor at a time do one request; a seed says which, and what becomes of it."""

    def __init__(self, seed: int, actors: int) -> None:
        self.dice = Random(seed)
        self._waiting: set[int] = set()
        self._alive = set(range(actors))
        self._chosen = -1
        self._condition = threading.Condition()

    def wait(self, me: int) -> None:
        """Return when it is this actor's turn."""
        with self._condition:
            self._waiting.add(me)
            self._choose()
            self._condition.wait_for(lambda: self._chosen == me)
            self._chosen = -1
            self._waiting.discard(me)

    def end(self, me: int) -> None:
        """An actor is done."""
        with self._condition:
            self._alive.discard(me)
            self._choose()

    def _choose(self) -> None:
        """When all that are alive wait, one of them goes on."""
        if self._chosen < 0 and self._waiting and self._waiting == self._alive:
            self._chosen = self.dice.choice(sorted(self._waiting))
            self._condition.notify_all()


class Stepped:
    """A transport of one actor: each call waits for its turn, and may be lost, or the last."""

    def __init__(self, inner: MemoryTransport, turns: Turns, me: int, *, kills: float) -> None:
        self._inner = inner
        self._turns = turns
        self._me = me
        self._kills = kills
        self._lock = threading.Lock()
        self._dead = False

    @property
    def url(self) -> str:
        return self._inner.url

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        return self._step(lambda: self._inner.get(key, start, length))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        return self._step(lambda: self._inner.put(key, data, if_absent=if_absent))

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._step(lambda: self._inner.replace(key, data, etag), unsure=True)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._step(lambda: self._inner.list(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._step(lambda key=key: self._inner.delete([key]))  # type: ignore[misc]

    def close(self) -> None:
        pass

    def _step(self, work: Callable[[], Result], *, unsure: bool = False) -> Result:
        # Threads of one actor count as one: its requests come one after the other.
        with self._lock:
            if self._dead:
                raise Killed
            self._turns.wait(self._me)
            dice = self._turns.dice
            if dice.random() < self._kills:
                if dice.random() < 0.5:
                    work()
                self._dead = True
                raise Killed
            fate = dice.random() if unsure else 1.0
            if fate < 0.1:
                raise OutcomeUnknown("no answer")
            done = work()
            if fate < 0.2:
                raise OutcomeUnknown("no answer")
            if fate < 0.25:
                raise RemoteMoved("repeated, and it was another the second time")
            return done


@dataclass
class Told:
    """What was acknowledged: versions, and branches that were deleted."""

    pushed: dict[str, bytes] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    failed: list[BaseException] = field(default_factory=list)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Got]]:
    """Stores of three writers and a collector, and the bucket they come from."""
    folder = tmp_path_factory.mktemp("scene")
    bucket = MemoryTransport()
    words = [bytes(Random(n).choices(b"abcdefgh", k=9)) for n in range(600)]
    (folder / "0").mkdir()
    with castore.init(folder / "0") as store:
        commit(store, "shared", big=b" ".join(words))
        push(store, NAME, bucket)
    for me in range(1, 4):
        copy_of(bucket, folder / f"{me}").close()
    for me in range(3):
        with castore.open(folder / f"{me}") as store:
            first = commit(store, f"own{me}", big=b" ".join([*words[:-1], b"same for all"]))
            commit(store, f"own{me}", big=b" ".join([*words[:-2], b"of %d" % me]))
            if me == 1:
                store.forget(first.id.hex(), why="not needed")
    return folder, dict(bucket._objects)


def write(store: castore.Store, me: int, through: Stepped, told: Told, dice: Random) -> None:
    """Push, and a second version, or take the branch back."""
    branch = f"own{me}"
    for turn in range(2):
        told.doubtful.add(branch)
        if turn and dice.random() < 0.4:
            there = refs(store)[f"heads/{branch}"]
            moves = [Move(f"heads/{branch}", there, b"")]
            push_moves(store, NAME, through, moves, sleep=lambda _: None)
            told.pushed[branch] = b""
        else:
            if turn:
                commit(store, branch, big=b"another")
            push(store, NAME, through, [branch], sleep=lambda _: None)
            told.pushed[branch] = refs(store)[f"heads/{branch}"]
        told.doubtful.discard(branch)


def collect(store: castore.Store, through: Stepped) -> None:
    for _ in range(2):
        known = connect(store, NAME, through, sleep=lambda _: None)
        collect_bucket(known.bucket, known, os.urandom)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_comes_between_nothing_is_lost(
    seed: int, scene: tuple[Path, dict[str, Got]], tmp_path: Path
) -> None:
    folder, objects = scene
    bucket = MemoryTransport()
    bucket._objects = dict(objects)
    for _ in range(1000):
        next(bucket._tags)
    shutil.copytree(folder, tmp_path / "stores")
    turns, told = Turns(seed, 4), Told()

    def act(me: int) -> None:
        through = Stepped(bucket, turns, me, kills=0.01 if seed % 2 else 0.0)
        try:
            with castore.open(tmp_path / "stores" / f"{me}") as store:
                if me == 3:
                    collect(store, through)
                else:
                    write(store, me, through, told, Random(seed * 10 + me))
        except (Killed, Conflict, OutcomeUnknown):
            pass
        except BaseException as error:
            told.failed.append(error)
        finally:
            turns.end(me)

    threads = [threading.Thread(target=act, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.failed == []
    with castore.open(tmp_path / "stores" / "3") as store:
        known = connect(store, NAME, bucket)
        root = known.bucket.read().root
        assert verify_bucket(known.bucket, known).as_json()["findings"] == []
        assert "heads/shared" in root.refs
        for branch, id in told.pushed.items():
            if branch not in told.doubtful:
                assert root.refs.get(f"heads/{branch}", b"") == id
    with copy_of(bucket, tmp_path / "clone") as made:
        sound(made)
    # Whoever was killed goes on.
    for me in range(3):
        with castore.open(tmp_path / "stores" / f"{me}") as store:
            push(store, NAME, bucket, [f"own{me}"])
            known = connect(store, NAME, bucket)
            assert known.bucket.read().root.refs[f"heads/own{me}"] == refs(store)[f"heads/own{me}"]
            assert verify_bucket(known.bucket, known).as_json()["findings"] == []
