"""Signatures: whose valid ones stand about a version or a note, as `ssh-keygen` verifies them.

A signature is a note of subject `signature` about the object: its text is what `ssh-keygen -Y sign
-n castore` gave for the 64 hex digits of the object's id. Whose it is says the key alone, which
`config.toml` gives to an identity; what a note claims of its writer does not count.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from castore.errors import CastoreError
from castore.model.ids import Id
from castore.model.status import standing
from castore.store.config import KnownIdentity
from castore.store.notes import notes_about
from castore.store.store import Store

NAMESPACE: Final = "castore"
PROGRAM: Final = "ssh-keygen"
VERIFIED: Final = 64
"""Signatures about one object that are verified at most."""
_SECONDS: Final = 10
_KEY_TYPES: Final = ("ssh-", "ecdsa-", "sk-")
_ARMOUR: Final = "-----BEGIN SSH SIGNATURE-----"


def signers(store: Store, id: Id) -> frozenset[str]:
    """The configured identities, in lower case, with a valid signature over this id that stands.

    Raises CastoreError where `ssh-keygen` cannot be run, InvalidInput for a malformed config.
    """
    notes = standing(notes_about(store, id))
    texts = {
        note.text
        for note in notes.values()
        if note.subject == "signature" and note.target == id and note.text.startswith(_ARMOUR)
    }
    if not texts:
        return frozenset()
    allowed, names = _allowed(store.config().identities)
    if not names:
        return frozenset()
    found: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="cas-sign-") as folder:
        keys, signature = Path(folder, "allowed"), Path(folder, "signature")
        keys.write_text(allowed, encoding="utf-8")
        for text in islice(sorted(texts), VERIFIED):
            signature.write_text(text, encoding="utf-8")
            found.update(names[who] for who in _principals(keys, signature, id) if who in names)
    return frozenset(found)


def _allowed(identities: Mapping[str, KnownIdentity]) -> tuple[str, dict[str, str]]:
    """A file of allowed signers, and which identity each of its names stands for.

    Identities stand there by number: a name could be a pattern that stands for others.
    """
    lines, names = [], {}
    for number, (name, known) in enumerate(sorted(identities.items())):
        for key in known.keys:
            if key.startswith(_KEY_TYPES) and key.isprintable():
                names[f"k{number}"] = name
                lines.append(f'k{number} namespaces="{NAMESPACE}" {key}\n')
    return "".join(lines), names


def _principals(keys: Path, signature: Path, id: Id) -> list[str]:
    """The names in `keys` for whose key this is a valid signature over the id."""
    common = ["-f", str(keys), "-s", str(signature)]
    told = _run(["-Y", "find-principals", *common], b"")
    if told.returncode:
        return []
    message = id.hex().encode()
    return [
        who
        for who in told.stdout.decode("utf-8", "replace").split()
        if _run(["-Y", "verify", "-n", NAMESPACE, "-I", who, *common], message).returncode == 0
    ]


def _run(words: list[str], message: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [PROGRAM, *words], input=message, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CastoreError(
            f"signatures cannot be verified: {PROGRAM}: {error}", fix="install OpenSSH"
        ) from None
