"""Sources: the inputs that a version was made from, as its maker names them."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from castore.errors import InvalidInput
from castore.model.artifact_set import ExternalContent, FileContent
from castore.model.ids import Id, content_id_of
from castore.model.manifest import Source
from castore.store.selectors import Resolved, resolve
from castore.store.store import Store

_READ: Final = 1 << 20


def parse_source(store: Store, text: str, *, evidence: str = "claimed") -> Source:
    """The source written as `REF`, `ARTIFACT=REF` or a URI; raises RefNotFound, InvalidInput.

    A `file:` URI is read once, to pin its size and digest; other URIs stay unpinned.
    """
    artifact, reference = _split(text)
    if "\0" in reference or not reference:
        raise InvalidInput(f"source {text!r}: a version, an artifact or a URI must be named")
    if "://" in reference or reference.startswith("file:"):
        return _external(artifact, reference)
    return from_resolved(resolve(store, reference), artifact=artifact, evidence=evidence)


def from_resolved(resolved: Resolved, *, artifact: str = "", evidence: str = "observed") -> Source:
    """The source that a resolved selector is."""
    target = resolved.artifact
    label = resolved.version.label + (f":{target.name}" if target else "")
    digest: Id = b""
    size = -1
    if target is not None and isinstance(target.content, (FileContent, ExternalContent)):
        digest, size = target.content.digest, target.content.size
    return Source(
        artifact=artifact,
        target=resolved.version.id,
        target_artifact=target.name if target else "",
        selector=resolved.selector.text,
        label=label,
        digest=digest,
        size=size,
        pinned=True,
        evidence=evidence,
    )


def digest_file(path: Path) -> tuple[Id, int]:
    """The BLAKE3 and size of a file on disk; raises InvalidInput when it cannot be read."""
    try:
        with path.open("rb") as file:
            return content_id_of(iter(lambda: file.read(_READ), b""))
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}") from None


def uri_path(uri: str) -> Path | None:
    """The local path of a `file:` URI, or None for any other."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path))


def _external(artifact: str, uri: str) -> Source:
    path = uri_path(uri)
    if path is None:
        return Source(artifact=artifact, selector=uri, uri=uri)
    digest, size = digest_file(path)
    return Source(artifact=artifact, selector=uri, uri=uri, digest=digest, size=size, pinned=True)


def _split(text: str) -> tuple[str, str]:
    """The artifact and the reference: `=` splits only before anything that a URI could hold."""
    head, sign, rest = text.partition("=")
    if sign and head and rest and not any(mark in head for mark in ":/@?"):
        return head, rest
    return "", text
