"""What a commit did, as it is told to people and programs."""

from __future__ import annotations

from dataclasses import dataclass

from castore.store.version import Version


@dataclass(frozen=True, slots=True)
class CommitReport:
    """What a commit did: the version, bytes of its content that were new and known, and notices.

    `stored_bytes` is what the store took for the new ones; `identical` says that the parent has
    the same set, `replayed` that an earlier commit with this operation id was given back;
    `written` is false when `version` was there before.
    """

    version: Version
    new_bytes: int = 0
    known_bytes: int = 0
    stored_bytes: int = 0
    files: int = 0
    identical: bool = False
    replayed: bool = False
    written: bool = True
    warnings: tuple[str, ...] = ()
