"""A worker of the soak: all that is done to a store and read from it, with a fault now and then."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import castore
from castore.errors import CastoreError, Locked, NotFound, StoreFull
from castore.store import session
from castore.store.branches import delete_branch
from tests.harness.frame import Lost
from tests.harness.ledger import EDITION, Ledger, Made, content, judge
from tests.harness.shim import Call, How, arm, disarm, hits, loaded, watch
from tests.harness.work import Worker

# How often each verb comes; what comes last is for one worker alone, since it waits for its like.
WEIGHTS = {
    "commit": 10, "revise": 14, "checkout": 10, "review": 8, "tag": 1, "undo": 2, "forget": 5,
    "delete": 1, "gc": 1, "backup": 2, "fsck": 2,
}  # fmt: skip
ALONE = {"gc": 4, "repack": 1, "purge": 1, "reindex": 1}
# Of those that are planted one in three strikes: a hundredth of all verbs.
FAULTS = 0.03
TAGS = 4
_EDITIONS = 30
_TEXT_BYTES = 120_000
# How far into a verb its call is that goes wrong.
_CALLS = {
    Call.WRITE: 12, Call.SYNC: 4, Call.OPEN: 8, Call.TRUNCATE: 1, Call.RENAME: 1, Call.UNLINK: 2,
    Call.MKDIR: 1,
}  # fmt: skip
_ERRORS = (errno.EIO, errno.ENOSPC)


class Fault(NamedTuple):
    """Which call goes wrong, and how."""

    call: Call
    at: int
    error: int
    how: How


class SoakWorker(Worker):
    """Does more than a Worker, and compares what it reads with what it was told itself."""

    def __init__(
        self,
        store: castore.Store,
        me: str,
        dice: random.Random,
        tell: Callable[[bytes], object],
        *,
        weights: dict[str, int],
        copies: Path,
    ) -> None:
        self.heard = Ledger()
        self.calm: Callable[[], None] = lambda: None
        self.texts: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self._tags = 0

        def both(line: bytes) -> None:
            tell(line)
            self.heard.hear(json.loads(line))

        super().__init__(store, me, dice, both, weights=weights, copies=copies)

    def step(self) -> str:
        """One verb, and its name."""
        self._touched = ""
        verb = super().step()
        self.done[verb] += 1
        return verb

    def settle(self) -> None:
        """See that what failed is done or undone, and let go of its branches. Raises Lost."""
        judge(self.store, Ledger(torn=dict(self.heard.torn)))
        there = {tip.branch for tip in self.store.branches()}
        for branch in list(self.heard.torn):
            if branch in there:
                delete_branch(self.store, branch, by=self.me)
            self.say("settled", "", branch=branch)
            self.retired.discard(branch)
            self.texts.pop(branch, None)

    def _publish(self, branch: str, files: list[tuple[str, int, int]]) -> bool:
        text = self.texts.get(branch)
        if text is not None:
            files = [*files, ("text", text, _TEXT_BYTES)]
        return super()._publish(branch, files)

    def _revise(self) -> bool:
        """A version whose text is that of the version before with some edits."""
        branch = self._pick(1)
        if not branch:
            return False
        text = self.texts.get(branch, -EDITION) + EDITION
        if not text or text > _EDITIONS * EDITION:
            text = self.dice.getrandbits(30) & ~1
        self.texts[branch] = text
        return self._publish(branch, [("own", self.dice.getrandbits(30), 900)])

    def _whole(self) -> Made | None:
        """A version of its own that has all its artifacts."""
        made = [one for all in self.heard.now.values() for one in all]
        kept = [one for one in made if not one.gone and not one.erased]
        return self.dice.choice(kept) if kept else None

    def _checkout(self) -> bool:
        made = self._whole()
        if made is None:
            return False
        assert self.copies is not None
        place = self.copies / f"{self.me}-out"
        shutil.rmtree(place, ignore_errors=True)
        self.say("begin", "checkout")
        self.store.checkout(made.id, place)
        # What castore did is looked at, not what reading it here would do.
        self.calm()
        for name, (seed, size) in made.files.items():
            if (place / name).read_bytes() != content(seed, size):
                raise Lost(f"{made.id}:{name} was checked out with other bytes")
        self.say("done", "checkout")
        return True

    def _review(self) -> bool:
        made = self._whole()
        if made is None:
            return False
        by = "ann@example.org"
        self.say("begin", "review")
        verb = self.dice.randrange(3)
        if verb == 0:
            stated = self.store.request_review(made.id, by=by)
        elif verb == 1:
            stated = self.store.approve(made.id, by=by)
        else:
            stated = self.store.comment(made.id, f"turn {self.turn}", by=by)
        if stated.id not in self.store.notes(stated.version):
            raise Lost(f"the note {stated.id.hex()} is not among those about {made.id}")
        self.say("done", "review")
        return True

    def _tag(self) -> bool:
        if self._tags >= TAGS:
            return False
        self._tags += 1
        return super()._tag()

    def _undo(self) -> bool:
        try:
            done = super()._undo()
        except NotFound:
            # What was given up cannot be had back, which undoing says.
            self.failed(undone=True)
            return True
        self._forget_texts()
        return done

    def _delete(self) -> bool:
        done = super()._delete()
        self._forget_texts()
        return done

    def _forget_texts(self) -> None:
        for branch in set(self.texts) - set(self.made):
            del self.texts[branch]

    def _fsck(self) -> bool:
        self.say("begin", "fsck")
        report = self.store.fsck(full=self.dice.random() < 0.3)
        if not report.ok and not (loaded() and hits()):
            raise Lost("fsck: " + "; ".join(list(report.lines())[:10]))
        self.say("done", "fsck")
        return True


class Place(NamedTuple):
    """Where a worker works; what it says of that, and of its faults, lies where none strikes."""

    folder: Path
    me: str

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def said(self) -> Path:
        return self.folder / f"{self.me}.said"

    @property
    def faults(self) -> Path:
        return self.folder / f"{self.me}.faults"

    @property
    def copy(self) -> Path:
        return self.root / f"{self.me}-copy"


class Life(NamedTuple):
    """How a worker works: so many seconds from `began` (monotonic), alone, mortal; what is planted.

    Who is alone does what waits for its like; a fault may end who is mortal.
    """

    seed: str
    began: float
    seconds: float
    alone: bool
    mortal: bool
    mutant: str = ""


class Lived(NamedTuple):
    """How often each verb was done, faults struck and turns were refused; see judge_rest."""

    done: Counter[str]
    rest: Counter[tuple[int, int]]


def live(place: Place, life: Life) -> Lived:
    """Work until the end."""
    if life.mutant:
        MUTANTS[life.mutant][1]()
    watch(place.root)
    living = _Living(place, life)
    rest: Counter[tuple[int, int]] = Counter()
    while (passed := time.monotonic() - life.began) < life.seconds:
        living.turn()
        if living.store is not None:
            rest[int(4 * passed / life.seconds), len(os.listdir("/proc/self/fd"))] += 1
    living.close()
    return Lived(living.worker.done, rest)


class _Living:
    """One life: its worker, and the store while that is open."""

    def __init__(self, place: Place, life: Life) -> None:
        self.place, self.life = place, life
        self.dice = random.Random(life.seed)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        said, self.faults = (os.open(path, flags, 0o600) for path in (place.said, place.faults))
        self.store: castore.Store | None = castore.open(place.root)
        self.worker = SoakWorker(
            self.store,
            place.me,
            self.dice,
            lambda line: os.write(said, line),
            weights=WEIGHTS | (ALONE if life.alone else {}),
            copies=place.root,
        )
        self.worker.calm = disarm

    def open(self) -> None:
        """Let the worker have an open store."""
        if self.store is None:
            self.store = castore.open(self.place.root)
        self.worker.store = self.store

    def close(self) -> None:
        """Close the store, if it is open."""
        if self.store is not None:
            self.store.close()
            self.store = None

    def turn(self) -> None:
        """One verb, with or without a fault; raises what no fault explains."""
        done = self.worker.done
        fault = _choose(self.dice, self.life.mortal) if self.dice.random() < FAULTS else None
        if fault:
            os.write(self.faults, f"{' '.join(map(str, fault))}\n".encode())
            if self.dice.random() < 0.3:
                self.close()
            arm(*fault)
        try:
            self.open()
            self.worker.step()
        except CastoreError as error:
            struck = hits()
            disarm()
            if not struck and not isinstance(error, Locked):
                raise
            done["struck" if struck else "refused"] += 1
            told = isinstance(error, StoreFull) and "nothing of this write" in error.message
            self.worker.failed(undone=told or not struck)
            if self.dice.random() < 0.5:
                self.close()
        finally:
            done["hits"] += bool(fault and hits())
            disarm()
        if self.worker.heard.torn:
            self.open()
            self.worker.settle()


def _choose(dice: random.Random, mortal: bool) -> Fault:
    call = dice.choice(list(_CALLS))
    hows = [How.ONCE] * 6 + [How.STICKY] * 2
    if call is Call.WRITE:
        hows.append(How.SHORT)
    if mortal:
        hows += [How.KILL, How.KILL_HALF if call is Call.WRITE else How.KILL]
    return Fault(call, dice.randint(1, _CALLS[call]), dice.choice(_ERRORS), dice.choice(hows))


def descriptor_kept() -> None:
    """Each commit leaves a descriptor open."""
    original = session.Session.commit

    def commit(self: session.Session, *given: object, **more: object) -> object:
        os.open(os.devnull, os.O_RDONLY)
        return original(self, *given, **more)  # type: ignore[arg-type]

    session.Session.commit = commit  # type: ignore[method-assign, assignment]


def reader_kept() -> None:
    """The first commit leaves a read transaction open."""
    original = session.Session.commit
    kept: list[object] = []

    def commit(self: session.Session, *given: object, **more: object) -> object:
        if not kept:
            kept.append(self.store.database._engine._environment.begin())
        return original(self, *given, **more)  # type: ignore[arg-type]

    session.Session.commit = commit  # type: ignore[method-assign, assignment]


def version_dropped() -> None:
    """Now and then a version is taken back after it was acknowledged."""
    original = session.Session.commit

    def commit(self: session.Session, *given: object, **more: object) -> object:
        made = original(self, *given, **more)  # type: ignore[arg-type]
        if made.number % 7 == 2:
            self.store.undo()
        return made

    session.Session.commit = commit  # type: ignore[method-assign, assignment]


MUTANTS: dict[str, tuple[str, Callable[[], None]]] = {
    "descriptor-kept": ("each commit leaves a descriptor open", descriptor_kept),
    "reader-kept": ("a read transaction is never ended", reader_kept),
    "version-dropped": ("an acknowledged version is taken back", version_dropped),
}
