"""Bits of the data file flipped, one at a time, everywhere in a small store."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from castore.content import reader
from castore.database import environment
from castore.database.pages import PageReport
from castore.model.ids import Id, Kind
from castore.store import verify_blocks
from tests.harness.frame import Harness, Scene
from tests.harness.judging import Change, Judge, Subject, make_subject
from tests.harness.regions import regions
from tests.harness.same import Same

# Of 16 rounds: how many go to which bytes.
_ORDER: Final = (
    "metas", "structure", "values", "blocks", "free list", "structure", "values", "blocks",
    "metas", "structure", "values", "nothing", "free list", "structure", "values", "blocks",
)  # fmt: skip
_FLIPS: Final = 40
_FLIPS_BY_REGION: Final = {"nothing": 8, "free list": 80, "metas": 120}
_READ_ONE_OF: Final = 8


@dataclass(frozen=True, slots=True)
class Material:
    """The store that is flipped, and the bytes of each region in an order of their own."""

    subject: Subject
    regions: dict[str, array[int]]


def _any_id(_kind: Kind, _payload: bytes) -> Id:
    return Same(32)


def _no_pages(_path: str) -> PageReport:
    return PageReport()


def plant(mutant: str) -> None:
    """Plant a mutant into this process."""
    if mutant == "no-hash":
        for module in (reader, verify_blocks):
            module.object_id = _any_id  # type: ignore[attr-defined]
        reader.content_id = lambda _data: Same(32)
    elif mutant == "no-accounting":
        environment.check_pages = _no_pages


class Flips(Harness):
    name = "flips"
    shows = "a flipped bit is found by fsck --full, or changes no answer, also 10 commits later"
    share = 5.0
    mutants: Mapping[str, str] = {
        "no-hash": "objects are not compared with their ids",
        "no-accounting": "pages are not accounted for",
    }

    def prepare(self, seed: int, folder: Path) -> Material:
        subject = make_subject(seed, folder)
        found = regions(subject.folder / "data.mdb")
        return Material(subject, found)

    def round(self, scene: Scene) -> int:
        plant(scene.mutant)
        material: Material = scene.material
        bits = self._bits(material, scene)
        damages = [self._damage(material.subject.data, name, bit, n) for n, (name, bit) in bits]
        # A meta page that fell back by one transaction is known by the operation it lacks: what a
        # session stored is in no log.
        metas = any(name == "metas" for _, (name, _) in bits)
        forgiven = frozenset({"stage", "stats"}) if metas else frozenset()
        Judge(material.subject, scene.folder, forgiven).run(damages, self.limit)
        return len(damages)

    def _bits(self, material: Material, scene: Scene) -> list[tuple[int, tuple[str, int]]]:
        """The bits of this round; rounds after each other go through all of a region."""
        turn = scene.round % len(_ORDER)
        name = _ORDER[turn]
        if scene.mutant == "no-accounting":
            name = "free list"
        elif scene.mutant == "no-hash":
            name = "blocks"
        count = _FLIPS_BY_REGION.get(name, _FLIPS)
        earlier = scene.round // len(_ORDER) * _ORDER.count(name) + _ORDER[:turn].count(name)
        if scene.mutant:
            earlier = scene.round
        places = material.regions[name]
        order = _walk(8 * len(places), scene.seed, earlier * count, count)
        return [(n, (name, 8 * places[at // 8] + at % 8)) for n, at in enumerate(order)]

    @staticmethod
    def _damage(
        data: bytes, region: str, bit: int, number: int
    ) -> tuple[str, Sequence[Change], bool]:
        at, flip = bit // 8, 1 << bit % 8
        name = f"bit {bit % 8} of byte {at % 4096} of page {at // 4096} ({region})"
        return name, [(at, bytes((data[at] ^ flip,)))], number % _READ_ONE_OF == 0


def _walk(size: int, seed: int, begin: int, count: int) -> list[int]:
    """Places `begin` … `begin + count` of a walk that meets each of `size` once, then again."""
    dice = Random(f"walk {seed} {size}")
    start, step = dice.randrange(size), dice.randrange(1, size)
    while math.gcd(step, size) != 1:
        step = dice.randrange(1, size)
    return [(start + number * step) % size for number in range(begin, begin + count)]


HARNESS = Flips()
