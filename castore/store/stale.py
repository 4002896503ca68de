"""Staleness: what was made under another spec, or from other sources, than there are today."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from castore.errors import InvalidInput, ObjectNotFound
from castore.model.ids import Id, short
from castore.model.manifest import Source, SpecPin
from castore.model.names import quoted
from castore.model.values import frozen
from castore.store.newer import REJECTED, SOURCE, UNKNOWN, WITHDRAWN, Sources
from castore.store.records import source_record
from castore.store.refresh import COMMANDS, Place, Refreshing
from castore.store.selectors import branch_names, resolve, tip
from castore.store.specs import SpecFile, read_spec
from castore.store.store import Store
from castore.store.version import Version

SPEC: Final = "spec"
CONTRACT: Final = "contract"
MIXED: Final = "mixed"
REASONS: Final = (SPEC, CONTRACT, MIXED, SOURCE, WITHDRAWN, REJECTED, UNKNOWN)
"""Why something is stale; `unknown` where what it was made from cannot be found any more."""


@frozen
class Stale:
    """One reason why one artifact is not as it would be made today; "" stands for the whole set.

    `old` and `new` are spec versions, or the labels of the versions a source was and would be now,
    "" where there is none. `refresh` is the command that makes it anew, or commits what was.
    """

    artifact: str
    reason: str
    old: str
    new: str
    detail: str
    refresh: str
    source: Source | None = None

    def as_json(self) -> dict[str, Any]:
        """The reason as data."""
        return {
            "artifact": self.artifact or None,
            "reason": self.reason,
            "old": self.old or None,
            "new": self.new or None,
            "detail": self.detail,
            "source": source_record(self.source) if self.source else None,
            "refresh": self.refresh,
        }


@frozen
class Freshness:
    """What of one version is stale, and what it was compared with.

    `compared` names the spec file, or the version whose spec stands for it where that file is not
    here (`absent`); "" for a version without a spec. `unchecked` are sources that lie elsewhere.
    `refresh` is the line to type for all that was found.
    """

    version: Version
    stale: tuple[Stale, ...] = ()
    compared: str = ""
    absent: str = ""
    unchecked: tuple[str, ...] = ()
    refresh: str = ""

    @property
    def fresh(self) -> bool:
        """Whether nothing is stale."""
        return not self.stale

    def rows(self) -> list[dict[str, Any]]:
        """Each reason as `--json` prints it."""
        head = {
            "version": self.version.id.hex(),
            "label": self.version.label,
            "branch": self.version.branch,
            "compared": self.compared or None,
            "absent": self.absent or None,
        }
        return [{**head, **reason.as_json()} for reason in self.stale]


def stale(
    store: Store, rev: str = "", *, spec: Path | None = None, cwd: Path | None = None
) -> Iterator[Freshness]:
    """The freshness of a version or one artifact of it, or of the tips of all branches.

    `spec` is the file to compare with; without `rev` for the branches of that spec only. Else it is
    the file that the version recorded, or if that is not here the spec of its branch's newest
    version. Commands are told as they are typed in `cwd`, else where the store is. Only tips are
    read, and what they carry. Raises RefNotFound, InvalidSpec, InvalidInput.
    """
    given = read_spec(spec) if spec is not None else None
    if rev:
        resolved = resolve(store, rev)
        name = resolved.artifact.name if resolved.artifact else ""
        yield Today(store, given, cwd).judge(resolved.version, name)
        return
    today = Today(store, None, cwd)
    compare = Today(store, given, cwd)
    tips = [found for name in branch_names(store) if (found := tip(store, name)) is not None]
    for version in sorted(tips, key=lambda found: found.manifest.at, reverse=True):
        ours = given is not None and given.spec.id == version.manifest.spec.id
        yield (compare if ours else today).judge(version)


class _Aim(NamedTuple):
    """The spec that counts today for one version, and what is to be said of it."""

    pin: SpecPin
    compared: str
    absent: str = ""
    problem: str = ""


class Today:
    """What versions are compared with; reads each spec and each source once."""

    def __init__(self, store: Store, spec: SpecFile | None = None, cwd: Path | None = None) -> None:
        self._store = store
        self._spec = spec
        self._cwd = cwd or store.root
        self._files: dict[str, SpecFile | str] = {}
        self._makers: dict[Id, Version | None] = {}
        self._sources = Sources(store)

    def judge(self, version: Version, artifact: str = "") -> Freshness:
        """What is stale of a version, or of one artifact; raises ObjectNotFound if forgotten."""
        self._sources.unchecked.clear()
        members = _Members(self, version)
        aim = self._aim(version)
        found = [*self._by_spec(members, aim), *members.mixed(), *self._by_source(members)]
        kept = [one for one in found if not artifact or one.artifact in ("", artifact)]
        return Freshness(
            version=version,
            stale=tuple(kept),
            compared=aim.compared,
            absent=aim.absent,
            unchecked=tuple(self._sources.unchecked.values()),
            refresh=members.refresh_all(kept),
        )

    def maker(self, id: Id) -> Version | None:
        """The version of this id, None if it is not stored here."""
        if id not in self._makers:
            try:
                self._makers[id] = self._store.version(id)
            except ObjectNotFound:
                self._makers[id] = None
        return self._makers[id]

    def names(self, version: Version) -> list[str]:
        """The artifacts of a version."""
        return [artifact.name for artifact in self._store.set_of(version).artifacts]

    def _aim(self, version: Version) -> _Aim:
        spec = self._spec
        if spec is not None:
            return _Aim(spec.pin(self._store.root), self._typed(spec.path))
        path = version.manifest.spec.path
        absent = ""
        if path and (self._store.root / path).is_file():
            file = self._file(path)
            typed = self._typed(self._store.root / path)
            if isinstance(file, str):
                return _Aim(version.manifest.spec, typed, problem=file)
            if file.spec.id == version.manifest.spec.id:
                return _Aim(file.pin(self._store.root), typed)
            absent = f"{typed} is the spec of {file.spec.id} today"
        elif path:
            absent = f"{path} is not here"
        newest = tip(self._store, version.manifest.branch) or version
        pin = newest.manifest.spec
        return _Aim(pin, newest.label if path or pin.version else "", absent)

    def _file(self, path: str) -> SpecFile | str:
        if path not in self._files:
            try:
                self._files[path] = read_spec(self._store.root / path)
            except InvalidInput as error:
                self._files[path] = error.message
        return self._files[path]

    def _typed(self, path: Path) -> str:
        """A path as it is typed in the working folder."""
        return os.path.relpath(path, self._cwd)

    def _by_spec(self, members: _Members, aim: _Aim) -> Iterator[Stale]:
        if aim.problem:
            refresh = f"cas spec check {quoted(aim.compared)}"
            yield Stale(
                "", UNKNOWN, members.version.manifest.spec.version, "", aim.problem, refresh
            )
            return
        today = aim.pin
        for name, made in members.made.items():
            if made is None:
                detail = "the version that made it is not stored here"
                yield Stale(name, UNKNOWN, "", "", detail, members.refresh([name]))
                continue
            pin = made.manifest.spec
            old, new = _spec_names(pin, today)
            if old != new:
                detail = f"made under spec {old}, {aim.compared} has {new}"
                yield Stale(name, SPEC, old, new, detail, members.refresh([name]))
            elif pin.contract != today.contract:
                contracts = f"{short(pin.contract)} → {short(today.contract)}"
                detail = f"spec {old} asks for something else in {aim.compared}: {contracts}"
                yield Stale(name, CONTRACT, old, new, detail, members.refresh([name]))

    def _by_source(self, members: _Members) -> Iterator[Stale]:
        for name, source, made in members.sources():
            for change in self._sources.changes(source, made):
                refresh = change.fix or members.refresh([name] if name else [])
                yield Stale(
                    name, change.reason, change.old, change.new, change.detail, refresh, source
                )

    def place(self, version: Version) -> Place:
        """Where a version is made anew, as it is typed in the working folder."""
        manifest = version.manifest
        path, folder, branch = manifest.spec.path, manifest.folder, manifest.branch
        if self._spec is not None or path:
            file = self._spec or self._file(path)
            where = self._spec.path if self._spec is not None else self._store.root / path
            names = None
            if isinstance(file, SpecFile) and file.spec.id == manifest.spec.id:
                names = frozenset(one.name for one in file.spec.artifacts)
            spec = ("--spec", self._typed(where))
            return Place(spec, "", branch, manifest.spec.id, names, self._cwd)
        where = Path(os.path.normpath(self._store.root / folder))
        typed = self._typed(where) if folder else ""
        return Place((), typed, branch, where.name if folder else "", None, self._cwd)


class _Members:
    """The artifacts of one version, each with the version that made it."""

    def __init__(self, today: Today, version: Version) -> None:
        self.version = version
        carried = dict(version.manifest.carried)
        self.made: dict[str, Version | None] = {
            name: today.maker(carried[name]) if name in carried else version
            for name in today.names(version)
        }
        self._refreshing = Refreshing(version, self.made, today.place(version))

    def mixed(self) -> Iterator[Stale]:
        """The artifacts made under another spec version than the rest of the set."""
        own = self.version.manifest.spec
        for name, made in self.made.items():
            if made is None or made.id == self.version.id:
                continue
            old, new = _spec_names(made.manifest.spec, own)
            if old != new:
                detail = f"made under spec {old}, its set under {new}"
                yield Stale(name, MIXED, old, new, detail, self.refresh([name]))

    def sources(self) -> Iterator[tuple[str, Source, Version]]:
        """Each source of what is in the set: for which artifact ("" for all made), by whom."""
        for source in self.version.manifest.sources:
            yield source.artifact, source, self.version
        for name, made in self.made.items():
            if made is not None and made.id != self.version.id:
                for source in made.manifest.sources:
                    if source.artifact in ("", name):
                        yield name, source, made

    def refresh_all(self, found: Sequence[Stale]) -> str:
        """The commands for all of it; "" where none of it ends by a commit."""
        names: dict[str, None] = {}
        for one in found:
            if one.refresh.startswith(COMMANDS):
                names.update(dict.fromkeys([one.artifact] if one.artifact else self._own()))
        return self.refresh(list(names)) if names else next((one.refresh for one in found), "")

    def refresh(self, names: Sequence[str]) -> str:
        """The command that makes these artifacts anew, or all that this version made."""
        return self._refreshing.command(names or self._own())

    def _own(self) -> list[str]:
        return [name for name, made in self.made.items() if made and made.id == self.version.id]


def _spec_names(old: SpecPin, new: SpecPin) -> tuple[str, str]:
    """What two specs are called beside each other: their versions, with ids where these differ."""
    if old.id == new.id or not (old.version and new.version):
        return old.version or "none", new.version or "none"
    return f"{old.id} {old.version}", f"{new.id} {new.version}"
