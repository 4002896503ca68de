"""Verification of a bundle, without a store: every byte, what its refs need, who signed what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from castore.content.layouts import layout_size
from castore.errors import CastoreError, CorruptObject, ObjectNotFound
from castore.model.artifact_set import FileContent, decode_set
from castore.model.ids import Id, Kind
from castore.model.manifest import decode_manifest
from castore.model.note import Note
from castore.remote.bucket import View
from castore.remote.bundle import BundleFile, Needed
from castore.remote.index import Index
from castore.remote.root import IndexName, Root
from castore.remote.transport import Transport
from castore.store.config import KnownIdentity
from castore.store.moments import format_moment
from castore.store.signatures import SUBJECT, Signature, judged
from castore.store.sync_verify import BucketCheck
from castore.store.verify_report import Finding, FsckReport

_NOBODY: Final[Mapping[str, KnownIdentity]] = MappingProxyType({})
_AGAIN: Final = "have the bundle made and sent again"


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """What verifying a bundle came to.

    `id` is b"" where the file is no bundle, or its head is damaged. `outside` is how many objects
    are left to what the bundle begins after, its `needs`: they are looked for when it is imported.
    """

    path: Path
    id: Id
    needs: tuple[Needed, ...]
    report: FsckReport
    signatures: tuple[Signature, ...] = ()
    outside: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, no signature either."""
        return self.report.ok

    def as_json(self) -> dict[str, Any]:
        """What was found, as data."""
        return {
            "bundle": str(self.path),
            "id": self.id.hex() or None,
            **self.report.as_json(),
            "needs": [{"id": id.hex(), "label": label} for id, label in self.needs],
            "outside": self.outside,
            "signatures": [_signature(found) for found in self.signatures],
        }


def verify_bundle(
    path: str | os.PathLike[str],
    identities: Mapping[str, KnownIdentity] = _NOBODY,
    progress: Callable[[int], None] | None = None,
) -> BundleCheck:
    """Verify a bundle: each byte, each id, that refs find what they need in it, each signature.

    `identities` are whose keys are known. `progress` is told bytes. Raises InvalidInput where the
    file cannot be read, UnsupportedFormat, CastoreError where `ssh-keygen` is needed and absent.
    """
    place = Path(path)
    try:
        bundle = BundleFile(place)
    except CorruptObject as error:
        return _broken(place, b"", (), error)
    with bundle:
        try:
            bundle.catalogue()
            return _Check(bundle, progress).verify(identities)
        except CorruptObject as error:
            return _broken(place, bundle.id, bundle.head.needs, error)


class _AsBucket:
    """A bundle as what is verified."""

    def __init__(self, bundle: BundleFile) -> None:
        self._bundle = bundle

    @property
    def transport(self) -> Transport:
        """See `Checked`."""
        return self._bundle

    def read(self) -> View:
        """See `Checked`."""
        return View(self._bundle.head.root, "")

    def fetch_index(self, name: IndexName) -> Index:
        """See `Checked`."""
        return self._bundle.index(name)


class _Check(BucketCheck):
    """The check of a bucket, where something may lie in what the bundle begins after."""

    def __init__(self, bundle: BundleFile, progress: Callable[[int], None] | None) -> None:
        super().__init__(_AsBucket(bundle), progress)
        self._bundle = bundle
        self._outside = 0

    def verify(self, identities: Mapping[str, KnownIdentity]) -> BundleCheck:
        """Look at everything; raises as `verify_bundle`."""
        self.run()
        signatures = tuple(judged(dict(self._signed()), identities))
        for found in signatures:
            if found.verdict == "invalid":
                target = found.note.target.hex()
                self._found.add(found.id, "note", "", f"is no valid signature over {target}")
        report = replace(self._report(), helps="" if not self._found.kept else _AGAIN)
        head = self._bundle.head
        return BundleCheck(
            self._bundle.path, self._bundle.id, head.needs, report, signatures, self._outside
        )

    def _signed(self) -> Iterator[tuple[Id, Note]]:
        for id in sorted(self.catalogue.ids_of(Kind.NOTE)):
            try:
                note = self._reader.note(id)
            except CastoreError as error:
                self._found.add(id, "note", "", error.message)
                continue
            self._found.count("notes")
            if note.scope != self._bundle.head.root.project:
                self._found.add(id, "note", "", "is for another project")
            if note.subject == SUBJECT:
                yield id, note

    def _packs(self) -> Iterator[Any]:
        # A pack is told of by one index: so no more is held at once than of one.
        for index in self.catalogue.indexes:
            yield from sorted(self._by_pack([index]).items())

    def _lacks(self, id: Id, ref: str) -> None:
        if not self._bundle.head.needs:
            super()._lacks(id, ref)
        self._outside += 1

    def _file(self, digest: Id) -> None:
        try:
            super()._file(digest)
        except ObjectNotFound:
            # It has chunks in common with files of before: compared when it is imported.
            if not self._bundle.head.needs:
                raise

    def _below(self, id: Id, root: Root) -> list[Id]:
        kind, payload = self._reader.object(id)
        if kind is Kind.MANIFEST:
            manifest = decode_manifest(payload)
            self._found.count("versions")
            for parent in manifest.parents[:1]:
                if self.catalogue.has(parent):
                    above = self._reader.manifest(parent).number
                    if above + 1 != manifest.number:
                        detail = f"number {manifest.number}, though its first parent has {above}"
                        self._found.add(id, "manifest", "", detail)
        elif kind is Kind.SET:
            for artifact in decode_set(payload).artifacts:
                content = artifact.content
                if isinstance(content, FileContent):
                    self._size(content, artifact.name)
        return super()._below(id, root)

    def _size(self, content: FileContent, name: str) -> None:
        """Compare what a set says of a file's size with the file."""
        found = self.catalogue.find(content.digest)
        if found is None:
            return
        size = -1
        if found[2] is Kind.CHUNK:
            place = self.catalogue.locate(content.digest)
            assert place is not None
            size = self.catalogue.indexes[place[0]].member(place[1]).size
        elif found[2] is Kind.LAYOUT:
            size = layout_size(self._reader.object(content.digest)[1])
        if size != content.size:
            detail = f"{size} bytes, not {content.size} as its set says"
            self._found.add(content.digest, "set", name, detail)

    def _complete(self, id: Id, ref: str) -> list[Id]:
        if self._bundle.head.needs and not self.catalogue.has(id):
            return []
        return super()._complete(id, ref)


def _broken(path: Path, id: Id, needs: tuple[Needed, ...], error: CorruptObject) -> BundleCheck:
    finding = Finding(b"", "bundle", "", error.message)
    return BundleCheck(path, id, needs, FsckReport(True, (finding,), helps=_AGAIN))


def _signature(found: Signature) -> dict[str, Any]:
    return {
        "target": found.note.target.hex(),
        "kind": found.note.target_kind,
        "verdict": found.verdict,
        "key": found.key or None,
        "signers": list(found.signers),
        "note": found.id.hex(),
        "by": found.note.by or None,
        "at": format_moment(found.note.at),
    }
