"""Writers, collectors and readers of one bucket, whose every request is a step that dice choose."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import castore
from castore.errors import Conflict
from castore.remote import collect, fetching, root, sending
from castore.remote.memory import MemoryTransport
from castore.remote.transport import Got
from castore.store import sync_push
from castore.store.opening import init_store
from castore.store.sync_clone import clone
from castore.store.sync_push import push
from castore.store.sync_remote import connect
from castore.store.sync_verify import verify_bucket
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import whole
from tests.harness.protocol_mutants import MUTANTS
from tests.harness.protocol_players import NAME, Player, World
from tests.harness.shared_bucket import Faults, SharedBucket
from tests.harness.turns import Inline, Turns
from tests.store.syncing import commit

SCHEDULES: Final = 25
_WRITERS: Final = ("w0", "w1", "w2")
_OTHERS: Final = ("c0", "c1", "r0")
_CALM: Final = Faults()
_KINDS: Final = (
    _CALM,
    _CALM,
    Faults(lost=0.15, stale=0.3),
    Faults(lost=0.05, late=0.15, stale=0.3),
    Faults(killed=0.04, late=0.02),
    Faults(lost=0.05, late=0.05, killed=0.02, refused=0.03, stale=0.3),
)


@dataclass(frozen=True, slots=True)
class Material:
    """Stores that share a bucket, closed, and what lies in it."""

    folder: Path
    objects: dict[str, Got]


class Protocol(Harness):
    name = "protocol"
    shows = "what a bucket acknowledged is there as a whole, whatever order requests come in"
    share = 12.0
    mutants = {name: mutant.says for name, mutant in MUTANTS.items()}

    def prepare(self, seed: int, folder: Path) -> Material:
        bucket = MemoryTransport()
        dice, time = Random(f"stores {seed}"), count(1_600_000_000_000_000, 1_000_000)

        def now() -> int:
            return next(time)

        (folder / _WRITERS[0]).mkdir()
        made, _ = init_store(folder / _WRITERS[0], now=now, entropy=dice.randbytes)
        with castore.Store(made.database, now=now, entropy=dice.randbytes) as store:
            commit(store, "main", big=b"the first", same=b"as in all")
            commit(store, "main", big=b"the second", same=b"as in all")
            push(store, NAME, bucket)
        for name in (*_WRITERS[1:], *_OTHERS):
            made, _ = clone(
                bucket, folder / name, now=now, entropy=dice.randbytes, configure=lambda _: None
            )
            made.close()
        return Material(folder, dict(bucket._objects))

    def round(self, scene: Scene) -> int:
        """Schedules in one world, each after the other; then it must come to rest."""
        if scene.mutant:
            MUTANTS[scene.mutant].plant()
        _small(scene.dice)
        material: Material = scene.material
        folder = scene.folder / "stores"
        shutil.copytree(material.folder, folder)
        world = World(SharedBucket(material.objects), scene.dice)
        players = {
            name: Player(world, folder / name, name, Random(scene.dice.random()))
            for name in (*_WRITERS, *_OTHERS)
        }
        for number in range(SCHEDULES):
            try:
                _schedule(world, players, scene.dice)
            except Lost as lost:
                raise Lost(f"schedule {number}: {lost}") from None
        _rest(world, players)
        for player in players.values():
            player.store.close()
        return SCHEDULES


def _small(dice: Random) -> None:
    """Limits that a small bucket reaches, in some rounds; and nothing is done by threads."""
    for module in (sending, fetching):
        module.ThreadPoolExecutor = Inline  # type: ignore[attr-defined]
    if dice.random() < 0.5:
        sync_push._INDEXES, sync_push._INDEXES_KEPT = 4, 2  # type: ignore[misc]
    if dice.random() < 0.5:
        collect._SMALL_PACKS = 4  # type: ignore[misc]
    if dice.random() < 0.3:
        sending.PACK_FULL_BYTES = 3000  # type: ignore[misc]
    if dice.random() < 0.3:
        root.ROOT_ROWS = 4  # type: ignore[misc]


def _schedule(world: World, players: dict[str, Player], dice: Random) -> None:
    """Some players at once, each with some things to do; then all that must hold is looked at."""
    (kind,) = dice.choices(list(_SCENES), list(_SCENES.values()))
    acts = kind(world, players, dice)
    ranks = dice.random() < 0.5
    turns = Turns(dice, stays=dice.choice((0.0, 0.5, 0.8)), ranks=ranks)
    faults = dice.choice(_KINDS)
    tries = dice.choice((1, 4))
    for me, (player, _) in enumerate(acts):
        player.begin(turns, me, faults, tries)
    turns.run([_alive(world, player, things) for player, things in acts])
    world.judge()


Things = list[Callable[[], None]]
Acts = list[tuple[Player, Things]]


def _alive(world: World, player: Player, things: Things) -> Callable[[], None]:
    def act() -> None:
        for thing in things:
            player.attempt(thing)

    return act


def _relying(world: World, players: dict[str, Player], dice: Random) -> Acts:
    """One pushes what rests on what another takes away and a collector removes."""
    one, other = dice.sample([players[name] for name in _WRITERS], 2)
    theme = world.text()
    other.commit("x", big=theme, more=b"something of %s" % other.name.encode())
    other.calm(lambda: other.push("x"))
    first = one.commit("z", big=theme)
    if dice.random() < 0.7:
        one.commit("z", big=world.edited(theme))
        one.let_go(first)
    if dice.random() < 0.5:
        one.calm(one.fetch)
    acts: Acts = [
        (one, [lambda: one.push("z")]),
        (other, [lambda: other.delete("x")]),
        (players["c0"], [players["c0"].collect] * dice.randint(1, 3)),
    ]
    if dice.random() < 0.3:
        acts.append((players["c1"], [players["c1"].collect] * dice.randint(1, 2)))
    if dice.random() < 0.5:
        acts.append((players["r0"], [players["r0"].fetch] * 2))
    if dice.random() < 0.3:
        acts[0][1].append(lambda: one.delete("z"))
    return acts


def _returning(world: World, players: dict[str, Player], dice: Random) -> Acts:
    """One takes a branch back and pushes it again, beside collections."""
    one = players[dice.choice(_WRITERS)]
    one.commit("x", big=world.text())
    things: Things = []
    for _ in range(dice.randint(1, 2)):
        things += [lambda: one.push("x"), lambda: one.delete("x")]
    things.append(lambda: one.push("x"))
    return [
        (one, things),
        (players["c0"], [players["c0"].collect] * dice.randint(2, 4)),
        (players["r0"], [players["r0"].fetch] * dice.randint(0, 2)),
    ]


def _given_up(world: World, players: dict[str, Player], dice: Random) -> Acts:
    """Uploads are given up and removed while something is sent under them."""
    one, other = dice.sample([players[name] for name in _WRITERS], 2)
    one.commit("x", big=world.text())
    acts: Acts = [
        (one, [lambda: one.push("x"), one.revise]),
        (players["c0"], [players["c0"].evict, players["c0"].collect] * 2),
    ]
    if dice.random() < 0.5:
        twin = one.twin()
        acts.append((twin, [twin.fetch, twin.revise]))
    if dice.random() < 0.5:
        acts.append((other, [other.revise]))
    return acts


def _resuming(world: World, players: dict[str, Player], dice: Random) -> Acts:
    """A push that was cut off goes on after something was forgotten, or taken away there."""
    one, other = dice.sample([players[name] for name in _WRITERS], 2)
    theme = world.text()
    if dice.random() < 0.5:
        other.commit("x", big=theme)
        other.calm(lambda: other.push("x"))
    versions = [one.commit("z", big=theme), one.commit("z", big=world.edited(theme))]
    one.cut("z", dice.randint(5, 12))
    if dice.random() < 0.7:
        versions.append(one.commit("z", big=world.edited(theme)))
    for id in versions[:-1]:
        if dice.random() < 0.6:
            one.let_go(id)
    acts: Acts = [
        (one, [lambda: one.push("z")]),
        (players["c0"], [players["c0"].collect] * dice.randint(0, 3)),
    ]
    if other.has("x"):
        acts.append((other, [lambda: other.delete("x")]))
    return acts


def _reading(world: World, players: dict[str, Player], dice: Random) -> Acts:
    """Packs that are half dead are written anew while they are read."""
    one = players[dice.choice(_WRITERS)]
    one.commit("x", big=world.text(), more=world.text())
    one.commit("z", big=world.text())
    one.calm(lambda: one.push("x", "z"))
    one.calm(lambda: one.delete("x"))
    return [
        (players["r0"], [players["r0"].fetch] * 2),
        (players["c0"], [players["c0"].collect]),
        (players["c1"], [players["c1"].collect]),
    ]


def _saying(world: World, players: dict[str, Player], dice: Random) -> Acts:
    """Notes by several at once."""
    acts: Acts = []
    for name in dice.sample(_WRITERS, 2):
        player = players[name]
        player.calm(player.catch_up)
        acts.append((player, [player.judge_it] * dice.randint(1, 2)))
    return acts


def _mixed(world: World, players: dict[str, Player], dice: Random) -> Acts:
    acts: Acts = []
    for name in dice.sample(_WRITERS, dice.randint(1, 3)):
        player = players[name]
        acts.append((player, dice.choices(player.things(), player.weights(), k=dice.randint(1, 3))))
    for name in dice.sample(("c0", "c1"), dice.randint(0, 2)):
        player = players[name]
        things = [player.collect] * dice.randint(1, 3)
        if dice.random() < 0.15:
            things.insert(0, player.evict)
        acts.append((player, things))
    if dice.random() < 0.5:
        acts.append((players["r0"], [players["r0"].fetch] * dice.randint(1, 2)))
    return acts


_SCENES: Final = {
    _relying: 6,
    _returning: 2,
    _given_up: 2,
    _resuming: 4,
    _reading: 2,
    _saying: 2,
    _mixed: 8,
}
"""What is played, and how often."""


def _rest(world: World, players: dict[str, Player]) -> None:
    """Without faults everybody is done, nothing is left over, and all stores are sound."""
    world.bucket.settle()
    for name in _WRITERS:
        player = players[name]
        for branch in ("x", "z"):
            if player.has(branch):
                try:
                    player.calm(lambda b=branch, p=player: p.push(b))  # type: ignore[misc]
                except Conflict as error:
                    raise Lost(f"{name} cannot push its own branch: {error}") from None
    for _ in range(4):
        players["c0"].calm(players["c0"].collect)
    world.judge()
    left = {
        item.key for prefix in ("packs/", "index/", "lists/")
        for item in world.bucket.plain.list(prefix)
    } - world.bucket.named  # fmt: skip
    if left:
        raise Lost(f"{len(left)} objects that root does not lead to are never removed")
    reader = players["r0"]
    reader.calm(reader.fetch)
    known = connect(reader.store, NAME, world.bucket.plain)
    findings = verify_bucket(known.bucket, known).as_json()["findings"]
    if findings:
        raise Lost(f"fsck of the bucket: {findings[:3]}")
    for name, player in players.items():
        whole(player.store, f"{name}: ")


HARNESS = Protocol()
