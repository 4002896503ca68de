"""The rules by which versions go and come back: forget, purge, gc, undo; backups of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import castore
from castore import errors
from castore.content.blocks import decode_block
from castore.database.reading import Reading
from castore.database.tables import State
from castore.model.ids import Id, content_id
from castore.model.refs import HEADS
from castore.store.collect_roots import GRACE
from castore.store.retention import Rules
from tests.properties.contents import KIN, begun, shares
from tests.properties.machine import WHICH, Machine, pick
from tests.properties.model import agrees, emptied, notes, stored

FOLDERS = st.sampled_from(["one", "two"])


class Keeping(Machine):
    """Whatever lets versions or their content go."""

    @rule(which=WHICH, several=st.booleans(), force=st.booleans())
    def forget(self, which: int, several: bool, force: bool) -> None:
        """Versions that nothing names; their content answers no more, at once."""
        if not self.model.unnamed():
            return
        chosen = {pick(self.model.unnamed(), which + n) for n in range(1 + several)}
        if not force and not chosen <= set(self.model.forgettable()):
            with pytest.raises(errors.Conflict, match="deployed"):
                self.store.forget(*(id.hex() for id in chosen))
            self.logged()
            return
        done = self.store.forget(*(id.hex() for id in chosen), why="machine", force=force)
        assert {version.id for version in done.versions} == chosen
        self.logged(("forget", ()))
        assert chosen <= self.model.forgotten.keys()
        for id in chosen:
            with pytest.raises(errors.ObjectNotFound, match="machine"):
                self.store.set_of(self.store.version(id))
            with pytest.raises(errors.ObjectNotFound):
                self.store.pin(id.hex())

    @rule(newest=st.booleans(), which=WHICH)
    def undo(self, newest: bool, which: int) -> None:
        sequence = None if newest or not self.model.log else self.recent(which)
        self.model.emptied = emptied(self.store, self.model)
        said = self.model.undo(sequence, self.model.refs)
        if not isinstance(said, tuple):
            for dry_run in (True, False):
                with pytest.raises(said):
                    self.store.undo(sequence, dry_run=dry_run)
            self.logged()
            return
        assert self.store.undo(sequence, dry_run=True).moves == said
        undone = self.store.undo(sequence)
        assert undone.moves == said
        self.logged(("undo", said))

    @rule(
        last=st.integers(0, 3),
        approved=st.booleans(),
        deployed=st.booleans(),
        which=WHICH,
        everywhere=st.booleans(),
        dry=st.booleans(),
    )
    def retain(
        self, last: int, approved: bool, deployed: bool, which: int, everywhere: bool, dry: bool
    ) -> None:
        """What rules let go of one branch or of all is what a model says, and comes back whole."""
        rules = Rules(last=last, approved=approved, deployed=deployed, tagged=True)
        heads = self.model.under(HEADS)
        if not heads:
            return
        chosen = sorted(heads) if everywhere else [pick(heads, which)]
        name = "" if everywhere else chosen[0]
        going = self.let_go(rules, chosen)
        if dry:
            said = self.store.forget(rules=rules, name=name, all_branches=everywhere, dry_run=True)
            assert {version.id for version in said.versions} == going
            self.logged()
        done = self.store.forget(rules=rules, name=name, all_branches=everywhere, why="rules")
        assert {version.id for version in done.versions} == going
        self.logged(*([("forget", ())] if going else []))
        assert going <= self.model.forgotten.keys()

    def let_go(self, rules: Rules, chosen: Sequence[str]) -> set[Id]:
        """The versions that rules let go of these branches."""
        lines = self.model.lines()
        going: set[Id] = set()
        deployed = self.model.said.deployed().values()
        kept = {*self.model.refs.values(), *self.model.pins, *deployed}
        for branch, line in lines.items():
            if branch not in chosen:
                kept |= set(line)
                continue
            going |= set(line)
            kept |= set(line[: rules.last])
            for place, id in enumerate(line):
                status = self.model.said.status(id, line[place:])
                if rules.approved and status.review == "approved":
                    kept.add(id)
        return going - kept - self.model.forgotten.keys()

    @rule(which=WHICH, included=st.sampled_from(["all", "named", "nothing"]), again=st.booleans())
    def purge(self, which: int, included: str, again: bool) -> None:
        """An artifact goes for good with what shares its bytes, none of which ever comes back."""
        versions = {id: self.model.versions[id] for id in self.model.complete()}
        places = [(id, name) for id, content in versions.items() for name in sorted(content)]
        if not places:
            return
        gone = [(id, name) for id, name in places if self.model.dead(versions[id][name])]
        target = pick(gone if again and gone else places, which)
        data = versions[target[0]][target[1]]
        also = self.sharing(data)
        include = {
            "all": ["all"],
            "named": [f"{id.hex()}:{name}" for id, name in sorted(also - {target})],
            "nothing": [],
        }[included]
        what = f"{target[0].hex()}:{target[1]}"
        if not data:
            with pytest.raises(errors.InvalidInput, match="no bytes"):
                self.store.purge(what, reason="machine", include=include)
            self.logged()
            return
        if included == "nothing" and also - {target}:
            with pytest.raises(errors.Conflict) as caught:
                self.store.purge(what, reason="machine")
            told = caught.value.attributes["places"]
            found = {(bytes.fromhex(place["version"]), place["artifact"]) for place in told}
            assert found == also - {target}
            self.logged()
            return
        if self.held_by_stage(data, [other for _, other in self.staged]):
            with pytest.raises(errors.Conflict, match="unfinished"):
                self.store.purge(what, reason="machine", include=include)
            self.logged()
            return
        self.gone_for_good(what, data, include, also)

    @rule(numbers=st.lists(KIN, min_size=2, max_size=3, unique=True), apart=st.booleans())
    def purge_one_of_kin(self, numbers: list[int], apart: bool) -> None:
        """Of files with common chunks one goes: the others lose these, and their lists of chunks.

        They are files of one version or the same artifact of several.
        """
        kin = [begun(number) for number in numbers]
        if self.model.dead(kin[0]) or self.held_by_stage(kin[0], [it for _, it in self.staged]):
            return
        made = []
        for content in (
            [{"a": data} for data in kin] if apart else [dict(zip("abc", kin, strict=False))]
        ):
            with self.store.session("kin") as session:
                for name, data in content.items():
                    session.write(name, data)
                made.append(session.commit())
            self.landed("kin", made[-1], content)
        self.gone_for_good(f"{made[0].id.hex()}:a", kin[0], ["all"], self.sharing(kin[0]))

    def sharing(self, data: bytes) -> set[tuple[Id, str]]:
        """Where versions have bytes of this content that are still there."""
        return {
            (id, name)
            for id, content in self.model.versions.items()
            if id not in self.model.forgotten and not self.model.dead(data)
            for name, other in content.items()
            if shares(data, other)
        }

    def held_by_stage(self, data: bytes, staged: Iterable[bytes]) -> bool:
        """Whether something of what is staged keeps this content from being purged."""
        return not self.model.dead(data) and any(shares(data, other) for other in staged)

    def gone_for_good(
        self, what: str, data: bytes, include: Sequence[str], also: set[tuple[Id, str]]
    ) -> None:
        """Purge what may be purged; what was purged before changes nothing."""
        if self.model.dead(data):
            for dry in (True, False):
                again = self.store.purge(what, reason="machine", include=include, dry_run=dry)
                assert again.already is not None
                assert (again.places, again.objects, again.record) == ((), 0, None)
            self.logged()
            return
        try:
            said = self.store.purge(what, reason="machine", include=include, dry_run=True)
        except errors.Conflict:
            if not self.held_by_stage(data, self.loose):
                raise
            return
        done = self.store.purge(what, reason="machine", include=include)
        for report in (said, done):
            assert {(place.version, place.artifact) for place in report.places} == also
            assert report.objects
            assert report.already is None
        self.logged(("purge", ()), ("purge-end", ()))
        self.model.purged.append(data)
        with pytest.raises(errors.ObjectNotFound, match="purged"):
            self.store.read_bytes(what)
        held, marked = self.store.database.read(in_blocks)
        assert not held & marked, "a purged object lies in a block"
        files = [data for content in self.model.versions.values() for data in content.values()]
        assert {content_id(data) for data in files if self.model.dead(data)} <= marked
        self.erased()

    @rule(keep=st.booleans())
    def collect(self, keep: bool) -> None:
        said = self.store.gc(grace=GRACE if keep else 0, dry_run=True)
        done = self.store.gc(grace=GRACE if keep else 0)
        assert (done.freed, done.dead, done.reasons) == (said.freed, said.dead, said.reasons)
        self.logged(*([("gc-begin", ()), ("gc", ())] if done.slices else []))
        if keep:
            # Everything was committed within the grace; only what an earlier one took is gone.
            assert self.model.versions.keys() <= stored(self.store)
            return
        kept = self.model.reached()
        assert kept == stored(self.store)
        held = {self.store.version(id).set_id for id in kept - self.model.forgotten.keys()}
        for id in kept & self.model.forgotten.keys():
            assert (self.store.version(id).set_id in held) == (
                id not in emptied(self.store, self.model)
            )
        self.model.keep(kept)
        assert notes(self.store) == self.model.said.notes.keys()

    @rule(name=FOLDERS)
    def backup(self, name: str) -> None:
        folder = self.copies / name
        created = not folder.exists()
        said = self.store.backup(folder, dry_run=True)
        done = self.store.backup(folder)
        assert (done.created, done.sequence) == (created, len(self.model.log))
        assert (said.blocks, said.removed) == (done.blocks, done.removed)
        with castore.open(folder) as copy:
            assert stored(copy) == self.model.versions.keys()
            agrees(copy, self.model, self.model.moment(), self.model.complete())

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.second.close()
        self.open()

    @rule()
    def repack(self) -> None:
        """Stored otherwise, everything answers as before."""
        said = self.store.repack()
        self.logged(*([("repack", ())] if said.slices else []))

    @rule()
    def reindex(self) -> None:
        """Made again, every table is as before."""
        before = self.store.database.read(lambda tables: tables.counts())
        report = self.store.reindex()
        assert report.rows == {name: before[name] for name in report.rows}


def in_blocks(tables: Reading) -> tuple[set[Id], set[Id]]:
    """The ids of all members of blocks, and of all objects that are purged."""
    held = {
        member.id
        for number, data in tables.blocks()
        for member in decode_block(data, f"block {number}").members
    }
    return held, {id for id, row in tables.object_rows() if row.state is State.PURGED}
