"""Stages: what unfinished sessions left in the store, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from castore.database.writing import Writing
from castore.errors import CastoreError, CorruptObject
from castore.model.artifact_set import Artifact, ArtifactSet, decode_set, encode_set
from castore.model.encoding import decode, encode
from castore.model.fields import Fields
from castore.model.ids import content_id
from castore.model.limits import MANIFEST_BYTES
from castore.store.intent import UNKNOWN_RUN, Intent, resume_command
from castore.store.store import Store

FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
_HEADER_BYTES: Final = MANIFEST_BYTES + (64 << 10)
_KEYS: Final = (
    "at", "author", "boot", "branch", "command", "ended", "pid", "pids", "run", "said", "started",
    "why",
)  # fmt: skip
# What headers of before had no word for.
_LATER: Final[Mapping[str, object]] = {"ended": "", "pids": 0, "said": b"", "why": ""}
_WHY_BYTES: Final = 1_000
# Headers of before have none.
_CHECK: Final = "check"
_CHECK_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class StageHeader:
    """Whose stage it is: run and branch, the process that fills it, the command to go on with.

    Without a branch it is content that a worker staged, for whichever session takes it. `said` is
    what the session said of itself (`store/said.py`). `ended` is how it was left, `failed` by the
    error that `why` tells or `interrupted`; "" for one that never was, such as a killed one. `pid`
    has its meaning among the processes of `pids`, a namespace such as a container has; 0: unknown.
    """

    run: str
    branch: str
    author: str
    command: str
    at: int
    pid: int
    boot: str
    started: str
    said: bytes = b""
    ended: str = ""
    why: str = ""
    pids: int = 0

    @property
    def alive(self) -> bool:
        """Whether the process that fills it still runs on this machine, or may run unseen."""
        if not self.pid or self.boot != _boot():
            return False
        return self.unseen or self.started == _started(self.pid)

    @property
    def unseen(self) -> bool:
        """Whether it is of a process of another container: nobody here can tell if that ended."""
        own = _pids()
        return bool(self.pid and self.pids and own) and self.pids != own and self.boot == _boot()

    def lapsed(self, before: int) -> bool:
        """Whether it may be given up: begun before a moment, and not known to be worked on."""
        return self.at < before and (self.unseen or not self.alive)


@dataclass(frozen=True, slots=True)
class StagedSession:
    """One stage: its session id, header, and the artifacts whose content is still stored."""

    id: bytes
    header: StageHeader
    artifacts: dict[str, Artifact]


def encode_header(intent: Intent, at: int, pid: int, said: bytes = b"") -> bytes:
    """The stage header of a session that process `pid` fills."""
    return _encode(_header(intent, at, pid, said))


def encode_left(intent: Intent, at: int, said: bytes, error: BaseException | None) -> bytes:
    """The stage header of a session that was left without a version, by an error or so."""
    failed = isinstance(error, Exception)
    why = f"{error}" if isinstance(error, CastoreError) else f"{type(error).__name__}: {error}"
    data = why.encode("utf-8", "backslashreplace")[:_WHY_BYTES]
    return _encode(
        replace(
            _header(intent, at, 0, said),
            ended=FAILED if failed else INTERRUPTED,
            why=data.decode("utf-8", "ignore") if failed else "",
        )
    )


def worker_header(at: int, pid: int) -> bytes:
    """The header of content that process `pid` stages for a session elsewhere: of no branch."""
    return _encode(StageHeader("", "", "", "", at, pid, _boot(), _started(pid), pids=_pids()))


def _header(intent: Intent, at: int, pid: int, said: bytes) -> StageHeader:
    run = intent.context.run or UNKNOWN_RUN
    command = resume_command(intent, run)
    started = _started(pid) if pid else ""
    author = intent.context.author
    return StageHeader(
        run, intent.branch, author, command, at, pid, _boot(), started, said, pids=_pids()
    )


def _encode(header: StageHeader) -> bytes:
    fields = {key: getattr(header, key) for key in _KEYS}
    return encode({**fields, _CHECK: _check_of(fields)})


def _check_of(fields: Mapping[str, object]) -> bytes:
    """What tells a flipped bit: no object vouches for a header."""
    return content_id(encode(dict(fields)))[:_CHECK_BYTES]


def decode_header(payload: bytes) -> StageHeader:
    """The header encoded by `payload`; raises CorruptObject."""
    what = "stage header"
    found = decode(payload, limit=_HEADER_BYTES, what=what)
    if isinstance(found, dict):
        check = found.pop(_CHECK, None)
        if check is not None and check != _check_of(found):
            raise CorruptObject(f"{what}: its check does not match", where="stage")
        found = {**_LATER, **found}
    fields = Fields(found, what, _KEYS)
    said = fields.raw("said")
    if type(said) is not bytes:
        raise fields.fail("said", "not bytes")
    return StageHeader(
        run=fields.text("run"),
        branch=fields.text("branch"),
        author=fields.text("author"),
        command=fields.text("command"),
        at=fields.integer("at", 0),
        pid=fields.integer("pid", 0),
        boot=fields.text("boot"),
        started=fields.text("started"),
        said=said,
        ended=fields.choice("ended", ("", FAILED, INTERRUPTED)),
        why=fields.text("why"),
        pids=fields.integer("pids", 0),
    )


def encode_staged(artifact: Artifact) -> bytes:
    """A staged artifact: encoded as a set of this one artifact."""
    return encode_set(ArtifactSet((artifact,)))


def decode_staged(payload: bytes) -> Artifact:
    """The staged artifact encoded by `payload`; raises CorruptObject."""
    artifacts = decode_set(payload).artifacts
    if len(artifacts) != 1:
        raise CorruptObject("stage: an entry must hold one artifact")
    return artifacts[0]


def _boot() -> str:
    """What tells this boot of this machine from others, "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pids() -> int:
    """What tells the namespace in which this process has its number, 0 where there is none."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _started(pid: int) -> str:
    """When process `pid` started, in clock ticks, so that a reused number is told apart."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "" if not _exists(pid) else "running"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def staged_sessions(store: Store) -> list[StagedSession]:
    """Every stage in the store, oldest first."""
    rows = store.database.read(
        lambda tables: [
            (stage.session, stage.header, tables.staged_entries(stage.session))
            for stage in tables.stages()
        ]
    )
    found = []
    for session, header, entries in rows:
        artifacts = {name: decode_staged(payload) for name, payload in entries.items()}
        found.append(StagedSession(session, decode_header(header), artifacts))
    return sorted(found, key=lambda stage: (stage.header.at, stage.id))


def drop_stages(store: Store, sessions: Sequence[bytes]) -> None:
    """End these sessions; what nothing else holds is left to the collector."""

    def transact(tables: Writing) -> None:
        for session in sessions:
            tables.drop_stage(session)

    if sessions:
        store.database.write(transact)
