"""Refreshing: the commands that make artifacts anew as they were made, from what is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from castore.model.manifest import Agent, Source
from castore.model.names import quoted
from castore.model.values import frozen
from castore.store.intent import EXIT, OUTPUT, RAN, ran_command
from castore.store.pinning import uri_path
from castore.store.sources import OBSERVED
from castore.store.version import Version

COMMANDS: Final = ("cas commit", "cas run")
"""How the commands that refresh begin."""


@frozen
class Place:
    """Where a version is made anew, as words to type: its spec or folder, and its branch's name.

    `folder` stands for the outputs where no spec does; `cas run` makes its own. `declared` are the
    artifacts that the spec has today, None where that is not known.
    """

    spec: tuple[str, ...]
    folder: str
    branch: str
    named: str
    declared: frozenset[str] | None
    cwd: Path


class _Way(NamedTuple):
    """How artifacts were made: by which command of `cas run`, by whom, from what as a set.

    `quiet` is a command whose output was not kept.
    """

    ran: str
    quiet: bool
    agent: Agent
    sources: tuple[str, ...]


class Refreshing:
    """Tells how to make artifacts of one version anew; `made` are they all, each with its maker."""

    def __init__(self, version: Version, made: Mapping[str, Version | None], place: Place) -> None:
        self._version = version
        self._made = made
        self._place = place

    def command(self, names: Sequence[str]) -> str:
        """The command for these artifacts; several after each other where they were made so."""
        groups: dict[_Way, list[str]] = {}
        today = self._place.declared
        for name in names:
            if today is None or name in today:
                groups.setdefault(self._way(self._made.get(name) or self._version), []).append(name)
        if not groups:
            groups = {self._way(self._version): list(names)}
        for way in groups:
            if way.ran:
                groups[way] = self._all(way)
        return " && ".join(self._one(way, members) for way, members in groups.items())

    def _all(self, way: _Way) -> list[str]:
        """All that a command made: it runs as a whole, and may read any of its sources."""
        today = self._place.declared
        return [
            name
            for name, maker in self._made.items()
            if (today is None or name in today) and self._way(maker or self._version) == way
        ]

    def _way(self, maker: Version) -> _Way:
        manifest = maker.manifest
        wide = (self._typed(source) for source in manifest.sources if not source.artifact)
        quiet = manifest.meta.get(OUTPUT) is False
        return _Way(_ran(maker), quiet, manifest.agent, tuple(dict.fromkeys(wide)))

    def _one(self, way: _Way, names: Collection[str]) -> str:
        place, wanted = self._place, set(names)
        # What the spec no longer has is neither made nor carried.
        rest = {name for name in self._made if place.declared is None or name in place.declared}
        words = ["cas run" if way.ran else "cas commit", *map(quoted, place.spec)]
        if not place.spec and not way.ran:
            words.append(quoted(place.folder or "PATH"))
        if place.named != place.branch or (way.ran and not place.spec):
            words.append(f"--name {place.branch}")
        if rest - wanted:
            words += [f"--only {quoted(name)}" for name in names]
        sources = self._sources(names)
        typed = dict.fromkeys((self._bound(one) for one in sources), None)
        words += [f"--source {quoted(text)}" for text in typed]
        if any(one.pinned and one.uri.startswith("https:") for one in sources):
            words.append("--pin")
        if way.agent.id:
            version = f"@{way.agent.version}" if way.agent.version else ""
            words.append(f"--agent {quoted(way.agent.id + version)}")
        if way.ran:
            if any(one.target and one.evidence == OBSERVED for one in sources):
                words.append("--checkout-sources")
            words += ["--no-output"] if way.quiet else []
            words += ["--", way.ran]
        return " ".join(words)

    def _sources(self, names: Collection[str]) -> list[Source]:
        """The sources of these artifacts, in the order of their makers' manifests."""
        found: dict[Source, None] = {}
        makers = {maker.id: maker for name in names if (maker := self._made.get(name)) is not None}
        for id, maker in makers.items():
            for source in maker.manifest.sources:
                by = self._made.get(source.artifact) if source.artifact in names else None
                if not source.artifact or (by is not None and by.id == id):
                    found[source] = None
        return list(found)

    def _bound(self, source: Source) -> str:
        return (f"{source.artifact}=" if source.artifact else "") + self._typed(source)

    def _typed(self, source: Source) -> str:
        """A source as it is typed in the working folder, where a relative file may be another."""
        path = uri_path(source.uri) if source.uri else None
        if path is not None and uri_path(source.selector, self._place.cwd) != path:
            return source.uri
        return source.selector or source.label or source.uri or source.target.hex()


def _ran(maker: Version) -> str:
    """The command of `cas run` that made a version; COMMAND where it was not kept whole."""
    meta = maker.manifest.meta
    if RAN not in meta or meta.get(EXIT) != 0:
        return ""
    return ran_command(meta) or "COMMAND"
