"""What a damaged copy of the small store does, in a process that may die of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import castore
from castore.database import environment
from castore.errors import CastoreError
from castore.store.verify import fsck
from tests.harness import small_store
from tests.harness.children import forked
from tests.harness.frame import Lost

COMMITS: Final = 10
# `stats` counts what the commits added.
_AFTER: Final = frozenset({"stats"})


@dataclass(frozen=True, slots=True)
class Subject:
    """A small store that is whole: its folder, its data file, and what it answers."""

    folder: Path
    data: bytes
    answers: dict[str, object]


@dataclass(slots=True)
class Tally:
    """How many damages ended how."""

    found: dict[str, int] = field(default_factory=dict)

    def count(self, how: str) -> None:
        """One more."""
        self.found[how] = self.found.get(how, 0) + 1


def make_subject(seed: int, folder: Path) -> Subject:
    """Make the small store and ask it everything, in a process that keeps nothing of it open."""

    def ask() -> dict[str, object]:
        small_store.make(folder, seed)
        with castore.open(folder) as store:
            assert not fsck(store, full=True).findings
            found = small_store.answers(store)
        failed = {name: answer for name, answer in found.items() if _is_failed(answer)}
        assert not failed, failed
        return found

    ended = forked(ask)
    assert not ended.error, ended.text
    (folder / ".cas" / "lock.mdb").unlink()
    data = (folder / ".cas" / "data.mdb").read_bytes()
    return Subject(folder / ".cas", data, ended.value)


def _is_failed(answer: object) -> bool:
    return isinstance(answer, small_store.Failed)


Change = tuple[int, bytes]
"""Where bytes of the data file are overwritten, and with what."""


class Judge:
    """Damages the copy `folder` of a subject again and again; each time something must tell.

    `reading` of a damage tells whether everything is asked even if a check finds it: no file may be
    given out with other bytes, whatever else is wrong.
    """

    def __init__(
        self, subject: Subject, folder: Path, forgiven: frozenset[str] = frozenset()
    ) -> None:
        """`forgiven` are questions that may be answered otherwise without a word."""
        self._subject = subject
        self._forgiven = forgiven
        self._place = folder / "store"
        small_store.copy(subject.folder, self._place)
        self._data = self._place / "data.mdb"
        self._work = folder / "work"
        self._work.mkdir()
        self._told = folder / "told"
        self._descriptor = os.open(self._told, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def run(self, damages: Sequence[tuple[str, Sequence[Change], bool]], limit: float) -> Tally:
        """Judge damages, each (name, changes, reading); raises Lost for what nothing tells.

        What kills the process while a check looks at it counts as found: `cas fsck` looks in a
        child.
        """
        tally = Tally()
        at = 0
        while at < len(damages):
            os.ftruncate(self._descriptor, 0)
            ended = forked(lambda begin=at: self._serve(damages[begin:]), limit)  # type: ignore[misc]
            told = self._told.read_text("utf-8").split()
            at += len(told) // 2
            for how in told[1::2]:
                tally.count(how)
            if not ended.error:
                break
            name = damages[at][0]
            phase = told[-1] if len(told) % 2 else ""
            if ended.error == "Lost":
                raise Lost(ended.text.removeprefix("Lost: "))
            # A check looks in a child; what reads without one has been told that it should not.
            if not ended.error.startswith("SIG") or phase not in ("check", "found"):
                raise Lost(f"{name}: {ended.error} during {phase or 'nothing'}: {ended.text}")
            tally.count(f"died:{phase}")
            at += 1
            self._restore()
        return tally

    def _serve(self, damages: Sequence[tuple[str, Sequence[Change], bool]]) -> None:
        for name, changes, reading in damages:
            for where, data in changes:
                self._write(where, data)
            how = self._judge(name, reading)
            self._tell(how)
            for where, data in changes:
                self._write(where, self._subject.data[where : where + len(data)])

    def _tell(self, word: str) -> None:
        os.write(self._descriptor, f"{word}\n".encode())

    def _write(self, where: int, data: bytes) -> None:
        descriptor = os.open(self._data, os.O_WRONLY)
        try:
            os.pwrite(descriptor, data, where)
        finally:
            os.close(descriptor)

    def _restore(self) -> None:
        """The copy as it was; an environment of a process that died may have it open still."""
        shutil.rmtree(self._place)
        small_store.copy(self._subject.folder, self._place)

    def _judge(self, name: str, reading: bool) -> str:
        self._tell("check")
        how = self._check(name)
        if how and not reading:
            return how
        self._tell_again("found" if how else "unfound")
        served = self._read(name, found=bool(how))
        if how:
            return f"{how},{served}"
        self._tell_again("go-on")
        self._go_on(name)
        return "harmless"

    def _tell_again(self, word: str) -> None:
        """Replace the last word, which tells what is being done."""
        told = self._told.read_text("utf-8").split()
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, "".join(f"{one}\n" for one in [*told[:-1], word]).encode())

    def _check(self, name: str) -> str:
        """How a full check finds it, "" if it does not."""
        if environment.check_pages(str(self._data)).problems:
            return "pages"
        try:
            with castore.open(self._place) as store:
                return "fsck" if fsck(store, full=True).findings else ""
        except CastoreError:
            return "refused"
        except Exception as error:
            raise Lost(f"{name}: fsck raised {type(error).__name__}: {error}") from error

    def _read(self, name: str, *, found: bool) -> str:
        """What reading gives: no other bytes of a file; if nothing was found, the same in all."""
        before = self._subject.answers
        try:
            with castore.open(self._place) as store:
                after = small_store.answers(store)
        except CastoreError:
            if not found:
                raise
            return "unreadable"
        unknown = [f"{q}: {a}" for q, a in after.items() if _is_failed(a) and not a.known]  # type: ignore[attr-defined]
        if unknown:
            raise Lost(f"{name}: {unknown[0]}")
        wrong = small_store.differences(before, after, but=self._forgiven)
        files = [question for question in wrong if _wrong_bytes(before, after, question)]
        if files or (wrong and not found):
            raise Lost(f"{name}: other answers to {files or wrong}, and nothing tells")
        if not found and before != after:
            failed = {q: a for q, a in after.items() if before[q] != a}
            if failed.keys() <= self._forgiven:
                return "same"
            raise Lost(f"{name}: reading fails, which fsck --full does not: {failed}")
        return "hidden" if wrong else "errors" if before != after else "same"

    def _go_on(self, name: str) -> None:
        """Ten further commits: whatever was there answers as before."""
        place = self._work / "store"
        shutil.copytree(self._place, place, ignore=shutil.ignore_patterns("lock.mdb"))
        try:
            with castore.open(place) as store:
                made = small_store.go_on(store, self._work, COMMITS)
            with castore.open(place) as store:
                after = small_store.answers(store)
                report = fsck(store, full=True)
                if any(store.read_bytes(selector) != data for selector, data in made.items()):
                    raise Lost(f"{name}: what was committed after it reads otherwise")
        except CastoreError as error:
            raise Lost(f"{name}: going on fails: {type(error).__name__}: {error}") from error
        finally:
            shutil.rmtree(place)
        if report.findings:
            raise Lost(f"{name}: after {COMMITS} commits fsck finds {report.findings[0]}")
        before = {
            q: a for q, a in self._subject.answers.items() if q not in _AFTER | self._forgiven
        }
        wrong = [question for question in before if before[question] != after.get(question)]
        if wrong:
            raise Lost(f"{name}: after {COMMITS} commits other answers to {wrong}")


def _wrong_bytes(before: dict[str, object], after: dict[str, object], question: str) -> bool:
    """Whether a file was given out with other bytes than its digest says."""
    old, new = before.get(question), after.get(question)
    if not question.startswith("bytes ") or not isinstance(old, dict) or not isinstance(new, dict):
        return False
    return any(isinstance(new[id], bytes) and new[id] != old.get(id, new[id]) for id in new)


def planted(patches: Sequence[tuple[object, str, object]]) -> Callable[[], None]:
    """Plant faults into modules of this process, for good: (module, name, what stands there)."""

    def plant() -> None:
        for module, name, thing in patches:
            setattr(module, name, thing)

    return plant
