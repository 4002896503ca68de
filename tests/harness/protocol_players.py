"""What a player of a shared bucket does, and what it was told came of it."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import castore
from castore.errors import (
    CastoreError,
    Conflict,
    OutcomeUnknown,
    RefMoved,
    RemoteMoved,
    RemoteUnavailable,
)
from castore.model.ids import Id
from castore.model.refs import HEADS, TAGS
from castore.remote.collect import collect_bucket
from castore.remote.retrying import Backoff, RetryingTransport
from castore.remote.transport import Transport
from castore.store.sync_fetch import fetch
from castore.store.sync_plan import Move
from castore.store.sync_pull import pull
from castore.store.sync_push import push, push_moves
from castore.store.sync_remote import connect
from tests.harness.frame import Lost
from tests.harness.shared_bucket import Dying, Faults, Killed, SharedBucket, Wire
from tests.harness.shared_judge import BucketJudge
from tests.harness.turns import Turns
from tests.store.syncing import NAME

__all__ = ["NAME", "Player", "World"]

_WORDS: Final = 350


class World:
    """A bucket, what versions hold, what was acknowledged, and what each may do to refs."""

    def __init__(self, bucket: SharedBucket, dice: Random) -> None:
        self.bucket = bucket
        self.dice = dice
        self.contents: dict[Id, dict[str, bytes]] = {}
        self.intents: dict[bytes, set[tuple[str, Id]]] = {}
        self.notes: set[Id] = set()
        self.main: set[Id] = set()
        self._judge = BucketJudge(bucket)
        self._judged = 1
        self._compared: set[Id] = set()
        self._time = count(1_700_000_000_000_000, 1_000_000)

    def now(self) -> int:
        """A clock that goes on with each look at it."""
        return next(self._time)

    def text(self) -> bytes:
        """Words that nobody had before, in one chunk."""
        return b" ".join(b"%06x" % self.dice.getrandbits(24) for _ in range(_WORDS))

    def edited(self, text: bytes) -> bytes:
        """Nearly the same: it is stored as a delta."""
        at = self.dice.randrange(len(text) - 20)
        return text[:at] + b"EDITED%d" % self.dice.getrandbits(20) + text[at + 10 :]

    def judge(self) -> None:
        """Raises Lost for anything that was acknowledged and is not so."""
        if self.bucket.wrong:
            raise Lost("; ".join(self.bucket.wrong[:3]))
        self._judge.look()
        root = self.bucket.root
        for ref, id in root.refs.items():
            self._bytes(ref, id)
        lost = self.notes - self._judge.notes()
        if lost:
            raise Lost(f"{len(lost)} notes that were acknowledged are not in the bucket")
        history = self._judge.ancestors(root.refs[f"{HEADS}main"])
        if not self.main <= history:
            raise Lost(f"{len(self.main - history)} pushes to main are not in its history")
        for before, landed in zip(
            self.bucket.roots[self._judged - 1 :], self.bucket.roots[self._judged :], strict=False
        ):
            for ref in before.root.refs.keys() | landed.root.refs.keys():
                old, new = before.root.refs.get(ref, b""), landed.root.refs.get(ref, b"")
                if old != new and (ref, new) not in self.intents.get(landed.client, ()):
                    raise Lost(f"root {landed.root.serial}: {ref} moved, and its writer never said")
                if ref == f"{HEADS}main" and not {old, new} <= history:
                    raise Lost(f"root {landed.root.serial}: main did not go forward")
        self._judged = len(self.bucket.roots)

    def _bytes(self, ref: str, id: Id) -> None:
        """Compare what a version holds, once: by then its ids are those of these bytes."""
        if id in self._compared or id in self.bucket.root.forgotten:
            return
        self._compared.add(id)
        for name, data in self.contents.get(id, {}).items():
            if name != "secret" and self._judge.file(id, name) != data:
                raise Lost(f"{ref}:{name} has other bytes")


class Player:
    """A store, and what it does with the bucket."""

    def __init__(self, world: World, folder: Path, name: str, dice: Random) -> None:
        self.name = name
        self._world = world
        self._dice = dice
        database = castore.open(folder).database
        self.store = castore.Store(database, now=world.now, entropy=dice.randbytes)
        self._wire: Callable[[], Transport] = lambda: world.bucket.plain
        self._said: list[tuple[Id, Id]] = []
        self._numbers = count()
        self._doubled = False

    def twin(self) -> Player:
        """Another process with the same store."""
        self._doubled = True
        return copy.copy(self)

    def begin(self, turns: Turns, me: int, faults: Faults, tries: int) -> None:
        """From now on requests are steps, and may go wrong; `tries` is how often they are made."""

        def wire() -> Transport:
            made = Wire(self._world.bucket, turns, me, faults)
            if tries == 1:
                return made
            return RetryingTransport(
                made, backoff=Backoff(tries, 0, 0), sleep=_no_time, chance=lambda: 0.5
            )

        self._wire = wire

    def attempt(self, thing: Callable[[], None]) -> None:
        """Do it; what may not be told, or is not so, is noted."""
        world, client = self._world, self.store.database.uuid
        before = len(world.bucket.roots)
        try:
            thing()
        except (Killed, OutcomeUnknown, RemoteUnavailable):
            return
        except Conflict as error:
            moved = [
                landed.root.serial
                for landed, last in zip(
                    world.bucket.roots[before:], world.bucket.roots[before - 1 :], strict=False
                )
                if landed.client == client and landed.root.refs != last.root.refs
            ]
            if moved and not self._doubled:
                world.bucket.wrong.append(f"{self.name} was told {error}, and root {moved} moved")
        except CastoreError as error:
            world.bucket.wrong.append(f"{self.name} was told {type(error).__name__}: {error}")
        except Exception as error:
            trace = traceback.format_exc()[-600:]
            world.bucket.wrong.append(f"{self.name}: {error!r}: {trace}")

    def calm(self, thing: Callable[[], None]) -> None:
        """Do it alone and without faults."""
        wire = self._wire
        turns = Turns(self._dice)
        self._wire = lambda: Wire(self._world.bucket, turns, 0, Faults())
        try:
            thing()
        finally:
            self._wire = wire

    def cut(self, branch: str, steps: int) -> None:
        """Push a branch of its own, and die after so many requests."""

        def dying() -> Transport:
            return Dying(self._world.bucket, Turns(self._dice), 0, steps)

        wire, self._wire = self._wire, dying
        try:
            self.push(branch)
        except Killed:
            return
        finally:
            self._wire = wire

    def let_go(self, id: Id) -> None:
        """Forget a version, if no ref names it."""
        with suppress(Conflict):
            self.store.forget(id.hex(), why="not needed")

    def things(self) -> list[Callable[[], None]]:
        """What a writer may do; `weights` tells how often."""
        return [
            self.revise, self.on_main, self.judge_it, self.forget, self.tag, self.take_back,
            self.fetch, self.purge,
        ]  # fmt: skip

    def weights(self) -> list[int]:
        """How often each is done."""
        return [6, 5, 3, 2, 1, 3, 1, 1]

    def has(self, branch: str) -> bool:
        """Whether there is such a branch of its own here."""
        return self._ref(branch) != b""

    def commit(self, branch: str, **artifacts: bytes) -> Id:
        """A version on a branch of its own, not pushed."""
        return self._commit(f"{self.name}{branch}", **artifacts)

    def _commit(self, branch: str, **artifacts: bytes) -> Id:
        with self.store.session(name=branch) as session:
            for name, data in artifacts.items():
                session.add(name, data)
            made = session.commit()
        self._world.contents[made.id] = artifacts
        return made.id

    def push(self, *branches: str) -> None:
        """Push branches of its own."""
        self._push(*[f"{self.name}{branch}" for branch in branches])

    def _push(self, *names: str) -> dict[str, Id]:
        local = self._refs()
        chosen = {ref: id for ref, id in local.items() if ref.partition("/")[2] in names}
        self._intend(chosen)
        since = len(self._world.bucket.roots) - 1
        push(self.store, NAME, self._wire(), names, sleep=_no_time)
        for ref, id in chosen.items():
            self._landed(since, ref, id)
        self._world.notes.update(note for note, target in self._said if target in chosen.values())
        return chosen

    def delete(self, branch: str) -> None:
        """Take a branch of its own out of the bucket."""
        ref = f"{HEADS}{self.name}{branch}"
        there = self._world.bucket.root.refs.get(ref, b"")
        self._intend({ref: b""})
        since = len(self._world.bucket.roots) - 1
        move = Move(ref, there, b"")
        push_moves(self.store, NAME, self._wire(), [move], sleep=_no_time)
        self._landed(since, ref, b"")

    def take_back(self) -> None:
        """Take a branch out, sometimes to push it again."""
        self.delete("x")
        if self.has("x") and self._dice.random() < 0.5:
            self.push("x")

    def revise(self) -> None:
        """A new version of a branch of its own, near to what others have."""
        world = self._world
        known = [held["big"] for held in world.contents.values() if "big" in held]
        base = world.dice.choice(known[-6:]) if known else world.text()
        self.commit("x", big=world.edited(base), own=self.name.encode())
        self.push("x")

    def catch_up(self) -> None:
        """Fetch the shared branch, and have one's own versions after those of others."""
        contents = self._world.contents
        done = pull(self.store, NAME, self._wire(), ["main"], rebase=True)
        for made in done.rebased:
            contents[made.new] = contents.get(made.old, {})

    def on_main(self) -> None:
        """A version on the branch that all share."""
        world = self._world
        for turn in range(3):
            self.catch_up()
            if not turn:
                self._commit("main", big=world.text()[:500], same=b"as in all")
            try:
                world.main.update(self._push("main").values())
                return
            except RefMoved:
                continue

    def judge_it(self) -> None:
        """Say something of the shared branch or of one's own, and push that."""
        own = self.has("x") and self._dice.random() < 0.5
        branch = f"{self.name}x" if own else "main"
        said = self.store.comment(branch, f"note {next(self._numbers)}", by=self.name)
        self._said.append((said.id, self._refs()[f"{HEADS}{branch}"]))
        self._push(branch)

    def forget(self) -> None:
        """Let go of all versions of its own but the last."""
        if self.has("x"):
            rules = castore.Rules(last=1)
            self.store.forget(name=f"{self.name}x", rules=rules, why="not needed", force=True)
            self.push("x")

    def tag(self) -> None:
        """A tag, or the end of one."""
        name = f"{self.name}-t{next(self._numbers)}"
        self.store.tag(name, "main")
        self._push("main", name)

    def purge(self) -> None:
        """Something that must go for ever."""
        if self._dice.random() < 0.1:
            secret = b"secret %d" % self._dice.getrandbits(60)
            self.commit("z", secret=secret)
            self.push("z")
            self.store.purge(f"{self.name}z:secret", reason="test", by=self.name)
            self.push("z")

    def fetch(self) -> None:
        """Fetch all; what it is told was so at one moment."""
        roots = self._world.bucket.roots
        since = len(roots) - 1
        there = fetch(self.store, NAME, self._wire()).there
        if there not in [landed.root.refs for landed in roots[since:]]:
            self._world.bucket.wrong.append(f"{self.name} was told of refs that never were so")

    def collect(self) -> None:
        """A collection of the bucket."""
        known = connect(self.store, NAME, self._wire(), sleep=_no_time)
        collect_bucket(known.bucket, known, self.store.entropy)
        self.store.database.write(known.note_seen)

    def evict(self) -> None:
        """Every upload is given up, as after many collections."""
        known = connect(self.store, NAME, self._wire(), sleep=_no_time)
        known.bucket.update(lambda root: replace(root, uploads={}) if root.uploads else None)

    def _refs(self) -> dict[str, Id]:
        return self.store.database.read(
            lambda tables: dict((*tables.refs(HEADS), *tables.refs(TAGS)))
        )

    def _ref(self, branch: str) -> Id:
        return self._refs().get(f"{HEADS}{self.name}{branch}", b"")

    def _intend(self, refs: dict[str, Id]) -> None:
        self._world.intents.setdefault(self.store.database.uuid, set()).update(refs.items())

    def _landed(self, since: int, ref: str, id: Id) -> None:
        """It was acknowledged that a ref is there: so it was, at one moment since."""
        roots = self._world.bucket.roots[since:]
        told = [landed.root.refs.get(ref, b"") for landed in roots]
        # Two processes with one store push what the other has made meanwhile.
        if id not in told and not (self._doubled and any(told)):
            self._world.bucket.wrong.append(f"{self.name} was told that {ref} moved; it did not")


def _no_time(_seconds: float) -> None:
    """Pauses take none."""


assert issubclass(RemoteMoved, Conflict)
