"""Behind: what a store that is the cache of a bucket knows of it, and how it is given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from castore.model.ids import Id
from castore.store.staged import FarStages


@dataclass(slots=True)
class Behind:
    """The bucket that a store is the cache of.

    `close` gives it back; `stages` is where workers stage, None where it is not asked. It was last
    read at `seen_at`, microseconds UTC. `owing` tells that something that was said is not there
    yet, `waits` that it waits there for somebody who may write; `purged` names what was purged
    there and still lies here. With `rebase` a version that it refuses is made anew after those of
    others: `renamed` tells the id that it has then, and `took_back` by that what it takes back of
    others, in words.
    """

    url: str
    close: Callable[[], None]
    stages: FarStages | None = None
    seen_at: int | None = None
    owing: bool = False
    waits: bool = False
    purged: tuple[str, ...] = ()
    rebase: bool = False
    renamed: dict[Id, Id] = field(default_factory=dict)
    took_back: dict[Id, tuple[str, ...]] = field(default_factory=dict)
