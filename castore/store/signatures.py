"""Signatures: whose valid ones stand about a version or a note, as `ssh-keygen` verifies them.

A signature is a note of subject `signature` about the object: its text is what `ssh-keygen -Y sign
-n castore` gave for the 64 hex digits of the object's id. Whose it is says the key alone, which
`config.toml` gives to an identity; what a note claims of its writer or of the key does not count.
"""

from __future__ import annotations

import re
from binascii import Error as NoBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from castore.errors import CastoreError
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import standing
from castore.model.values import frozen
from castore.store.config import KnownIdentity
from castore.store.notes import notes_about
from castore.store.store import Store

NAMESPACE: Final = "castore"
PROGRAM: Final = "ssh-keygen"
SUBJECT: Final = "signature"
VERIFIED: Final = 64
"""Signatures about one object that are verified at most where only signers are asked for."""
_SECONDS: Final = 10
_KEY_TYPES: Final = ("ssh-", "ecdsa-", "sk-")
_ARMOUR: Final = re.compile(
    "-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----\n?"
)
_MAGIC: Final = b"SSHSIG\0\0\0\1"
_KEY_AT: Final = len(_MAGIC) + 4

Verdict = Literal["valid", "unknown", "invalid"]


@frozen
class Signature:
    """A signature that stands, and what verifying it came to.

    "valid" is by a key of `signers`, configured identities in lower case; "unknown" is right, by a
    key that config.toml gives to nobody; "invalid" is none over this object. `key` is the
    fingerprint of the key it names, "" where it cannot be read.
    """

    id: Id
    note: Note
    verdict: Verdict
    key: str
    signers: tuple[str, ...] = ()


def signers(store: Store, id: Id, *, dismissals: bool = True) -> frozenset[str]:
    """The configured identities, in lower case, with a valid signature over this id that stands.

    `dismissals` as in `castore.model.status.standing`. Raises CastoreError where `ssh-keygen`
    cannot be run, InvalidInput for a malformed config.
    """
    texts = {note.text for note in _about(store, id, dismissals).values()}
    if not texts:
        return frozenset()
    holders = _holders(store.config().identities)
    keys = {text: key for text in texts if (key := public_key(text)) in holders}
    found: set[str] = set()
    for text, key in islice(sorted(keys.items()), VERIFIED):
        line, names = holders[key]
        if not found.issuperset(names) and _verifies(line, text, id.hex()):
            found.update(names)
    return frozenset(found)


def signatures(store: Store, id: Id) -> list[Signature]:
    """Every signature about a version or a note that stands, newest first, and its verdict.

    Each one costs a run of `ssh-keygen`. Raises as `signers`.
    """
    found = _about(store, id, True)
    holders = _holders(store.config().identities) if found else {}
    return [_judged(key, note, holders) for key, note in found.items()]


def judged(notes: Mapping[Id, Note], identities: Mapping[str, KnownIdentity]) -> list[Signature]:
    """What verifying these notes, by their ids, comes to where these identities are known.

    Raises as `signers`.
    """
    holders = _holders(identities)
    return [_judged(id, note, holders) for id, note in notes.items() if note.subject == SUBJECT]


def public_key(text: str) -> bytes:
    """The public key that an armoured signature names, in SSH's wire form; b"" if there is none."""
    armour = _ARMOUR.fullmatch(text)
    try:
        data = a2b_base64(armour[1].replace("\n", ""), strict_mode=True) if armour else b""
    except NoBase64:
        return b""
    size = int.from_bytes(data[len(_MAGIC) : _KEY_AT])
    key = data[_KEY_AT : _KEY_AT + size]
    return key if data.startswith(_MAGIC) and len(key) == size else b""


def fingerprint(key: bytes) -> str:
    """What people compare of a public key: `SHA256:` and 43 characters, as `ssh-keygen -l`."""
    from hashlib import sha256

    if not key:
        return ""
    return "SHA256:" + b2a_base64(sha256(key).digest(), newline=False).decode().rstrip("=")


def _about(store: Store, id: Id, dismissals: bool) -> dict[Id, Note]:
    notes = notes_about(store, id)
    if not any(note.subject == SUBJECT for note in notes.values()):
        return {}
    current = standing(notes, dismissals=dismissals)
    return {key: note for key, note in current.items() if note.subject == SUBJECT}


def _judged(id: Id, note: Note, holders: Mapping[bytes, tuple[str, tuple[str, ...]]]) -> Signature:
    key = public_key(note.text)
    line, names = holders.get(key, ("", ()))
    if not key or not _verifies(line, note.text, note.target.hex()):
        return Signature(id, note, "invalid", fingerprint(key))
    return Signature(id, note, "valid" if names else "unknown", fingerprint(key), names)


def _holders(
    identities: Mapping[str, KnownIdentity],
) -> dict[bytes, tuple[str, tuple[str, ...]]]:
    """By public key: its line as in authorized_keys, and the identities that it is given to."""
    found: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    for name, known in sorted(identities.items()):
        for text in known.keys:
            words = text.split()
            if len(words) < 2 or not words[0].startswith(_KEY_TYPES):
                continue
            try:
                key = a2b_base64(words[1], strict_mode=True)
            except (NoBase64, ValueError):
                continue
            line, names = found.get(key, (f"{words[0]} {words[1]}", ()))
            found[key] = (line, names if name in names else (*names, name))
    return found


@lru_cache(maxsize=4096)
def _verifies(line: str, text: str, message: str) -> bool:
    """Whether this signature is one over a message by the key of `line`, or without by its own."""
    # Loaded where something is signed: with what it needs it takes longer than reading a page.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cas-sign-") as folder:
        allowed, signature = Path(folder, "allowed"), Path(folder, "signature")
        signature.write_text(text, encoding="utf-8")
        words = ["-Y", "check-novalidate"]
        if line:
            # The name is ours: one of people's could be a pattern that stands for others.
            allowed.write_text(f'key namespaces="{NAMESPACE}" {line}\n', encoding="utf-8")
            words = ["-Y", "verify", "-I", "key", "-f", str(allowed)]
        return _run([*words, "-n", NAMESPACE, "-s", str(signature)], message.encode()) == 0


def _run(words: list[str], message: bytes) -> int:
    import subprocess

    try:
        return subprocess.run(
            [PROGRAM, *words], input=message, capture_output=True, timeout=_SECONDS, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CastoreError(
            f"signatures cannot be verified: {PROGRAM}: {error}", fix="install OpenSSH"
        ) from None
