"""Statements: the one way to write a note, and to take in what was written elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from castore.database import folded
from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import CorruptObject, InvalidInput, NotApproved
from castore.model.fields import MetaValue
from castore.model.ids import Id, Kind, object_id
from castore.model.manifest import Agent
from castore.model.note import Note, decode_note, encode_note
from castore.model.status import identity, standing
from castore.model.values import frozen
from castore.store.config import KnownIdentity
from castore.store.notes import AGENT, known_as
from castore.store.presence import require_stored
from castore.store.publish import metadata_block
from castore.store.store import Store
from castore.store.version import Version

_REFERENCES: Final = 1024

Choose = Callable[[Reading, Mapping[Id, Note]], Iterable[Id]]
"""Tells which of the notes about a version a new one takes the place of."""


@frozen
class Speaker:
    """Who says something, and the agent that acts for them, if one does."""

    by: str
    agent: Agent = Agent()

    @property
    def acting(self) -> str:
        """`name@version` of the agent, or ""."""
        return "@".join(filter(None, (self.agent.id, self.agent.version)))


@frozen
class Stated:
    """A note that was written, the version it is about, and what its writer should know."""

    version: Version
    id: Id
    note: Note
    warnings: tuple[str, ...] = ()


def refuse_agent(
    speaker: Speaker, identities: Mapping[str, KnownIdentity], verb: str, fix: str
) -> None:
    """Raise NotApproved if an agent acts: agents may ask and comment, never decide."""
    name = known_as(speaker.by)
    known = identities.get(name)
    if speaker.acting:
        raise NotApproved(f"acting as agent {speaker.acting}: an agent may not {verb}", fix=fix)
    if known is not None and known.kind == "agent":
        raise NotApproved(f"{name} is an agent (config.toml): it may not {verb}", fix=fix)


def own(speaker: Speaker, subject: str, *, of: Iterable[str] = ()) -> Choose:
    """The standing notes of a speaker about a subject, of these values where any are given."""
    values = frozenset(of)

    def choose(_: Reading, notes: Mapping[Id, Note]) -> Iterator[Id]:
        for id, note in standing(notes, dismissals=False).items():
            mine = note.subject == subject and identity(note.by) == identity(speaker.by)
            if mine and (not values or note.value in values):
                yield id

    return choose


def write_note(
    store: Store,
    version: Version,
    speaker: Speaker,
    subject: str,
    value: str,
    *,
    op: str,
    text: str = "",
    meta: Mapping[str, MetaValue] | None = None,
    replaces: Choose,
    check: Callable[[Reading, Mapping[Id, Note]], None] | None = None,
    about: Id | None = None,
    forgotten: bool = False,
) -> Stated:
    """Write one note about a version, in one transaction with its entry in the operation log.

    `about` is a note about that version which this one is about instead. `check` may refuse, given
    the notes so far. Raises InvalidInput for an unknown speaker, ObjectNotFound for a version that
    was collected meanwhile, or without `forgotten` one that was forgotten.
    """
    if not speaker.by:
        raise InvalidInput("who says so? an author is needed", fix="--author WHO, or CAS_AUTHOR")
    target = about or version.id
    at = store.now()
    known: dict[str, MetaValue] = dict(meta or {})
    if speaker.acting:
        known[AGENT] = speaker.acting

    def transact(tables: Writing) -> Stated:
        require_stored(tables, version, forgotten=forgotten)
        notes = folded.notes_about(tables, target)
        if check is not None:
            check(tables, notes)
        note = Note(
            scope=store.database.project,
            target=target,
            target_kind="note" if about else "manifest",
            subject=subject,
            value=value,
            by=speaker.by,
            at=at,
            text=text,
            after=_heads(notes),
            replaces=tuple(sorted(replaces(tables, notes))[:_REFERENCES]),
            meta=known,
        )
        block, id = metadata_block(Kind.NOTE, encode_note(note))
        tables.put_blocks([block])
        detail = {"note": id, "subject": subject, "target": target, "value": value}
        tables.append_operation(op, at=at, by=speaker.by, why=text, detail=detail)
        tables.bump_generation()
        return Stated(version, id, note)

    return store.database.write(transact)


def receive_notes(store: Store, payloads: Mapping[Id, bytes]) -> int:
    """Take in notes that were written elsewhere, all or none; how many are new here.

    Notes merge by union, in any order, also before what they are about. Raises CorruptObject for
    bytes that are no note or not what their id says, InvalidInput for one of another project.
    """
    blocks = []
    for id, payload in sorted(payloads.items()):
        if object_id(Kind.NOTE, payload) != id:
            raise CorruptObject(f"the bytes of note {id.hex()} do not match it", id=id.hex())
        if decode_note(payload).scope != store.database.project:
            raise InvalidInput(f"note {id.hex()} is for another project", id=id.hex())
        blocks.append(metadata_block(Kind.NOTE, payload)[0])

    def transact(tables: Writing) -> int:
        new = tables.put_blocks(blocks)
        tables.bump_generation()
        return new

    return store.database.write(transact)


def _heads(notes: Mapping[Id, Note]) -> tuple[Id, ...]:
    """The notes that no other has seen, at most as many as a note may name."""
    seen = {id for note in notes.values() for id in (*note.after, *note.replaces)}
    return tuple(sorted([id for id in notes if id not in seen][:_REFERENCES]))
