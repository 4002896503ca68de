"""Verification of signatures: who signed which version and which note about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from castore.model.note import Note
from castore.model.values import frozen
from castore.store.history import log
from castore.store.moments import format_moment
from castore.store.notes import known_as, notes_about
from castore.store.selectors import resolve_version
from castore.store.signatures import SUBJECT, Signature, signatures
from castore.store.store import Store
from castore.store.version import Version


@frozen
class Signed:
    """A signature and what it is over: a version, or with `about` a note about that version."""

    version: Version
    signature: Signature
    about: Note | None = None

    @property
    def own(self) -> bool:
        """Whether it proves what it is over: by a key of who wrote the note, else any known key."""
        found = self.signature
        if self.about is None:
            return found.verdict == "valid"
        return known_as(self.about.by) in found.signers

    def as_json(self) -> dict[str, Any]:
        """The signature as data."""
        found, about = self.signature, self.about
        return {
            "version": self.version.id.hex(),
            "label": self.version.label,
            "target": found.note.target.hex(),
            "kind": found.note.target_kind,
            "subject": about.subject if about else None,
            "value": about.value or None if about else None,
            "by": about.by if about else self.version.manifest.author or None,
            "verdict": found.verdict,
            "key": found.key or None,
            "signers": list(found.signers),
            "counts": self.own,
            "note": found.id.hex(),
            "at": format_moment(found.note.at),
        }


def signed(store: Store, version: Version) -> list[Signed]:
    """Every signature over a version, and over each note about it; raises as `signers`."""
    found = [Signed(version, one) for one in signatures(store, version.id)]
    for id, note in notes_about(store, version.id).items():
        if note.subject != SUBJECT:
            found += [Signed(version, one, note) for one in signatures(store, id)]
    return found


def verify_signatures(store: Store, rev: str = "") -> Iterator[Signed]:
    """What `signed` tells of a version, or of every version of all branches, newest first."""
    versions = [resolve_version(store, rev)] if rev else log(store)
    for version in versions:
        yield from signed(store, version)
