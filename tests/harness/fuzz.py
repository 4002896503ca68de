"""Bytes of the data file overwritten: whole pages, ranges anywhere, pages that change places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final

from tests.harness.flips import plant
from tests.harness.frame import Harness, Scene
from tests.harness.judging import Change, Judge, Subject, make_subject

PAGE: Final = 4096
_DAMAGES: Final = 16
_READ_ONE_OF: Final = 4


class Fuzz(Harness):
    name = "fuzz"
    shows = "a store overwritten here and there is told damaged, or nothing has changed"
    share = 3.0
    mutants: Mapping[str, str] = {"no-hash": "objects are not compared with their ids"}

    def prepare(self, seed: int, folder: Path) -> Subject:
        return make_subject(seed, folder)

    def round(self, scene: Scene) -> int:
        plant(scene.mutant)
        subject: Subject = scene.material
        damages = []
        for number in range(_DAMAGES):
            what, changes = overwritten(subject.data, scene.dice)
            damages.append((f"{what} ({number})", changes, number % _READ_ONE_OF == 0))
        Judge(subject, scene.folder).run(damages, self.limit)
        return len(damages)


def overwritten(data: bytes, dice: Random) -> tuple[str, list[Change]]:
    """What is done to a file, in words, and the bytes that change."""
    pages = len(data) // PAGE
    how = dice.randrange(6)
    if how == 0:
        one, two = dice.sample(range(pages), 2)
        return f"pages {one} and {two} swapped", [
            (one * PAGE, data[two * PAGE : (two + 1) * PAGE]),
            (two * PAGE, data[one * PAGE : (one + 1) * PAGE]),
        ]
    if how == 1:
        one, two = dice.sample(range(pages), 2)
        copy = data[two * PAGE : (two + 1) * PAGE]
        return f"page {one} a copy of page {two}", [(one * PAGE, copy)]
    if how == 2:
        page = dice.randrange(pages)
        return f"page {page} zero", [(page * PAGE, bytes(PAGE))]
    changes: list[Change] = []
    for _ in range(1 if how < 5 else 4):
        length = min(dice.choice((1, 2, 8, 100, 1000, 10_000)), len(data))
        at = dice.randrange(len(data) - length + 1)
        if how == 3:
            # Heads of pages lead to the rest.
            at, length = dice.randrange(pages) * PAGE + dice.randrange(16), min(length, 100)
        changes.append((at, dice.randbytes(length)))
    ranges = ", ".join(f"{len(new)} bytes at {at}" for at, new in changes)
    return f"{ranges} overwritten", changes


HARNESS = Fuzz()
