"""The library: an open store with every verb as a method, for programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from castore.content.trees import look_up
from castore.database.environment import Database
from castore.errors import InvalidInput, RefNotFound, TypeMismatch
from castore.model.artifact_set import ExternalContent, FileContent
from castore.model.fields import MetaValue
from castore.model.ids import Id
from castore.model.names import check_branch
from castore.model.pages import FILE
from castore.store import branches, history, partials, records, tags
from castore.store.commit import CommitRequest, commit
from castore.store.context import Context, parse_agent
from castore.store.intent import Intent
from castore.store.opening import clock, find_store, init_store
from castore.store.selectors import Resolved, resolve
from castore.store.session import CommitReport, Session
from castore.store.specs import read_spec
from castore.store.store import Store as OpenStore
from castore.store.version import Version


class Store(OpenStore):
    """An open store: commit, read, and ask for history; safe to share between threads.

    Selectors are as on the command line: `name`, `name@v3`, `name~1`, `name:artifact/path`.
    """

    def session(
        self,
        name: str = "",
        *,
        spec: str | os.PathLike[str] | None = None,
        agent: str = "",
        author: str = "",
        run: str = "",
        sources: Sequence[str] = (),
        only: Sequence[str] = (),
        meta: Mapping[str, MetaValue] | None = None,
        context: Context | None = None,
        resume: str = "",
        links: str = "refuse",
        progress: Callable[[int], None] | None = None,
    ) -> Session:
        """Begin one atomic set on branch `name`, which defaults to the id of `spec`.

        `context` is what the surroundings tell (`Context.from_environ`); `agent` ("name@version"),
        `author` and `run` win over it. `resume` goes on with the incomplete set of that run.
        Raises InvalidInput, InvalidSpec, RefNotFound.
        """
        spec_file = read_spec(Path(spec)) if spec is not None else None
        branch = name or (spec_file.spec.id if spec_file else "")
        if not branch:
            raise InvalidInput("a session needs a name or a spec")
        known = context or Context()
        known = replace(
            known,
            agent=parse_agent(agent) if agent else known.agent,
            author=author or known.author,
            run=resume or run or known.run,
        )
        intent = Intent(
            branch=check_branch(branch),
            spec=spec_file,
            context=known,
            sources=tuple(sources),
            meta=dict(meta or {}),
            only=tuple(only),
            resumed=partials.resume(self, resume, branch) if resume else None,
        )
        return Session(self, intent, progress=progress, links=links)

    def commit(self, *paths: str, **options: Any) -> CommitReport:
        """Commit files and folders in one call; options are the fields of `CommitRequest`.

        Relative paths start at the working folder unless `cwd` is given.
        """
        cwd = Path(options.pop("cwd", ".")).absolute()
        spec = options.pop("spec", None)
        request = CommitRequest(
            cwd=cwd, paths=paths, spec=Path(spec) if spec is not None else None, **options
        )
        return commit(self, request)

    def resolve(self, selector: str) -> Resolved:
        """The version, and artifact if it names one, that a selector means."""
        return resolve(self, selector)

    def log(self, rev: str = "", *, limit: int | None = None, **filters: str) -> Iterator[Version]:
        """Versions newest first, of `rev` or of all branches; filters as in `history.Filter`."""
        return history.log(self, rev, limit=limit, only=history.Filter(**filters))

    def open(self, selector: str) -> BinaryIO:
        """The file that `name:artifact` or `name:folder/path` means, as a seekable verified stream.

        Raises TypeMismatch for a folder, RefNotFound, CorruptObject.
        """
        digest, size = self._file(selector)
        return self.reader.open(digest, size)

    def read_bytes(self, selector: str) -> bytes:
        """All bytes of one file; compared with its digest as a whole."""
        digest, size = self._file(selector)
        return b"".join(self.reader.stream(digest, size))

    def record(self, version: Version, *, artifacts: bool = True) -> dict[str, Any]:
        """A version as `--json` prints it."""
        return records.version_record(self, version, artifacts=artifacts)

    def branches(self) -> list[Version]:
        """The tip of every branch."""
        return branches.list_branches(self)

    def tag(self, name: str, selector: str, *, by: str = "") -> Version:
        """Name a version for ever, and give it back; raises TagExists."""
        version = self.resolve(selector).version
        tags.create_tag(self, name, version, by=by)
        return version

    def tags(self) -> list[tuple[str, Version]]:
        """Every tag and its version."""
        return tags.list_tags(self)

    def partials(self) -> list[partials.Partial]:
        """Every incomplete set that can be resumed or discarded."""
        return partials.list_partials(self)

    def _file(self, selector: str) -> tuple[Id, int]:
        resolved = resolve(self, selector)
        artifact = resolved.artifact
        if artifact is None:
            raise InvalidInput(f"{selector!r} names a version; name an artifact: NAME:ARTIFACT")
        content = artifact.content
        if isinstance(content, ExternalContent):
            raise TypeMismatch(f"{selector!r} is external: its bytes are not in this store")
        if isinstance(content, FileContent):
            if resolved.path:
                raise RefNotFound(f"{selector!r}: {artifact.name!r} is a file, not a folder")
            return content.digest, content.size
        if not resolved.path:
            raise TypeMismatch(f"{selector!r} is a folder; name a file in it", fix="cas ls …")
        entry = look_up(self.reader.tree_page, content.id, resolved.path)
        if entry is None:
            raise RefNotFound(f"{artifact.name!r} holds no {resolved.path!r}")
        if entry.kind != FILE:
            raise TypeMismatch(f"{selector!r} is a folder; name a file in it")
        return entry.id, entry.size


def open(
    where: str | os.PathLike[str] = ".",
    *,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Store:
    """Open the store at `where`: a `.cas` folder, or a folder to walk up from.

    Raises StoreNotFound, CorruptObject, UnsupportedFormat, InvalidInput for a URL.
    """
    return Store(Database.open(find_store(Path(where))), now=now, entropy=entropy)


def init(
    folder: str | os.PathLike[str] = ".",
    *,
    now: Callable[[], int] = clock,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Store:
    """Make the store `folder/.cas` if it is not there yet, and open it."""
    made, _ = init_store(Path(folder), now=now, entropy=entropy)
    return Store(made.database, now=now, entropy=entropy)
