"""Every exception castore raises, as one tree; each carries its exit code and a helpful command.

CastoreError            1
├─ InvalidInput         2    InvalidName InvalidSpec TypeMismatch CommandNotExecutable
├─ NotFound             3    StoreNotFound ObjectNotFound RefNotFound Ambiguous CommandNotFound
├─ Conflict             4    RefMoved TagExists WouldOverwrite RemoteMoved
├─ IncompleteSet        5    .missing .failed .faults
├─ SecretsFound         5    .faults: nothing was kept
├─ NotApproved          6    the gate said no
├─ CorruptObject        7    .id .where
├─ UnsupportedFormat    8
├─ RemoteError          9    RemoteUnavailable PermissionDenied OutcomeUnknown
└─ Unavailable          75   Locked StoreFull ForkedProcess: try again

CommandNotExecutable has the code 126 and CommandNotFound 127, as shells have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "Ambiguous",
    "CastoreError",
    "CommandNotExecutable",
    "CommandNotFound",
    "Conflict",
    "CorruptObject",
    "ForkedProcess",
    "IncompleteSet",
    "InvalidInput",
    "InvalidName",
    "InvalidSpec",
    "Locked",
    "NotApproved",
    "NotFound",
    "ObjectNotFound",
    "OutcomeUnknown",
    "PermissionDenied",
    "RefMoved",
    "RefNotFound",
    "RemoteError",
    "RemoteMoved",
    "RemoteUnavailable",
    "SecretsFound",
    "StoreFull",
    "StoreNotFound",
    "TagExists",
    "TypeMismatch",
    "Unavailable",
    "UnsupportedFormat",
    "WouldOverwrite",
]


FULL_CHECK = "cas fsck --full"


class CastoreError(Exception):
    """Base of every castore exception.

    `message` says what is wrong with which value and where; `fix` is a command
    or an edit that helps ("" if there is none); further keyword attributes go
    to the JSON form and must be JSON-ready (str, int, bool, None, lists, dicts).
    """

    code = 1
    retryable = False

    def __init__(self, message: str, *, fix: str = "", **attributes: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.attributes: dict[str, Any] = attributes

    def as_json(self) -> dict[str, Any]:
        """The error as `--json` prints it: error, message, fix, retryable and the attributes."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "fix": self.fix or None,
            "retryable": self.retryable,
            **self.attributes,
        }


class InvalidInput(CastoreError):
    """A value given by the caller cannot be used."""

    code = 2


class InvalidName(InvalidInput):
    """A branch, tag, artifact, run or path name breaks the rules for names."""


class InvalidSpec(InvalidInput):
    """A spec has faults; `faults` lists all of them as {line, column, message, fix}.

    `where` is the spec's file or another name for it.
    """

    def __init__(
        self,
        message: str,
        *,
        faults: Sequence[Mapping[str, Any]] = (),
        where: str = "",
        fix: str = "",
    ) -> None:
        super().__init__(message, fix=fix, where=where, faults=[dict(fault) for fault in faults])
        self.where = where
        self.faults: list[dict[str, Any]] = self.attributes["faults"]


class TypeMismatch(InvalidInput):
    """An object or artifact is of another kind than the operation needs."""


class CommandNotExecutable(InvalidInput):
    """The command to run is there and cannot be run; the code is the one of shells."""

    code = 126


class NotFound(CastoreError):
    """Something named by the caller does not exist."""

    code = 3


class StoreNotFound(NotFound):
    """There is no store at the place given, or in any folder above."""


class ObjectNotFound(NotFound):
    """No object has this id in this store."""


class RefNotFound(NotFound):
    """No branch, tag or version answers to this selector."""


class Ambiguous(NotFound):
    """A selector answers to several things; `candidates` lists them."""

    def __init__(self, message: str, *, candidates: Sequence[str] = (), fix: str = "") -> None:
        super().__init__(message, fix=fix, candidates=list(candidates))
        self.candidates: list[str] = self.attributes["candidates"]


class CommandNotFound(NotFound):
    """There is no command of this name to run; the code is the one of shells."""

    code = 127


class Conflict(CastoreError):
    """The state changed, or something is already there."""

    code = 4


class RefMoved(Conflict):
    """A ref is not where the caller expected it."""


class TagExists(Conflict):
    """A tag of this name exists or once existed: tags are never reused."""


class WouldOverwrite(Conflict):
    """Writing here would overwrite files that are not castore's."""


class RemoteMoved(Conflict):
    """The remote changed since it was read."""


class IncompleteSet(CastoreError):
    """The set does not answer to its spec; `faults` lists {artifact, check, detail, line}."""

    code = 5

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        failed: Sequence[str] = (),
        faults: Sequence[Mapping[str, Any]] = (),
        fix: str = "",
        **attributes: Any,
    ) -> None:
        super().__init__(
            message,
            fix=fix,
            missing=list(missing),
            failed=list(failed),
            faults=[dict(fault) for fault in faults],
            **attributes,
        )
        self.missing: list[str] = self.attributes["missing"]
        self.failed: list[str] = self.attributes["failed"]
        self.faults: list[dict[str, Any]] = self.attributes["faults"]


class SecretsFound(CastoreError):
    """What was to be stored holds secrets; `faults` lists {artifact, check, detail, line, …}.

    Each has `rule`, `file` and `offset` beside; none holds the secret itself.
    """

    code = 5

    def __init__(
        self, message: str, *, faults: Sequence[Mapping[str, Any]] = (), fix: str = ""
    ) -> None:
        super().__init__(message, fix=fix, faults=[dict(fault) for fault in faults])
        self.faults: list[dict[str, Any]] = self.attributes["faults"]


class NotApproved(CastoreError):
    """A gate or a review policy says no."""

    code = 6


class CorruptObject(CastoreError):
    """Stored bytes are not what their id or the format says; `id` is hex, `where` a place."""

    code = 7

    def __init__(self, message: str, *, id: str = "", where: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix or FULL_CHECK, id=id, where=where)
        self.id = id
        self.where = where


class UnsupportedFormat(CastoreError):
    """Written by a newer castore, or by something else."""

    code = 8

    def __init__(self, message: str, *, fix: str = "upgrade castore", **attributes: Any) -> None:
        super().__init__(message, fix=fix, **attributes)


class RemoteError(CastoreError):
    """A remote failed."""

    code = 9


class RemoteUnavailable(RemoteError):
    """A remote cannot be reached now."""

    retryable = True


class PermissionDenied(RemoteError):
    """A remote refuses these credentials."""


class OutcomeUnknown(RemoteError):
    """A remote operation may or may not have landed; the message says how to find out."""


class Unavailable(CastoreError):
    """The store cannot serve now; nothing was lost: try again."""

    code = 75
    retryable = True


class Locked(Unavailable):
    """Another process holds the store in a way that excludes this operation."""


class StoreFull(Unavailable):
    """The disk, the quota or the address space has no room for this write."""


class ForkedProcess(Unavailable):
    """A store opened before a fork was used in the child: open it again there."""

    retryable = False
