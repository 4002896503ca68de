"""Verifying external artifacts: what is recorded of them, against what is at their URIs now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from castore.errors import InvalidInput, RemoteError
from castore.model.artifact_set import Artifact, ExternalContent
from castore.model.ids import content_id_of
from castore.remote.elsewhere import look_at, reach
from castore.store.externals import NotAsked, Seen
from castore.store.selectors import find_artifact
from castore.store.store import Store
from castore.store.version import Version

State = Literal["same", "changed", "unreachable", "unpinned"]


def ask_elsewhere(uri: str, *, proxies: Mapping[str, str] | None = None, pin: bool = False) -> Seen:
    """Ask for size and tag of what is at a URI; with `pin` read it all once, for its digest.

    Raises NotAsked without `pin` where that fails, else as `castore.remote.elsewhere.reach`.
    """
    if not pin:
        try:
            return Seen(b"", *look_at(uri, proxies))
        except (RemoteError, InvalidInput) as error:
            raise NotAsked(error.message) from None
    with reach(uri, proxies) as found:
        digest, size = content_id_of(found.pieces)
        return Seen(digest, size, found.etag)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying one external artifact came to.

    "same" is by digest where one is known, else by tag or size, as `by` says; "unpinned" is where
    nothing is known to compare with.
    """

    artifact: str
    uri: str
    state: State
    by: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """The verdict as data."""
        return {
            "artifact": self.artifact,
            "uri": self.uri or None,
            "state": self.state,
            "by": self.by or None,
            "detail": self.detail or None,
        }


def external_artifacts(
    store: Store, version: Version, names: Sequence[str] = ()
) -> list[tuple[Artifact, ExternalContent, str, str]]:
    """The external artifacts of a version, or of these names, with their URIs and tags.

    Raises RefNotFound, InvalidInput for a name of one that is stored.
    """
    chosen = [find_artifact(store, version, name) for name in names]
    places = {name: (uri, etag) for name, uri, etag in version.manifest.locations}
    found = []
    for artifact in chosen or store.set_of(version).artifacts:
        if isinstance(artifact.content, ExternalContent):
            found.append((artifact, artifact.content, *places.get(artifact.name, ("", ""))))
        elif chosen:
            raise InvalidInput(f"{artifact.name!r} of {version.label} is stored, not external")
    return found


def verify_external(
    store: Store,
    version: Version,
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    proxies: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Verdict]:
    """Compare the external artifacts of a version, or some, with what is at their URIs now.

    One whose digest is known is read whole, and no further than the size that is known; with
    `quick` only its size and tag are asked for.
    """
    for artifact, content, uri, etag in external_artifacts(store, version, names):
        yield _verdict(artifact.name, content, uri, etag, quick, proxies, progress)


def _verdict(
    name: str,
    content: ExternalContent,
    uri: str,
    etag: str,
    quick: bool,
    proxies: Mapping[str, str] | None,
    progress: Callable[[int], None] | None,
) -> Verdict:
    if not uri:
        return Verdict(name, uri, "unreachable", detail="no address is recorded")
    try:
        if content.digest and not quick:
            with reach(uri, proxies) as found:
                # One byte more than there may be tells as much as all of them.
                limit = content.size if content.size >= 0 else found.size
                digest, _ = content_id_of(told(found.pieces, progress, limit))
            return _compared(name, uri, "digest", content.digest.hex(), digest.hex())
        size, tag = look_at(uri, proxies)
    except (RemoteError, InvalidInput) as error:
        return Verdict(name, uri, "unreachable", detail=error.message)
    if etag and tag:
        return _compared(name, uri, "etag", etag, tag)
    if content.size >= 0 and size >= 0:
        return _compared(name, uri, "size", f"{content.size} bytes", f"{size} bytes")
    return Verdict(name, uri, "unpinned", detail="nothing is recorded to compare with")


def _compared(name: str, uri: str, by: str, recorded: str, found: str) -> Verdict:
    if recorded == found:
        return Verdict(name, uri, "same", by)
    return Verdict(name, uri, "changed", by, f"{by} {found} there, {recorded} recorded")


def told(
    pieces: Iterator[bytes], progress: Callable[[int], None] | None, limit: int = -1
) -> Iterator[bytes]:
    """Pieces as they are, `progress` told of each; no more once they are above `limit` bytes."""
    size = 0
    for piece in pieces:
        size += len(piece)
        yield piece
        if progress is not None:
            progress(len(piece))
        if -1 < limit < size:
            return
