"""Signing: a note with a signature over a version or over another note, made by `ssh-keygen`.

The key is the private half of one that `config.toml` gives to an identity, or the public half where
an agent holds the other. castore never sees a secret: ssh-keygen reads the key, or asks the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from castore.errors import CastoreError, InvalidInput, NotApproved, ObjectNotFound
from castore.model.ids import Id, Kind
from castore.model.limits import ID_BYTES
from castore.model.names import quoted
from castore.model.note import Note
from castore.model.values import frozen
from castore.store.notes import known_as
from castore.store.review import judged_version
from castore.store.signatures import (
    NAMESPACE,
    PROGRAM,
    SUBJECT,
    fingerprint,
    public_key,
    signatures,
)
from castore.store.statements import Speaker, Stated, write_note
from castore.store.store import Store
from castore.store.version import Version

_SECONDS: Final = 120
_FIX: Final = '[signing] key = "~/.ssh/id_ed25519" in config.toml'


@frozen
class SigningKey:
    """The file of a private key, or of a public key whose private half an agent holds.

    `ask` lets ssh-keygen ask for a passphrase on the terminal; without, a key that needs one fails.
    """

    file: Path
    ask: bool = False


def signing_key(store: Store, file: Path | None = None, *, ask: bool = False) -> SigningKey:
    """The key to sign with: `file`, else `signing.key` of the configuration; raises InvalidInput.

    A file that is not there is found out here, before anything is written.
    """
    key = file or store.config().signing_key
    if key is None:
        raise InvalidInput("there is no key to sign with: signing.key is not set", fix=_FIX)
    if not key.is_file():
        raise InvalidInput(f"signing.key: there is no file {str(key)!r}", fix=_FIX)
    return SigningKey(key.absolute(), ask)


def named_object(store: Store, what: str) -> tuple[Version, Id | None]:
    """What is to be signed: a version, named as for a verdict, or a note by its full id.

    Raises InvalidInput for the beginning of an id, RefNotFound.
    """
    if len(what) == 2 * ID_BYTES:
        found = store.database.read(lambda tables: tables.ids_with_prefix(what, 1))
        if found and found[0][1] is Kind.NOTE:
            return store.version(_subject(store, found[0][0]).target), found[0][0]
    return judged_version(store, what, "sign"), None


def sign(
    store: Store, version: Version, speaker: Speaker, key: SigningKey, *, note: Id | None = None
) -> Stated:
    """Sign a version, or with `note` that note about it; gives the signature's note.

    An object that this key signed already is left as it is. Raises NotApproved for the note of
    somebody else, InvalidInput, CastoreError where ssh-keygen cannot sign.
    """
    if note is not None:
        whose = _subject(store, note).by
        if known_as(whose) != known_as(speaker.by):
            raise NotApproved(
                f"note {note.hex()[:12]} is by {whose}: who wrote it signs it, not {speaker.by}",
                fix=f"cas show {quoted(version.label)}",
            )
    return _state(store, version, speaker, _armoured(key, note or version.id), note)


def said_signed(
    store: Store,
    say: Callable[[], Stated],
    speaker: Speaker,
    key: SigningKey,
    *,
    over: Version | None = None,
) -> Stated:
    """What `say` states, its note signed, and the version `over` as well.

    Where `over` is given nothing is said unless the key can sign it. Raises what `say` and `sign`
    raise; where the note was written and not signed, CastoreError that says so.
    """
    armour = _armoured(key, over.id) if over else ""
    stated = say()
    try:
        _state(store, stated.version, speaker, _armoured(key, stated.id), stated.id)
        if over:
            _state(store, over, speaker, armour, None)
    except CastoreError as error:
        raise CastoreError(
            f"{stated.version.label}: {stated.note.value} is noted, but not signed: {error}",
            fix=f"cas sign {stated.id.hex()}",
            note=stated.id.hex(),
        ) from error
    return stated


def _subject(store: Store, id: Id) -> Note:
    """The note to sign; raises InvalidInput for one about a note, which nothing asks for."""
    note = store.reader.note(id)
    if note.target_kind != "manifest" or note.subject == SUBJECT:
        raise InvalidInput(f"note {id.hex()[:12]} is about another note, or itself a signature")
    if note.scope != store.database.project:
        raise ObjectNotFound(f"note {id.hex()[:12]} is of another project", id=id.hex())
    return note


def _state(
    store: Store, version: Version, speaker: Speaker, armour: str, note: Id | None
) -> Stated:
    key = fingerprint(public_key(armour))
    for found in signatures(store, note or version.id):
        if found.key == key and found.verdict != "invalid":
            return Stated(version, found.id, found.note)
    return write_note(
        store, version, speaker, SUBJECT, key, op="sign", text=armour, about=note,
        replaces=lambda _, __: [],
    )  # fmt: skip


def _armoured(key: SigningKey, id: Id) -> str:
    """The armoured signature over the 64 hex digits of an id."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cas-sign-") as folder:
        message = Path(folder, "message")
        message.write_text(id.hex(), encoding="ascii")
        words = [PROGRAM, "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.file)]
        # An empty passphrase is one that need not be asked for.
        words += [str(message)] if key.ask else ["-P", "", str(message)]
        try:
            done = subprocess.run(
                words,
                stdin=None if key.ask else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if key.ask else subprocess.PIPE,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CastoreError(f"cannot sign: {PROGRAM}: {error}", fix="install OpenSSH") from None
        if done.returncode == 0:
            armour = message.with_name("message.sig").read_text(encoding="ascii", errors="replace")
            if public_key(armour):
                return armour
    said = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()
    detail = f": {said[-1]}" if said else ""
    raise CastoreError(
        f"the key {str(key.file)!r} cannot sign{detail}",
        fix=f"ssh-add {quoted(str(key.file).removesuffix('.pub'))}",
    )
