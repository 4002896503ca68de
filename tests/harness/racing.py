"""Many writers at once, threads and processes, beside collections, pins, undoing and readers."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import castore
from castore.errors import Conflict, Locked, RefNotFound
from castore.store import collect_sweep
from castore.store.branches import delete_branch
from tests.harness.children import Fork
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import content, whole
from tests.harness.mutants import marked_once, tip_unchecked

PROCESSES = 3
THREADS = 2
SECONDS = 1.5
SHARED = 10
POOL = range(40)
_PLANTS = {"tip-unchecked": tip_unchecked, "marked-once": marked_once}


class Racing(Harness):
    """Processes with threads that commit to shared branches while the rest goes on."""

    name = "racing"
    shows = "each acknowledged commit is in its branch once, whatever goes on beside it"
    share = 10.0
    mutants = {
        "tip-unchecked": "a branch moves to its new tip without a look at where it is",
        "marked-once": "a collection does not look again at what became reachable",
    }

    def round(self, scene: Scene) -> int:
        """One store, and all of them on it for a while."""
        if scene.mutant:
            _PLANTS[scene.mutant]()
        root = scene.folder
        castore.init(root).close()
        jobs: list[Callable[[], None]] = []
        for number in range(PROCESSES):
            seed = scene.dice.getrandbits(32)
            jobs.append(lambda n=number, s=seed: _process(root, f"p{n}", s))  # type: ignore[misc]
        jobs.append(lambda: _collect(root, scene.dice.getrandbits(32)))
        jobs.append(lambda: _read(root))
        forks = [Fork(job, self.limit) for job in jobs]
        wrong = []
        for fork in forks:
            while fork.left > 0 and not _over(fork):
                pass
            ended = fork.reap()
            if ended.error:
                wrong.append(ended.text)
        if wrong:
            raise Lost("\n".join(wrong))
        with castore.open(root) as store:
            return _judge(store, _told(root))


def _over(fork: Fork) -> bool:
    import select

    return bool(select.select([fork.ended], [], [], 1.0)[0])


def _process(root: Path, me: str, seed: int) -> None:
    """Threads that share one store object, and one that opens its own."""
    end = time.monotonic() + SECONDS
    failed: list[BaseException] = []

    def run(name: str, store: castore.Store) -> None:
        try:
            _write(store, root, name, random.Random(f"{seed} {name}"), end)
        except BaseException as error:
            failed.append(error)

    with castore.open(root) as shared, castore.open(root) as own:
        threads = [
            threading.Thread(target=run, args=(f"{me}t{n}", own if n == THREADS else shared))
            for n in range(THREADS + 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def _write(store: castore.Store, root: Path, me: str, dice: random.Random, end: float) -> None:
    """Commit, and do what moves branches and keeps versions; tell of each that is acknowledged."""
    with open(root / f"{me}.told", "w", encoding="ascii") as told:

        def tell(**line: Any) -> None:
            told.write(json.dumps(line) + "\n")
            told.flush()

        turn = 0
        while time.monotonic() < end:
            turn += 1
            branch = f"b{dice.randrange(2)}"
            chance = dice.random()
            if chance < 0.4:
                _commit(store, me, turn, branch, dice, tell)
            elif chance < 0.8:
                _short_lived(store, me, dice)
            elif chance < 0.9:
                _pin(store, me, branch, dice)
            else:
                _own_and_undone(store, me, turn, dice, tell)


def _commit(
    store: castore.Store, me: str, turn: int, branch: str, dice: random.Random, tell: Any
) -> None:
    operation = f"{me}-{turn}"
    shared = dice.randrange(SHARED)
    ids = set()
    # Said twice, it is done once.
    for _ in range(1 + (dice.random() < 0.2)):
        context = castore.Context(operation=operation)
        with store.session(branch, context=context) as session:
            session.write("own", operation)
            session.write("shared", content(2 * shared + 1, 5_000))
            if dice.random() < 0.2:
                session._supply.make_durable()
            ids.add(session.commit(operation).id)
    if len(ids) != 1:
        raise Lost(f"operation {operation} made {len(ids)} versions")
    tell(branch=branch, id=ids.pop().hex(), own=operation, shared=shared)


def _pin(store: castore.Store, me: str, branch: str, dice: random.Random) -> None:
    try:
        version = store.pin(branch, by=me)
        store.read_bytes(f"{version.id.hex()}:own")
        if dice.random() < 0.8:
            store.unpin(version.id.hex(), by=me)
    except RefNotFound:
        # No version yet, or another has ended the pin.
        return
    except Conflict:
        return


def _own_and_undone(
    store: castore.Store, me: str, turn: int, dice: random.Random, tell: Any
) -> None:
    """Two versions on a branch of its own, the second of which is taken back."""
    branch = f"{me}-own"
    for text in ("first", "second"):
        with store.session(branch) as session:
            session.write("own", f"{me} {turn} {text}")
            made = session.commit()
        if text == "first":
            tell(branch=branch, id=made.id.hex(), own=f"{me} {turn} first", shared=-1)
    moved = (
        one.sequence
        for one in store.operations()
        if one.op == "commit" and any(new == made.id for _, _, new in one.refs)
    )
    store.undo(next(moved), by=me)


def _short_lived(store: castore.Store, me: str, dice: random.Random) -> None:
    """A version of what others have let go of, or will: each finds what another leaves dying."""
    wanted = {f"f{n}": content(1001 + 2 * n, 3_000 + 7_000 * (n % 5)) for n in dice.sample(POOL, 8)}
    branch = f"{me}-short"
    with store.session(branch) as session:
        for name, data in wanted.items():
            session.write(name, data)
            if dice.random() < 0.2:
                session._supply.make_durable()
        made = session.commit()
    for name, data in wanted.items():
        if store.read_bytes(f"{made.id.hex()}:{name}") != data:
            raise Lost(f"{made.id.hex()}:{name} has other bytes")
    if dice.random() < 0.7:
        delete_branch(store, branch, by=me)


def _collect(root: Path, seed: int) -> None:
    dice = random.Random(seed)
    end = time.monotonic() + SECONDS
    # So that others get in between.
    collect_sweep.SLICE_BYTES = 300_000
    with castore.open(root) as store:
        while time.monotonic() < end:
            try:
                dice.choice((lambda: store.gc(grace=0),) * 8 + (store.repack, store.reindex))()
            except Locked:
                continue


def _read(root: Path) -> None:
    """Readers see whole versions, and no branch that goes back further than an undo takes it."""
    end = time.monotonic() + SECONDS
    with castore.open(root) as store:
        seen: Counter[str] = Counter()
        while time.monotonic() < end:
            for name in ("b0", "b1"):
                try:
                    version = store.resolve(name).version
                except RefNotFound:
                    continue
                if version.number < seen[name]:
                    raise Lost(f"{name} went back from {seen[name]} to {version.number}")
                seen[name] = version.number
                id = version.id.hex()
                if store.read_bytes(f"{id}:own").decode() != version.manifest.message:
                    raise Lost(f"{id}:own is that of another version")
                store.read_bytes(f"{id}:shared")


def _told(root: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(root.glob("*.told"))
        for line in path.read_text("ascii").splitlines()
    ]


def _judge(store: castore.Store, told: list[dict[str, Any]]) -> int:
    """Each version told of is in its branch once, and each branch is one line of them."""
    whole(store)
    wanted = Counter((line["branch"], line["id"]) for line in told)
    found: Counter[tuple[str, str]] = Counter()
    for tip in store.branches():
        history = list(store.log(tip.branch))
        if [v.number for v in history] != list(range(len(history), 0, -1)):
            raise Lost(f"the numbers of {tip.branch} have gaps")
        for child, parent in pairwise(history):
            if child.manifest.parents != (parent.id,):
                raise Lost(f"{child.id.hex()} does not follow {parent.id.hex()}")
        if tip.branch.endswith("-short"):
            continue
        found.update((tip.branch, version.id.hex()) for version in history)
    if found != wanted:
        lost, more = wanted - found, found - wanted
        raise Lost(f"acknowledged and not there: {dict(lost)}; there and not told: {dict(more)}")
    for line in told:
        if store.read_bytes(f"{line['id']}:own").decode() != line["own"]:
            raise Lost(f"{line['id']}:own has other bytes")
        if line["shared"] >= 0:
            data = content(2 * line["shared"] + 1, 5_000)
            if store.read_bytes(f"{line['id']}:shared") != data:
                raise Lost(f"{line['id']}:shared has other bytes")
    return len(told)


HARNESS = Racing()
