"""A spec as values: what a set must hold, and which review it needs."""

from __future__ import annotations

from typing import Final

from castore.model.ids import Id
from castore.model.values import frozen, made

FORMATS: Final = (
    "markdown", "html", "json", "jsonl", "csv", "tsv", "yaml", "toml", "xml", "text", "python",
    "pdf", "png", "jpeg", "gif", "svg", "webp", "parquet", "arrow", "zip", "tar", "sqlite",
    "folder", "binary",
)  # fmt: skip
"""Every format that may be declared."""

TYPES: Final = (
    "document", "code", "dataset", "analysis", "test-result", "config", "page", "export", "image",
)  # fmt: skip
"""The types castore knows; any other word is allowed too."""

STORAGES: Final = ("stored", "external")

ENCODINGS: Final = ("utf-8", "ascii", "latin-1", "windows-1252", "utf-16")
"""Text encodings that `checks: {encoding: …}` may name."""

_WILDCARDS: Final = frozenset("*?[")


@frozen
class Checks:
    """What is checked beside the format; sizes in bytes, -1 and "" where nothing is asked."""

    schema: str = ""
    max_size: int = -1
    min_size: int = -1
    non_empty: bool = False
    encoding: str = ""


@frozen
class Declared:
    """One artifact as the spec declares it; `path` is as written, and the name where left out.

    `digest` is that of the bytes of an external one, where it is pinned.
    """

    name: str
    type: str
    format: str
    path: str
    title: str = ""
    required: bool = True
    storage: str = "stored"
    uri: str = ""
    digest: Id = b""
    checks: Checks = made(default_factory=Checks)
    line: int = 0
    column: int = 0

    @property
    def is_glob(self) -> bool:
        """Whether `path` was declared with wildcards: the artifact is the folder of the matches."""
        return self.path != self.name and has_wildcard(self.path)

    @property
    def place(self) -> str:
        """Where the artifact lies: the path, or the folders before the first wildcard of a glob.

        A glob without a folder before its wildcard lies under the artifact's name.
        """
        if not self.is_glob:
            return self.path
        folders: list[str] = []
        for component in self.path.split("/"):
            if has_wildcard(component):
                break
            folders.append(component)
        return "/".join(folders) or self.name


@frozen
class ReviewPolicy:
    """What counts as approved."""

    approvals: int = 1
    not_author: bool = False
    humans_only: bool = False
    reviewers: tuple[str, ...] = ()
    signed: bool = False
    forbid_dismiss: bool = False


@frozen
class Spec:
    """A parsed spec; `artifacts` in the order written, `store` as written ("" if it is not)."""

    id: str
    version: str
    description: str
    store: str
    base: str
    artifacts: tuple[Declared, ...]
    review: ReviewPolicy = made(default_factory=ReviewPolicy)

    def get(self, name: str) -> Declared | None:
        """The declared artifact of this name, or None."""
        return next((artifact for artifact in self.artifacts if artifact.name == name), None)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that checks name, as written, each once, sorted."""
        return tuple(sorted({a.checks.schema for a in self.artifacts if a.checks.schema}))


def has_wildcard(path: str) -> bool:
    """Whether a declared path holds `*`, `?` or `[`."""
    return not _WILDCARDS.isdisjoint(path)
