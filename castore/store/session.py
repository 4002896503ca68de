"""Session: one atomic artifact set being produced, from the first byte staged to its version."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from castore.content.ingest import Tally
from castore.content.overlay import overlay
from castore.content.reader import ObjectReader
from castore.content.sink import Batch
from castore.errors import CastoreError, InvalidInput, ObjectNotFound
from castore.model.artifact_set import Artifact, Content, ExternalContent
from castore.model.manifest import Manifest
from castore.model.names import check_artifact_name, check_branch, check_path
from castore.model.pages import EMPTY_FOLDER
from castore.store import secrets_found
from castore.store.assembly import (
    Assembly,
    Made,
    assemble,
    draft_manifest,
    on_top_of,
    pin_spec,
    sealed,
)
from castore.store.conformance import Conformance, guess_artifact
from castore.store.context import default_run
from castore.store.intent import AnyTip, Intent, kept_notices, resume_command
from castore.store.pinning import Pin
from castore.store.predecessor import Predecessor
from castore.store.publish import (
    Publication,
    Vanished,
    publish,
    publish_expecting,
    replayed,
    seal_partial,
    settle_identical,
)
from castore.store.refusals import moved, refusal
from castore.store.report import CommitReport
from castore.store.said import encode_said, said_sources
from castore.store.selectors import tip
from castore.store.sources import Used, doubts, parse_sources, use
from castore.store.stages import drop_stages, encode_header, encode_left, encode_staged
from castore.store.staging import Given, hint_of
from castore.store.store import Store
from castore.store.supply import Supply
from castore.store.version import Version


class Session:
    """One artifact set in the making; a context manager. One thread at a time adds to it.

    Leaving by an exception keeps what is staged, for `--resume`, and re-raises.
    """

    def __init__(
        self,
        store: Store,
        intent: Intent,
        *,
        progress: Callable[[int], None] | None = None,
        links: str = "refuse",
    ) -> None:
        check_branch(intent.branch)
        if not intent.context.run:
            run = default_run(store.now(), store.entropy)
            intent = replace(intent, context=replace(intent.context, run=run))
        self.store = store
        self.intent = intent
        self.report: CommitReport | None = None
        self._id = store.entropy(16)
        self._lock = threading.RLock()
        self._made: dict[str, Artifact] = {}
        self._titles: dict[str, str] = {}
        self._locations: dict[str, tuple[str, str]] = {}
        self._sources = list(parse_sources(store, intent.sources))
        self._warnings: list[str] = []
        self._stored = Tally()
        self._done = False
        self._left = False
        self._assembly: Assembly | None = None
        self._message = ""
        now = store.now()
        # Refuses what no version could say, before anything is stored.
        self._said = encode_said(intent, self._sources, now)
        header = encode_header(intent, now, os.getpid(), self._said)
        spec = intent.spec.spec.id if intent.spec else ""
        before = Predecessor(store, intent.branch, spec)
        self._guard = secrets_found.guard_for(store, intent.allow_secrets)
        self._supply = Supply(store, before, self._id, header, self._guard, progress, links)
        self._sink, self._ingestor = self._supply.sink, self._supply.ingestor
        if intent.resumed is not None:
            self._supply.resume(intent.resumed, intent.context.run)

    def __enter__(self) -> Self:
        return self

    def _check_open(self) -> None:
        if self.report is not None or self._left:
            raise InvalidInput("this session is over: begin another with store.session(…)")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left = True
        try:
            if not self._done and self._supply.leaves(self._made):
                self._sink.replace_header(self._left_header(error))
                self._supply.make_durable()
                if error is not None:
                    error.add_note(resume_command(self.intent, self.intent.context.run))
        except CastoreError:
            # What went wrong first is what is told.
            if error is None:
                raise
        finally:
            self._ingestor.close()

    def _left_header(self, error: BaseException | None) -> bytes:
        now = self.store.now()
        try:
            said = encode_said(self.intent, self._sources, now, self._message)
        except InvalidInput:
            # What no version could say, such as the message of a refused commit.
            said = self._said
        return encode_left(self.intent, now, said, error)

    def add(
        self,
        name: str,
        content: Given,
        *,
        path: str = "",
        type: str = "",
        format: str = "",
        title: str = "",
    ) -> Artifact:
        """Stage an artifact: a path (file or folder), bytes, a binary file, pieces, or a Staged.

        `path` is its place in the set; it, `type`, `format` and `title` default to what the spec
        declares, else to what the name suggests. Raises InvalidInput, InvalidName, StoreFull, and
        ObjectNotFound for staged content that has expired.
        """
        with self._lock:
            self._check_open()
            check_artifact_name(name)
            stored, head = self._supply.add(name, content)
            return self.stage(
                name,
                stored,
                path=path,
                type=type,
                format=format,
                title=title,
                hint=hint_of(content) or name,
                head=head,
            )

    def write(self, name: str, data: str | bytes, **declared: str) -> Artifact:
        """Stage text (as UTF-8) or bytes as an artifact; keywords as in `add`."""
        if not isinstance(data, (str, bytes)):
            raise InvalidInput(f"artifact {name!r}: write takes text or bytes, not {data!r:.60}")
        return self.add(name, data.encode() if isinstance(data, str) else data, **declared)

    def add_matching(self, name: str, base: Path, pattern: str) -> Artifact | None:
        """Stage the files below `base` that match a glob as one folder; None where none does."""
        with self._lock:
            content = self._supply.add_matching(name, base, pattern)
            if content is None or content.id == EMPTY_FOLDER:
                return None
            return self.stage(name, content)

    def add_external(
        self, name: str, uri: str, content: ExternalContent, etag: str = ""
    ) -> Artifact:
        """Record an artifact whose bytes live at `uri`, and the tag that the server gave them."""
        with self._lock:
            self._locations[name] = uri, etag
            return self.stage(name, content)

    def stage(
        self,
        name: str,
        content: Content,
        *,
        path: str = "",
        type: str = "",
        format: str = "",
        title: str = "",
        hint: str = "",
        head: bytes = b"",
    ) -> Artifact:
        """Make content that is stored already an artifact of this set."""
        self._check_open()
        declared = self.intent.spec.spec.get(name) if self.intent.spec else None
        if declared is not None:
            path, title = path or declared.place, title or declared.title
            type, format = type or declared.type, format or declared.format
        if not format or not type:
            guess = guess_artifact(content, hint or name, head)
            format, type = format or guess[0], type or guess[1]
        artifact = Artifact(name, type, format, check_path(path or name), content)
        if name in self._made:
            raise InvalidInput(f"artifact {name!r} was given twice")
        self._made[name] = artifact
        if title:
            self._titles[name] = title
        self._sink.stage_entry(name, encode_staged(artifact))
        self._supply.keep()
        return artifact

    def use(self, reference: str, *, artifact: str = "", pin: Pin | None = None) -> Used:
        """Record a source that is read through castore, and give its bytes; evidence is observed.

        `reference` is a version, an artifact of one or a URI, as for `sources`; `artifact` is the
        one that is made from it, the whole set by default. Raises RefNotFound, InvalidInput.
        """
        with self._lock:
            self._check_open()
            used = use(self.store, reference, artifact=artifact, pin=pin)
            self._sources.append(used.source)
            return used

    def warn(self, text: str) -> None:
        """Add a notice to the report of this commit."""
        self._warnings.append(text)

    def commit(
        self,
        message: str = "",
        *,
        expect: Version | AnyTip | None = AnyTip.TIP,
        if_changed: bool = False,
        partial: bool = False,
    ) -> Version:
        """Publish the set as the next version of its branch, all or nothing.

        Without `expect` the parent is whatever the tip is at that moment. With it (a version, or
        None for a new branch) a branch that is elsewhere raises RefMoved, and the version is kept
        under `lost/`. `if_changed` writes nothing when the parent has the same set; `partial`
        seals an incomplete set instead. Raises IncompleteSet with every fault; the incomplete set
        is then kept under `partial/<run>/<branch>`; SecretsFound, and then nothing is kept.
        """
        with self._lock:
            self._check_open()
            self._message = message
            earlier = replayed(self.store, self.intent.branch, self.intent.context.operation)
            if earlier is not None:
                self._done = True
                self._sink.discard()
                drop_stages(self.store, [taken.session for taken in self._supply.taken])
                self.report = CommitReport(earlier, replayed=True, written=False)
                return earlier
            written = sum(block.size for block in self._ingestor.pending().blocks)
            tally = self._ingestor.tally
            self._stored = replace(tally, stored_bytes=tally.stored_bytes + written)
            while True:
                if isinstance(expect, AnyTip):
                    parent = tip(self.store, self.intent.branch)
                else:
                    parent = expect
                try:
                    report = self._attempt(parent, message, expect, if_changed, partial)
                except (Vanished, ObjectNotFound) as error:
                    if isinstance(error, ObjectNotFound) and not self._supply.lost_support():
                        raise
                    self._ingestor.flush()
                    continue
                if report is not None:
                    self.report = report
                    return report.version

    def _attempt(
        self,
        parent: Version | None,
        message: str,
        expect: Version | AnyTip | None,
        if_changed: bool,
        partial: bool,
    ) -> CommitReport | None:
        pin = pin_spec(self.store, self._ingestor, self.intent)
        secrets_found.refuse(self._guard, self._sink.discard)
        batch = self._ingestor.pending()
        reader = self.store.reader
        if batch.blocks:
            reader = ObjectReader(overlay(batch, self.store.load))
        staged = Made(self._made, self._titles, self._locations, self._sources)
        assembly = assemble(self.store, reader, self.intent, staged, parent, self._assembly)
        self._assembly = assembly
        conformance = assembly.conformance
        identical = (
            parent is not None
            and parent.set_id == assembly.members.id
            and self.store.forgotten(parent) is None
        )
        draft = draft_manifest(
            self.store, self.intent, staged, assembly, pin, message, partial=partial
        )
        draft = secrets_found.on_record(self._guard, draft)
        publication = self._publication(draft, assembly, batch)
        if partial or not conformance.complete:
            version = seal_partial(
                self.store,
                replace(publication, build=lambda parent: sealed(draft, parent)),
                parent,
            )
            self._settle()
            if not partial:
                raise refusal(self.intent, version, conformance)
            return self._reported(version, conformance)
        if if_changed and identical and parent is not None and self._is_tip(parent):
            self._done = True
            self._sink.discard()
            if self.intent.resumed or self._supply.taken or publication.operation:
                settle_identical(self.store, publication, parent)
            return self._reported(parent, conformance, identical=True, written=False)
        if isinstance(expect, AnyTip):
            outcome = publish(self.store, publication, parent)
        else:
            outcome = publish_expecting(self.store, publication, parent)
        if outcome.version is None:
            return None
        self._settle()
        if outcome.lost:
            raise moved(outcome.version, outcome.tip, parent)
        return self._reported(
            outcome.version,
            conformance,
            identical=identical,
            replayed=outcome.replayed,
            written=not outcome.replayed,
        )

    def _is_tip(self, version: Version) -> bool:
        found = tip(self.store, self.intent.branch)
        return found is not None and found.id == version.id

    def _settle(self) -> None:
        """Take note that everything this session staged was written with its version."""
        self._done = True
        self._supply.settle()

    def _publication(self, draft: Manifest, assembly: Assembly, batch: Batch) -> Publication:
        resumed = self.intent.resumed
        return Publication(
            branch=self.intent.branch,
            members=assembly.members,
            build=lambda parent: on_top_of(draft, parent),
            by=draft.author,
            why=draft.message,
            sessions=(
                self._id,
                *(resumed.sessions if resumed else ()),
                *(taken.session for taken in self._supply.taken),
            ),
            taken=self._supply.kept_elsewhere(self._made.values()),
            operation=draft.operation,
            drop_partial=resumed.ref if resumed else None,
            along=self._supply.cache.put_few,
            batch=batch,
            began=self._sink.began,
            detail=secrets_found.detail(self._guard),
        )

    def _reported(
        self,
        version: Version,
        conformance: Conformance,
        *,
        identical: bool = False,
        replayed: bool = False,
        written: bool = True,
    ) -> CommitReport:
        tally = self._stored
        notices = list(kept_notices(self.intent, self._made, version.manifest.parents))
        notices += b.took_back.pop(version.id, ()) if (b := self.store.behind) else ()
        notices += doubts(self.store, said_sources(self.intent, self._sources))
        notices += secrets_found.allowed_notices(self._guard)
        return CommitReport(
            version=version,
            new_bytes=tally.new_bytes,
            known_bytes=tally.known_bytes,
            stored_bytes=tally.stored_bytes,
            files=tally.files,
            identical=identical,
            replayed=replayed,
            written=written,
            warnings=(*self._warnings, *notices, *self._ingestor.notices, *conformance.warnings),
        )
