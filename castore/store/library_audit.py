"""The library's verbs of audit: what was produced, in rows, in SQL, in the words of others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from castore.store import audit
from castore.store.catalogue import table
from castore.store.export_intoto import statement
from castore.store.export_openlineage import events
from castore.store.export_rocrate import crate, write_crate
from castore.store.memory import giving_back
from castore.store.reindex import ReindexReport, reindex
from castore.store.selectors import resolve_version
from castore.store.sql import Answer, sql, write_parquet
from castore.store.store import Store
from castore.store.version import Version


class AuditingStore(Store):
    """The verbs of audit and of what it rests on."""

    def audit(self, *, limit: int | None = None, **criteria: str) -> Iterator[Version]:
        """The versions that meet every criterion of `audit.Criteria`, newest first.

        Raises InvalidInput, RefNotFound, Ambiguous.
        """
        return audit.audit(self, audit.Criteria(**criteria), limit=limit)

    @giving_back
    def reindex(self, *, progress: Callable[[int], None] | None = None) -> ReindexReport:
        """Make every derived table again, in one transaction; raises CorruptObject, StoreFull."""
        return reindex(self, progress=progress)

    def sql(self, statement: str) -> Answer:
        """What a statement that reads the catalogue gives; needs DuckDB, of castore[sql].

        See `castore.store.sql.sql`. Raises InvalidInput, CastoreError.
        """
        return sql(self, statement)

    def catalogue(self, name: str = "versions") -> Iterator[dict[str, Any]]:
        """The rows of a table of `castore.store.catalogue`; raises InvalidInput."""
        return table(name).rows(self)

    def write_parquet(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write a table of the catalogue as a new Parquet file; raises WouldOverwrite."""
        write_parquet(self, name, Path(path))

    def statement(self, selector: str) -> str:
        """A version as an in-toto statement with SLSA provenance, in JSON; not signed."""
        return "".join(statement(self, resolve_version(self, selector)))

    def openlineage(self, selector: str) -> list[dict[str, Any]]:
        """The making of a version as OpenLineage events."""
        return events(self, resolve_version(self, selector))

    def ro_crate(
        self, selector: str, folder: str | os.PathLike[str] | None = None
    ) -> dict[str, Any]:
        """The metadata of a version as an RO-Crate 1.1; with `folder` that is made, files and all.

        Raises WouldOverwrite.
        """
        version = resolve_version(self, selector)
        return write_crate(self, version, Path(folder)) if folder else crate(self, version)
