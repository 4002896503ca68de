"""Sources: the inputs that a version was made from, as its maker names them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from castore.errors import InvalidInput, ObjectNotFound, RefNotFound, TypeMismatch
from castore.model.artifact_set import Artifact, ExternalContent, FileContent
from castore.model.ids import Id
from castore.model.manifest import Source
from castore.model.names import quoted
from castore.model.pages import FILE
from castore.model.status import fold
from castore.store.listing import named_entry, named_file
from castore.store.notes import notes_about
from castore.store.pinning import Pin, digest_file, uri_path
from castore.store.removals import removal_text
from castore.store.selectors import Resolved, resolve
from castore.store.store import Store
from castore.store.tombstones import purged_in

CLAIMED: Final = "claimed"
OBSERVED: Final = "observed"

_HIERARCHICAL: Final = re.compile(r"file:|[A-Za-z][A-Za-z0-9+.-]*://")
# Schemes without `//`. A branch or tag of such a name comes first.
_OPAQUE: Final = ("ark", "arn", "doi", "hdl", "jdbc", "swh", "urn")
_PASSWORD: Final = re.compile(r"(//[^/?#@:]*):[^/?#@]*@")


def parse_source(
    store: Store,
    text: str,
    *,
    evidence: str = CLAIMED,
    folder: Path = Path(),
    pin: Pin | None = None,
) -> Source:
    """The source written as `REF` or `ARTIFACT=REF`; REF is a version, an artifact of one or a URI.

    A `file:` URI is read once to pin its size and digest, a relative one from `folder`; an `https:`
    one only by `pin`; others stay unpinned, and what nobody read is claimed whatever `evidence`
    says. Raises RefNotFound, Ambiguous, InvalidInput, and what `pin` raises.
    """
    return _read(store, text, evidence, folder, pin)[0]


def parse_sources(
    store: Store,
    given: Iterable[str | Source],
    *,
    folder: Path = Path(),
    pin: Pin | None = None,
) -> tuple[Source, ...]:
    """Sources as typed, resolved, beside those that are resolved already."""
    return tuple(
        one if isinstance(one, Source) else parse_source(store, one, folder=folder, pin=pin)
        for one in given
    )


def doubts(store: Store, sources: Iterable[Source]) -> Iterator[str]:
    """What speaks against sources in this store, in words.

    That their content was forgotten or purged, that they were withdrawn, or that somebody rejects
    them, each told once.
    """
    yield from dict.fromkeys(_doubts(store, sources))


def _doubts(store: Store, sources: Iterable[Source]) -> Iterator[str]:
    for source in sources:
        if not source.target:
            continue
        try:
            version = store.version(source.target)
        except ObjectNotFound:
            # Given as it was recorded elsewhere.
            continue
        status = fold(notes_about(store, version.id), version.id)
        if status.lifecycle == "withdrawn":
            yield f"source {source.label} was withdrawn"
        if status.rejecters:
            yield f"source {source.label} was rejected by {', '.join(status.rejecters)}"
        removal = store.forgotten(version)
        if removal is not None:
            yield f"source {source.label} was forgotten on {removal_text(removal)}"
            continue
        members, name = store.set_of(version), source.target_artifact
        told = store.database.read(partial(purged_in, members=members, artifact=name))
        yield from (f"source {source.label}: {text}" for text in told)


def from_resolved(
    store: Store, resolved: Resolved, *, artifact: str = "", evidence: str = OBSERVED
) -> Source:
    """The source that a resolved selector is; raises RefNotFound for a path that is not there."""
    target = resolved.artifact
    label = resolved.version.label + (f":{target.name}" if target else "")
    digest, size = _pinned(store, target, resolved.path) if target else (b"", -1)
    return Source(
        artifact=artifact,
        target=resolved.version.id,
        target_artifact=target.name if target else "",
        selector=resolved.selector.text,
        label=label + (f"/{resolved.path}" if resolved.path else ""),
        digest=digest,
        size=size,
        pinned=True,
        evidence=evidence,
    )


@dataclass(frozen=True, slots=True)
class Used:
    """A source that a session reads through castore: as it is recorded, and its bytes.

    `resolved` is the version and artifact it is, None for one that lies outside the store.
    """

    source: Source
    store: Store
    resolved: Resolved | None = None

    def open(self) -> BinaryIO:
        """The file that it is, as a seekable verified stream; raises TypeMismatch, InvalidInput."""
        file = named_file(self.store, self._stored())
        return self.store.reader.open(file.digest, file.size)

    def read_bytes(self) -> bytes:
        """All bytes of the file that it is, compared with their digest as a whole."""
        file = named_file(self.store, self._stored())
        return b"".join(self.store.reader.stream(file.digest, file.size))

    def _stored(self) -> Resolved:
        if self.resolved is None:
            raise TypeMismatch(f"{self.source.selector!r} is not in the store: read it where it is")
        return self.resolved


def use(
    store: Store,
    reference: str,
    *,
    artifact: str = "",
    folder: Path = Path(),
    pin: Pin | None = None,
) -> Used:
    """The source meant by a REF, as one that castore itself reads; raises as `parse_source`."""
    source, resolved = _read(store, reference, OBSERVED, folder, pin)
    return Used(replace(source, artifact=artifact or source.artifact), store, resolved)


def _read(
    store: Store, text: str, evidence: str, folder: Path, pin: Pin | None
) -> tuple[Source, Resolved | None]:
    """The source that is meant, and what it is in the store; resolved once."""
    artifact, reference = _split(text)
    if not reference or not reference.isprintable():
        raise InvalidInput(f"source {text!r}: a version, an artifact or a URI must be named")
    if _HIERARCHICAL.match(reference):
        return _external(artifact, reference, evidence, folder, pin), None
    try:
        resolved = resolve(store, reference)
    except RefNotFound as error:
        if reference.partition(":")[0] in _OPAQUE:
            return _external(artifact, reference, evidence, folder, pin), None
        if os.path.exists(folder / reference):
            raise RefNotFound(
                f"{error.message.partition(';')[0]}; there is such a file",
                fix=f"--source {quoted(f'{artifact}=' * bool(artifact) + 'file:' + reference)}",
            ) from None
        raise
    return from_resolved(store, resolved, artifact=artifact, evidence=evidence), resolved


def _external(artifact: str, uri: str, evidence: str, folder: Path, pin: Pin | None) -> Source:
    bare = _PASSWORD.sub(r"\1@", uri)
    if bare != uri:
        raise InvalidInput(
            f"source {bare!r} was given with a password: a version is kept for ever",
            fix=f"--source {quoted(bare)}",
        )
    try:
        path, scheme = uri_path(uri, folder), urlsplit(uri).scheme
    except ValueError as error:
        raise InvalidInput(f"source {uri!r}: not a URI: {error}") from None
    if path is not None:
        digest, size = digest_file(path)
        where = path.as_uri()
    elif scheme == "https" and pin is not None:
        (digest, size), where = pin(uri), uri
    else:
        return Source(artifact=artifact, selector=uri, uri=uri)
    return Source(
        artifact=artifact,
        selector=uri,
        uri=where,
        digest=digest,
        size=size,
        pinned=True,
        evidence=evidence,
    )


def _pinned(store: Store, artifact: Artifact, path: str) -> tuple[Id, int]:
    """The digest and size of a file, of a folder (its bytes, no digest), or external ones."""
    content = artifact.content
    if isinstance(content, (FileContent, ExternalContent)) and not path:
        return content.digest, content.size
    entry = named_entry(store, artifact, path)
    if not path or entry is None:
        return b"", -1
    return (entry.id, entry.size) if entry.kind == FILE else (b"", entry.size)


def _split(text: str) -> tuple[str, str]:
    """The artifact and the reference: `=` splits only before anything that a REF could hold."""
    head, sign, rest = text.partition("=")
    if sign and head and rest and not any(mark in head for mark in ":/@~"):
        return head, rest
    return "", text
