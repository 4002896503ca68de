"""Where a benchmark works: the cache of corpora, a scratch folder on the same disk, repetitions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import castore
from benchmarks.measure import settle
from benchmarks.report import Row
from castore.model.names import SECRET_RULES


@dataclass(frozen=True, slots=True)
class Stage:
    """`cache` is kept between runs; `times` is how often each thing is measured."""

    cache: Path
    times: int

    def scratch(self, name: str) -> Path:
        """An empty folder of this name."""
        folder = self.place(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def place(self, name: str) -> Path:
        """Where the scratch folder of this name is."""
        return self.cache / "scratch" / name

    def settle(self) -> None:
        """Leave nothing of what was done before to be paid for by the next measurement."""
        settle(self.cache)

    def store(self, name: str) -> castore.Store:
        """A new store."""
        store = castore.init(self.scratch(name))
        allow_secrets(store.folder)
        return store


def allow_secrets(folder: Path) -> None:
    """Let a store take sources of others, where keys made for tests lie; it searches as always."""
    rules = ", ".join(f'"{rule}"' for rule in SECRET_RULES)
    (folder / "config.toml").write_text(f"[secrets]\nallow = [{rules}]\n")


Case: TypeAlias = Callable[[Stage], list[Row]]
