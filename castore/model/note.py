"""A note: an append-only statement about a version, such as a review or a lifecycle change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from castore.errors import CorruptObject
from castore.model.encoding import decode, encode
from castore.model.fields import Fields, MetaValue, by_bytes, plain, read_id, storable
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import NOTE_BYTES
from castore.model.values import frozen, made

SCOPE_BYTES: Final = 16
SUBJECTS: Final = {
    "review": ("requested", "approved", "rejected", "revoked"),
    "validation": ("passed", "failed"),
    "lifecycle": ("draft", "published", "archived", "withdrawn"),
    "deployment": (),
    "signature": (),
    "comment": ("",),
}
_KEYS: Final = (
    "after", "at", "by", "ext", "meta", "replaces", "scope", "subject", "target", "text", "value",
)  # fmt: skip
_REFERENCES: Final = 1024
_TARGETS: Final = ("manifest", "note")
_ABOUT_NOTES: Final = ("signature", "comment")


@frozen
class Note:
    """One statement `by` somebody about `target`; it stands until a note that `replaces` it.

    `scope` is the 16-byte uuid of the project: a note for another project is refused. `value` is
    one of SUBJECTS[subject], or free where that is empty (environment, key fingerprint).
    `target_kind` is "manifest", for signatures and comments also "note".
    """

    scope: bytes
    target: Id
    target_kind: str
    subject: str
    value: str
    by: str
    at: int
    text: str = ""
    after: tuple[Id, ...] = ()
    replaces: tuple[Id, ...] = ()
    meta: Mapping[str, MetaValue] = made(default_factory=dict)
    ext: Mapping[str, bytes] = made(default_factory=dict)

    @property
    def id(self) -> Id:
        """The note id."""
        return object_id(Kind.NOTE, encode_note(self))


def encode_note(value: Note) -> bytes:
    """The canonical bytes of a note; raises InvalidInput where `decode_note` would refuse them."""
    payload = encode(
        {
            "after": by_bytes(value.after),
            "at": value.at,
            "by": value.by,
            "ext": plain(value.ext),
            "meta": plain(value.meta),
            "replaces": by_bytes(value.replaces),
            "scope": value.scope,
            "subject": value.subject,
            "target": {"id": value.target, "kind": value.target_kind},
            "text": value.text,
            "value": value.value,
        }
    )
    return storable(payload, decode_note)


def decode_note(payload: bytes) -> Note:
    """The note encoded by `payload`; raises CorruptObject."""
    fields = Fields(decode(payload, limit=NOTE_BYTES, what="note"), "note", _KEYS)
    target = Fields(fields.raw("target"), "note: target", ("id", "kind"))
    subject = fields.choice("subject", SUBJECTS)
    target_kind = target.choice("kind", _TARGETS)
    if target_kind == "note" and subject not in _ABOUT_NOTES:
        raise CorruptObject(f"note: target: a {subject} is about a manifest, not a note")
    values = SUBJECTS[subject]
    value = fields.choice("value", values) if values else fields.text("value")
    if not values and not value:
        raise CorruptObject(f"note: value: empty for {subject}")
    return Note(
        scope=fields.blob("scope", (SCOPE_BYTES,)),
        target=target.id("id"),
        target_kind=target_kind,
        subject=subject,
        value=value,
        by=fields.text("by"),
        at=fields.integer("at", 0),
        text=fields.text("text"),
        after=fields.items("after", read_id, _REFERENCES),
        replaces=fields.items("replaces", read_id, _REFERENCES),
        meta=fields.meta(),
        ext=fields.ext(),
    )
