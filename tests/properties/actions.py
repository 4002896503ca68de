"""What threads do to a store at once, and what each may have answered."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import castore
from castore.database.operations import Operation
from castore.errors import (
    CastoreError,
    Conflict,
    InvalidInput,
    Locked,
    NotFound,
    ObjectNotFound,
    RefMoved,
    RefNotFound,
)
from castore.model.ids import Id
from castore.model.refs import HEADS, LOST
from tests.properties.model import Model, Moment, content_of, under
from tests.properties.sayings import Note

_HANGS = 120.0


@dataclass
class Seen:
    """What became of it all: moments from before the first entry to after the last.

    `gone` tells which versions are not stored at the end; nothing collected comes back.
    """

    model: Model
    moments: list[Moment]
    entries: list[Operation]
    left: set[Id]

    def tips(self, branch: str) -> set[Id]:
        """Where a branch was at one moment or another, b"" for absent."""
        return {moment.refs.get(HEADS + branch, b"") for moment in self.moments}

    def by(self, me: str) -> list[Operation]:
        """The entries somebody made."""
        return [entry for entry in self.entries if entry.by == me]

    def gone(self, id: Id) -> bool:
        """Whether a version was collected or forgotten, at one moment or another."""
        told = (e.detail["versions"] for e in self.entries if "versions" in e.detail)
        return id not in self.left or id in self.model.forgotten or any(id in ids for ids in told)

    def named(self, sequence: int) -> set[Id]:
        """What was named or deployed, and stays for that, after the entry with this number."""
        moment = next(moment for moment in self.moments if moment.sequence == sequence)
        said = self.model.said
        places = said.deployed()
        for entry in self.entries:
            if entry.op == "deploy" and entry.sequence <= sequence:
                target = entry.detail["target"]
                places[entry.detail["value"], said.specs[target]] = target
        return {*moment.refs.values(), *moment.pins, *places.values()}


@dataclass
class Action:
    """One operation of one thread: `me` is its author, `own` says to open the store anew."""

    me: str = ""
    own: bool = False
    answer: Any = None
    error: BaseException | None = None

    def run(self, store: castore.Store) -> None:
        """Do it, and keep the answer or the error."""
        try:
            if self.own:
                with castore.open(store.root, now=store.now) as mine:
                    self.answer = self.act(mine)
            else:
                self.answer = self.act(store)
        except BaseException as error:
            self.error = error

    @abstractmethod
    def act(self, store: castore.Store) -> Any:
        """Do it."""

    def enter(self, model: Model) -> None:
        """Tell the model what was made, before the log is applied to it."""

    @abstractmethod
    def judge(self, seen: Seen) -> None:
        """Refuse what no serial order explains."""

    def leave(self, model: Model) -> None:
        """Tell the model what was made, after the log was applied to it."""

    def failed(self, *kinds: type[CastoreError]) -> bool:
        """Whether it was refused; an error of any other kind is raised here."""
        if self.error is not None and not isinstance(self.error, kinds):
            raise self.error
        return self.error is not None


@dataclass
class Commit(Action):
    """A version on a branch; `expect` is (the tip that must be found,) or ()."""

    branch: str = "main"
    content: dict[str, bytes] = field(default_factory=dict)
    staged: bool = False
    operation: str = ""
    expect: tuple[castore.Version | None, ...] = ()

    def act(self, store: castore.Store) -> Any:
        context = castore.Context(author=self.me, operation=self.operation)
        with store.session(self.branch, context=context) as session:
            for name, data in self.content.items():
                session.add(name, store.stage(data) if self.staged else data)
            if self.expect:
                version = session.commit(expect=self.expect[0])
            else:
                version = session.commit()
        assert session.report is not None
        return version, session.report.replayed

    def enter(self, model: Model) -> None:
        if isinstance(self.error, RefMoved):
            lost = bytes.fromhex(self.error.attributes["lost"])
            assert self.expect
            parent = self.expect[0].id if self.expect[0] else None
            model.add(lost, parent, self.content, self.branch)
            model.said.authors[lost] = self.me
        elif self.error is None and not self.answer[1]:
            version = self.answer[0]
            assert version.id not in model.parents
            parent = next(iter(version.manifest.parents), None)
            model.add(version.id, parent, self.content, self.branch)
            model.said.authors[version.id] = self.me

    def judge(self, seen: Seen) -> None:
        mine = [(entry.op, entry.refs) for entry in seen.by(self.me)]
        ref = HEADS + self.branch
        wanted = b""
        if self.expect:
            wanted = self.expect[0].id if self.expect[0] else b""
        if self.failed(RefMoved):
            assert isinstance(self.error, RefMoved)
            lost = bytes.fromhex(self.error.attributes["lost"])
            assert mine == [("lost", ((f"{LOST}{self.branch}/{lost.hex()}", b"", lost),))]
            assert seen.tips(self.branch) - {wanted}
            return
        version, replayed = self.answer
        if replayed:
            assert mine == []
            assert version.id in {
                move[2] for e in seen.model.log if e.op_id == self.operation for move in e.refs
            }
            return
        parent = next(iter(version.manifest.parents), b"")
        assert mine == [("commit", ((ref, parent, version.id),))]
        assert len(version.manifest.parents) <= 1
        assert version.number == len(seen.model.chain(version.id))
        if self.expect:
            assert parent == wanted


@dataclass
class Collect(Action):
    """A collection."""

    grace: int = 0

    def act(self, store: castore.Store) -> Any:
        return store.gc(grace=self.grace, by=self.me)

    def judge(self, seen: Seen) -> None:
        self.failed(Locked)
        assert not any(entry.refs for entry in seen.by(self.me))


@dataclass
class Undo(Action):
    """The newest operation taken back, or that with this number."""

    sequence: int | None = None

    def act(self, store: castore.Store) -> Any:
        return store.undo(self.sequence, by=self.me)

    def judge(self, seen: Seen) -> None:
        mine = seen.by(self.me)
        if not self.failed(CastoreError):
            assert [entry.refs for entry in mine] == [self.answer.moves]
            undone = seen.model.log[self.answer.operation.sequence - 1]
            assert undone.op != "undo" or self.sequence
            assert self.answer.moves == tuple((name, new, old) for name, old, new in undone.refs)
            return
        assert mine == []
        if isinstance(self.error, ObjectNotFound):
            id = bytes.fromhex(self.error.attributes["id"])
            assert id not in seen.left or id in seen.model.forgotten
            return
        if type(self.error) is Conflict:
            # Another was first to take the same forget back.
            assert any(e.op == "undo" and e.detail["op"] == "forget" for e in seen.model.log)
            return
        if self.sequence is None and any(entry.refs for entry in seen.entries):
            # What was the newest when it began may have been overtaken.
            assert isinstance(self.error, (RefMoved, RefNotFound, InvalidInput))
            return
        if self.sequence is None and type(self.error) is InvalidInput:
            # What others do at the same time is not passed over.
            assert seen.model.passed_over() or seen.entries
            return
        said = {seen.model.undo(self.sequence, moment.refs) for moment in seen.moments}
        assert type(self.error) in said


@dataclass
class Pin(Action):
    """A version pinned, or unpinned."""

    id: Id = b""
    end: bool = False

    def act(self, store: castore.Store) -> Any:
        if self.end:
            return store.unpin(self.id.hex(), by=self.me)
        return store.pin(self.id.hex(), by=self.me, why=self.me)

    def judge(self, seen: Seen) -> None:
        mine = [(entry.op, entry.detail["id"]) for entry in seen.by(self.me)]
        if not self.failed(NotFound):
            assert mine == [("unpin" if self.end else "pin", self.id)]
            return
        assert mine == []
        unpinned = self.end and any(self.id not in moment.pins for moment in seen.moments)
        assert unpinned or seen.gone(self.id)


@dataclass
class Forget(Action):
    """A version forgotten, unless something names it by then."""

    id: Id = b""

    def act(self, store: castore.Store) -> Any:
        return store.forget(self.id.hex(), by=self.me)

    def judge(self, seen: Seen) -> None:
        mine = [(entry.op, entry.detail["versions"]) for entry in seen.by(self.me)]
        if self.failed(NotFound, Conflict):
            named = any(self.id in seen.named(m.sequence) for m in seen.moments)
            assert named if type(self.error) is Conflict else self.id not in seen.left
            assert mine == []
        elif self.answer.versions:
            assert mine == [("forget", [self.id])]
        else:
            # Another was first.
            assert mine == []


@dataclass
class Retain(Action):
    """What rules let go of all branches, but for what is named or deployed by then."""

    def act(self, store: castore.Store) -> Any:
        return store.forget(rules=castore.Rules(last=1), all_branches=True, by=self.me)

    def judge(self, seen: Seen) -> None:
        mine = seen.by(self.me)
        # A branch may be taken back and collected while it is walked.
        if self.failed(NotFound) or not self.answer.versions:
            assert mine == []
            return
        assert [entry.op for entry in mine] == ["forget"]
        gone = {version.id for version in self.answer.versions}
        assert gone == set(mine[0].detail["versions"])
        assert not gone & seen.named(mine[0].sequence)


@dataclass
class Deploy(Action):
    """A version deployed to a place."""

    id: Id = b""
    place: str = "prod"

    def act(self, store: castore.Store) -> Any:
        return store.deploy(self.id.hex(), self.place, by=self.me)

    def judge(self, seen: Seen) -> None:
        mine = [(entry.op, entry.detail["target"]) for entry in seen.by(self.me)]
        if self.failed(NotFound):
            assert mine == []
            assert seen.gone(self.id) or None in seen.model.content(self.id).values()
            return
        assert mine == [("deploy", self.id)]

    def leave(self, model: Model) -> None:
        if self.answer is not None:
            over = frozenset(self.answer.note.replaces)
            note = Note(self.id, "deployment", self.place, self.me, over)
            model.said.notes[self.answer.id] = note


@dataclass
class Say(Action):
    """A verdict on a version, asked for or given."""

    id: Id = b""
    value: str = "approved"

    def act(self, store: castore.Store) -> Any:
        verbs = {
            "approved": store.approve, "rejected": store.reject, "requested": store.request_review,
        }  # fmt: skip
        return verbs[self.value](self.id.hex(), by=self.me, text="at once")

    def judge(self, seen: Seen) -> None:
        mine = [(entry.detail["target"], entry.detail["value"]) for entry in seen.by(self.me)]
        if self.failed(NotFound):
            assert mine == []
            assert seen.gone(self.id)
            return
        assert mine == [(self.id, self.value)]
        assert not self.answer.note.replaces

    def leave(self, model: Model) -> None:
        if self.answer is not None:
            note = Note(self.id, "review", self.value, self.me)
            model.said.notes[self.answer.id] = note


@dataclass
class Backup(Action):
    """A backup, made or brought up to date."""

    folder: Path = Path()

    def act(self, store: castore.Store) -> Any:
        return store.backup(self.folder)

    def judge(self, seen: Seen) -> None:
        # Two of them at one folder may get into each other's way.
        if not self.failed(Conflict):
            assert self.answer.sequence in {moment.sequence for moment in seen.moments}


@dataclass
class Read(Action):
    """One of the ways to read a branch, or everything."""

    how: str = "content"
    branch: str = "main"

    def act(self, store: castore.Store) -> Any:
        if self.how == "content":
            version = store.resolve(self.branch).version
            return version.id, content_of(store, version)
        if self.how == "log":
            return [(version.id, version.number) for version in store.log(self.branch)]
        if self.how == "branches":
            return {version.branch: version.id for version in store.branches()}
        if self.how == "fsck":
            return store.fsck(full=True).findings
        with tempfile.TemporaryDirectory(prefix="castore-machine-") as place:
            done = store.checkout(self.branch, Path(place) / "out")
            # A spec may want a file elsewhere than under its name, on whatever branch it is by now.
            written = {Path(place, "out", file.path): file.artifact for file in done.written}
            files = {written[path]: path.read_bytes() for path in Path(place, "out").iterdir()}
            return done.version.id, files

    def judge(self, seen: Seen) -> None:
        tips = seen.tips(self.branch)
        if self.failed(NotFound):
            if type(self.error) is RefNotFound:
                assert b"" in tips
            else:
                # A version that was taken back and collected while it was read, or purged before.
                assert isinstance(self.error, ObjectNotFound)
                kept = [seen.model.content(tip) for tip in tips & seen.left]
                assert tips - seen.left or any(None in files.values() for files in kept)
            return
        if self.how == "branches":
            assert self.answer in [under(moment.refs, HEADS) for moment in seen.moments]
        elif self.how == "fsck":
            assert not self.answer, self.answer
        elif self.how == "log":
            assert self.answer[0][0] in tips
            chain = seen.model.chain(self.answer[0][0])
            assert self.answer == list(zip(chain, range(len(chain), 0, -1), strict=True))
        else:
            id, content = self.answer
            assert id in tips
            wanted = seen.model.content(id)
            assert content == wanted, (
                f"{self.how} of {id.hex()}: {content!r:.400}, not {wanted!r:.400}"
            )
