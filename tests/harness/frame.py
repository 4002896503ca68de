"""What a fault harness is: rounds that follow from a seed alone, each in a process of its own.

A harness breaks something on purpose (a process, a system call, a bit) in each round and says what
castore lost by it. Everything random comes from `Scene.dice`, so that a seed and the number of a
round repeat it. Mutants are faults planted into castore inside a round's process, which the harness
must notice: otherwise finding nothing would prove nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar


class Lost(AssertionError):
    """castore did not keep a promise: the sentence says which, and how."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One round: its own empty folder, its dice, the mutant to plant, and what was prepared."""

    seed: int
    round: int
    folder: Path
    dice: Random
    mutant: str = ""
    material: Any = None


class Harness:
    """A kind of fault, and what must hold under it; one instance stands in each module.

    `share` is its seconds in `make test`, `limit` the seconds after which a round counts as a hang,
    `shim` whether it runs under the library that fails and records system calls.
    """

    name: ClassVar[str] = ""
    shows: ClassVar[str] = ""
    share: ClassVar[float] = 12.0
    limit: ClassVar[float] = 60.0
    shim: ClassVar[bool] = False
    mutants: ClassVar[Mapping[str, str]] = {}
    """Name of each planted fault, and what it does."""

    def unavailable(self) -> str:
        """Why this machine cannot run it; empty if it can."""
        return ""

    def prepare(self, seed: int, folder: Path) -> object:
        """What all rounds of a seed start from, made once, in the process they are forked from.

        No store may stay open in it.
        """
        return None

    def round(self, scene: Scene) -> int:
        """Break something and look; the number of cases it was. Raises Lost.

        AssertionError, CastoreError, a signal and a hang count as a loss too.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Loss:
    """A round that did not hold; `broken` tells that the harness itself failed."""

    round: int
    what: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of a harness found; `next` is the round to go on with."""

    name: str
    seed: int
    mutant: str = ""
    rounds: int = 0
    cases: int = 0
    next: int = 0
    seconds: float = 0.0
    losses: list[Loss] = field(default_factory=list)
    skipped: str = ""

    @property
    def caught(self) -> bool:
        """Whether something was lost for another reason than a fault of the harness."""
        return any(not loss.broken for loss in self.losses)

    def command(self, round: int | None = None) -> str:
        """The command that repeats this run, or one round of it."""
        parts = ["python -m tests.harness", self.name, f"--seed {self.seed}"]
        if round is not None:
            parts.append(f"--case {round}")
        if self.mutant:
            parts.append(f"--mutant {self.mutant}")
        return " ".join(parts)

    def to_json(self) -> str:
        """One line, read by `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Result:
        """What `to_json` wrote."""
        fields = json.loads(line)
        losses = [Loss(**loss) for loss in fields.pop("losses")]
        return cls(**fields, losses=losses)
