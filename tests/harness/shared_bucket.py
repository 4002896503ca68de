"""A bucket in memory that watches what is done to it, and the faulty wires that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

from castore.errors import OutcomeUnknown, RemoteMoved, RemoteUnavailable
from castore.model.ids import Id
from castore.remote.index import Index, PackName
from castore.remote.keys import ROOT, index_key, list_key, pack_key, upload_of
from castore.remote.memory import MemoryTransport
from castore.remote.root import Root, decode_root
from castore.remote.transport import Got, Listed
from tests.harness.turns import Turns

Result = TypeVar("Result")


class Killed(BaseException):
    """The process of an actor ended here."""


class Landed(NamedTuple):
    """A root that was written: at which step, and by which client."""

    step: int
    client: bytes
    root: Root


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely each of them is for a request that it can strike."""

    lost: float = 0.0
    late: float = 0.0
    killed: float = 0.0
    refused: float = 0.0
    stale: float = 0.0


class SharedBucket:
    """What lies in a bucket, what ever lay in it, and what was done against the rules.

    `wrong` has a sentence for each rule that was broken.
    """

    def __init__(self, objects: dict[str, Got]) -> None:
        self.plain = MemoryTransport()
        self.plain._objects = dict(objects)
        for _ in range(1000):
            next(self.plain._tags)
        self.step = 0
        self.wrong: list[str] = []
        self.deleted: dict[str, int] = {}
        self.indexes: dict[str, Index] = {}
        self.roots = [Landed(0, b"", self._decoded(self.plain.get(ROOT).data))]
        self._writes: set[tuple[bytes, bytes]] = set()
        self._uploads: set[bytes] = set(self.root.uploads)
        self.named = self._names(self.root)
        self._late: list[tuple[int, Callable[[], object]]] = []

    @property
    def root(self) -> Root:
        """The root as it is."""
        return self.roots[-1].root

    def tick(self) -> None:
        """Time goes on: what is late may arrive."""
        self.step += 1
        if self._late and self._late[0][0] <= self.step:
            self._late.pop(0)[1]()

    def later(self, wait: int, work: Callable[[], object]) -> None:
        """Do this some steps from now."""
        self._late.append((self.step + wait, work))
        self._late.sort(key=lambda item: item[0])

    def settle(self) -> None:
        """All that is late arrives."""
        for _, work in self._late:
            work()
        self._late.clear()

    def issue(self, key: str) -> None:
        """A writer is about to write a key."""
        if key in self.deleted and not key.startswith("roots/"):
            self.wrong.append(f"{key} was deleted, and is written again")

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        there = self.plain._objects.get(key)
        if there is not None and there.data != data and not key.startswith("roots/"):
            self.wrong.append(f"{key} is written over with other bytes")
        return self.plain.put(key, data, if_absent=if_absent)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        tag = self.plain.replace(key, data, etag)
        self._land(self._decoded(data))
        return tag

    def delete(self, key: str) -> None:
        upload = upload_of(key)
        if key in self.named:
            self.wrong.append(f"{key} is deleted, and root leads to it")
        elif upload in self.root.uploads:
            self.wrong.append(f"{key} is deleted below an upload that root knows")
        self.deleted[key] = self.step
        self.plain.delete([key])

    def list(self, prefix: str, dice: Random, stale: float) -> list[Listed]:
        """What is there; some that came lately is left out, some that went still told."""
        found = list(self.plain.list(prefix))
        if dice.random() < stale:
            found = [item for item in found if dice.random() < 0.7]
            gone = [key for key, at in self.deleted.items() if self.step - at < 100]
            found += [Listed(key, 99) for key in gone if key.startswith(prefix)]
            dice.shuffle(found)
        return found

    def _land(self, root: Root) -> None:
        """Look at a root that was written."""
        before = self.root
        fresh = [
            (client, writes[-1])
            for client, writes in root.writes.items()
            if writes[-1:] != before.writes.get(client, ())[-1:]
        ]
        client = fresh[0][0] if fresh else b""
        if len(fresh) != 1:
            self.wrong.append(f"root {root.serial} has {len(fresh)} new writes")
        elif fresh[0] in self._writes:
            self.wrong.append(f"root {root.serial}: a write landed twice")
        self._writes.update(fresh)
        if root.serial != before.serial + 1:
            self.wrong.append(f"root {root.serial} follows {before.serial}")
        for what in ("forgotten", "purged"):
            if getattr(before, what).keys() - getattr(root, what).keys():
                self.wrong.append(f"root {root.serial} lost {what}")
        if before.tombs - root.tombs or root.gc_round < before.gc_round:
            self.wrong.append(f"root {root.serial} went back")
        again = (root.uploads.keys() - before.uploads.keys()) & self._uploads
        if again:
            self.wrong.append(f"root {root.serial} has an upload that ended")
        self._uploads.update(root.uploads)
        self.roots.append(Landed(self.step, client, root))
        self.named = self._names(root)
        for key in self.named - self.plain._objects.keys():
            self.wrong.append(f"root {root.serial} leads to {key}, which is not there")

    def index(self, upload: bytes, id: Id) -> Index | None:
        """An index, also one that is gone by now, if it was ever looked at."""
        key = index_key(upload, id)
        if key not in self.indexes and key in self.plain._objects:
            self.indexes[key] = Index(self.plain.get(key).data, id)
        return self.indexes.get(key)

    def _names(self, root: Root) -> set[str]:
        """The keys that a root leads to."""
        found = {list_key(page.upload, page.id) for page in root.pages}
        packs: set[PackName] = set()
        for name in root.indexes:
            found.add(index_key(name.upload, name.id))
            index = self.index(name.upload, name.id)
            packs.update(index.packs() if index is not None else ())
        return found | {pack_key(*pack) for pack in packs}

    def _decoded(self, data: bytes) -> Root:
        return decode_root(data, lambda upload, id: self.plain.get(list_key(upload, id)).data)


class Wire:
    """A transport of one actor: each request waits for its turn, and may go wrong."""

    def __init__(self, bucket: SharedBucket, turns: Turns, me: int, faults: Faults) -> None:
        self._bucket = bucket
        self._turns = turns
        self._me = me
        self._faults = faults
        self._dead = False
        self._issued: set[str] = set()

    @property
    def url(self) -> str:
        return self._bucket.plain.url

    def get(self, key: str, start: int = 0, length: int | None = None) -> Got:
        return self._step(lambda: self._bucket.plain.get(key, start, length))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> str:
        # What is tried again may meet that its upload was given up meanwhile.
        if key not in self._issued:
            self._issued.add(key)
            self._bucket.issue(key)
        return self._step(lambda: self._bucket.put(key, data, if_absent=if_absent), "unsure")

    def replace(self, key: str, data: bytes, etag: str) -> str:
        return self._step(lambda: self._bucket.replace(key, data, etag), "conditional")

    def list(self, prefix: str) -> Iterator[Listed]:
        dice, stale = self._turns.dice, self._faults.stale
        return iter(self._step(lambda: self._bucket.list(prefix, dice, stale)))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._step(lambda key=key: self._bucket.delete(key), "unsure")  # type: ignore[misc]

    def close(self) -> None: ...

    def _step(self, work: Callable[[], Result], kind: str = "") -> Result:
        if self._dead:
            raise Killed
        self._turns.step(self._me)
        self._bucket.tick()
        dice, faults = self._turns.dice, self._faults
        if dice.random() < faults.killed:
            self._dead = True
            how = dice.randrange(3)
            if how == 0:
                work()
            elif how == 1 and kind:
                self._bucket.later(dice.randrange(1, 60), lambda: _tried(work))
            raise Killed
        if dice.random() < faults.refused:
            raise RemoteUnavailable("the server is busy")
        if not kind:
            return work()
        if dice.random() < faults.late:
            self._bucket.later(dice.randrange(1, 60), lambda: _tried(work))
            raise OutcomeUnknown("no answer")
        if dice.random() < faults.lost:
            if dice.random() < 0.3:
                raise OutcomeUnknown("no answer")
            done = work()
            if kind == "conditional" and dice.random() < 0.2:
                raise RemoteMoved("repeated on the way, and it was another the second time")
            del done
            raise OutcomeUnknown("no answer")
        return work()


class Dying(Wire):
    """A wire without faults that breaks after so many requests."""

    def __init__(self, bucket: SharedBucket, turns: Turns, me: int, steps: int) -> None:
        super().__init__(bucket, turns, me, Faults())
        self._left = steps

    def _step(self, work: Callable[[], Result], kind: str = "") -> Result:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return super()._step(work, kind)


def _tried(work: Callable[[], object]) -> None:
    """Do what nobody waits for any more."""
    try:
        work()
    except RemoteMoved:
        return
