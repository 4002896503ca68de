"""A manifest: one immutable version, tying a set to its spec, parents, maker, run and sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from castore.errors import CorruptObject, InvalidName
from castore.model.encoding import decode, encode
from castore.model.fields import (
    Fields,
    MetaValue,
    by_bytes,
    plain,
    read_id,
    read_row,
    read_text,
    storable,
)
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import (
    ID_BYTES,
    MANIFEST_BYTES,
    NAME_BYTES,
    PARENTS,
    SET_ARTIFACTS,
    TEXT_BYTES,
)
from castore.model.names import check_branch
from castore.model.values import frozen, made

COMPLETE: Final = "complete"
PARTIAL: Final = "partial"
RESULTS: Final = ("passed", "failed", "skipped")
EVIDENCE: Final = ("claimed", "observed")
_KEYS: Final = (
    "agent", "at", "attachments", "author", "branch", "carried", "checks", "ext", "failed",
    "folder", "locations", "message", "meta", "missing", "number", "operation", "parents", "run",
    "set", "sources", "spec", "state", "titles", "trace", "workspace",
)  # fmt: skip
_SOURCE_KEYS: Final = (
    "artifact", "digest", "evidence", "label", "pinned", "selector", "size", "target",
    "target_artifact", "uri",
)  # fmt: skip
_LIST_LIMIT: Final = 16 * SET_ARTIFACTS


@frozen
class Agent:
    """Who made the outputs, as claimed: "" for unknown."""

    id: str = ""
    version: str = ""


@frozen
class SpecPin:
    """The spec a version was made under, pinned by digests; without a spec only `id` is set.

    `source` is the digest of the YAML as committed, `files` the files its checks name, `contract`
    the id of what the spec demands (`castore.spec.contract`), `path` where the YAML lay.
    """

    id: str
    version: str = ""
    source: Id = b""
    contract: Id = b""
    path: str = ""
    files: tuple[tuple[str, Id], ...] = ()

    @property
    def known(self) -> bool:
        """Whether there was a spec: without one `id` is the branch, and nothing is demanded."""
        return bool(self.version or self.source or self.contract)


@frozen
class Source:
    """One input of a version, or of one of its artifacts (`artifact`, "" for the whole set)."""

    artifact: str = ""
    target: Id = b""
    target_artifact: str = ""
    selector: str = ""
    label: str = ""
    uri: str = ""
    digest: Id = b""
    size: int = -1
    pinned: bool = False
    evidence: str = "claimed"


@frozen
class CheckResult:
    """The outcome of one check of one artifact; `detail` says where and why."""

    artifact: str
    check: str
    result: str
    detail: str = ""


@frozen
class Manifest:
    """One version. Times are microseconds UTC; unknown text is ""; lists are in stored order."""

    set: Id
    spec: SpecPin
    branch: str
    at: int
    number: int = 1
    parents: tuple[Id, ...] = ()
    state: str = COMPLETE
    agent: Agent = Agent()
    author: str = ""
    run: str = ""
    trace: str = ""
    workspace: str = ""
    operation: str = ""
    folder: str = ""
    message: str = ""
    sources: tuple[Source, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    carried: tuple[tuple[str, Id], ...] = ()
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    titles: Mapping[str, str] = made(default_factory=dict)
    locations: tuple[tuple[str, str, str], ...] = ()
    attachments: tuple[tuple[str, Id, int], ...] = ()
    meta: Mapping[str, MetaValue] = made(default_factory=dict)
    ext: Mapping[str, bytes] = made(default_factory=dict)

    @property
    def id(self) -> Id:
        """The version id."""
        return object_id(Kind.MANIFEST, encode_manifest(self))

    @property
    def complete(self) -> bool:
        """Whether every required artifact is there and no check failed."""
        return self.state == COMPLETE


def encode_manifest(value: Manifest) -> bytes:
    """The canonical bytes of a manifest, lists put into stored order.

    Raises InvalidInput for one that `decode_manifest` would refuse.
    """
    spec = value.spec
    payload = encode(
        {
            "agent": {"id": value.agent.id, "version": value.agent.version},
            "at": value.at,
            "attachments": by_bytes(list(row) for row in value.attachments),
            "author": value.author,
            "branch": value.branch,
            "carried": by_bytes(list(row) for row in value.carried),
            "checks": by_bytes([c.artifact, c.check, c.result, c.detail] for c in value.checks),
            "ext": plain(value.ext),
            "failed": by_bytes(value.failed),
            "folder": value.folder,
            "locations": by_bytes(list(row) for row in value.locations),
            "message": value.message,
            "meta": plain(value.meta),
            "missing": by_bytes(value.missing),
            "number": value.number,
            "operation": value.operation,
            "parents": list(value.parents),
            "run": value.run,
            "set": value.set,
            "sources": by_bytes(_source_map(source) for source in value.sources),
            "spec": {
                "contract": spec.contract,
                "files": by_bytes(list(row) for row in spec.files),
                "id": spec.id,
                "path": spec.path,
                "source": spec.source,
                "version": spec.version,
            },
            "state": value.state,
            "titles": plain(value.titles),
            "trace": value.trace,
            "workspace": value.workspace,
        }
    )
    return storable(payload, decode_manifest)


def decode_manifest(payload: bytes) -> Manifest:
    """The manifest encoded by `payload`; raises CorruptObject unless it is well-formed."""
    fields = Fields(decode(payload, limit=MANIFEST_BYTES, what="manifest"), "manifest", _KEYS)
    agent = Fields(fields.raw("agent"), "manifest: agent", ("id", "version"))
    manifest = Manifest(
        set=fields.id("set"),
        spec=_read_spec(fields.raw("spec")),
        branch=_read_name(fields, "branch"),
        at=fields.integer("at", 0),
        number=fields.integer("number", 1),
        parents=fields.items("parents", read_id, PARENTS, sort=False),
        state=fields.choice("state", (COMPLETE, PARTIAL)),
        agent=Agent(agent.text("id"), agent.text("version")),
        author=fields.text("author"),
        run=fields.text("run", NAME_BYTES),
        trace=fields.text("trace"),
        workspace=fields.text("workspace"),
        operation=fields.text("operation"),
        folder=fields.text("folder"),
        message=fields.text("message"),
        sources=fields.items("sources", _read_source, _LIST_LIMIT),
        checks=fields.items("checks", _read_check, _LIST_LIMIT),
        carried=fields.items("carried", _read_named_id, SET_ARTIFACTS),
        missing=fields.items("missing", read_text, SET_ARTIFACTS),
        failed=fields.items("failed", read_text, SET_ARTIFACTS),
        titles=_read_titles(fields),
        locations=fields.items("locations", _read_location, SET_ARTIFACTS),
        attachments=fields.items("attachments", _read_attachment, SET_ARTIFACTS),
        meta=fields.meta(),
        ext=fields.ext(),
    )
    _check_consistent(manifest)
    return manifest


def _check_consistent(value: Manifest) -> None:
    for key, rows in (
        ("attachments", value.attachments),
        ("carried", value.carried),
        ("spec: files", value.spec.files),
    ):
        if len(rows) > 1 and len({row[0] for row in rows}) != len(rows):
            raise CorruptObject(f"manifest: {key}: a name stands twice")
    if len(value.parents) > 1 and len(set(value.parents)) != len(value.parents):
        raise CorruptObject("manifest: parents: a parent stands twice")
    if not value.parents and value.number != 1:
        raise CorruptObject("manifest: number: a first version must have number 1")
    if value.parents and value.number < 2:
        raise CorruptObject("manifest: number: a later version must have a number above 1")
    if value.state == COMPLETE and (
        value.missing or value.failed or any(check.result == "failed" for check in value.checks)
    ):
        raise CorruptObject("manifest: state: complete, with missing or failed artifacts or checks")


def _source_map(source: Source) -> dict[str, Any]:
    return {key: getattr(source, key) for key in _SOURCE_KEYS}


def _read_name(fields: Fields, key: str) -> str:
    try:
        return check_branch(fields.text(key, NAME_BYTES), key)
    except InvalidName as error:
        raise fields.fail(key, error.message) from None


def _read_titles(fields: Fields) -> dict[str, str]:
    titles = fields.raw("titles")
    if type(titles) is not dict or len(titles) > SET_ARTIFACTS:
        raise fields.fail("titles", f"not a map of at most {SET_ARTIFACTS} titles")
    for name, title in titles.items():
        if type(title) is not str or len(title.encode()) > TEXT_BYTES:
            raise fields.fail("titles", f"{name[:40]!r}: not text of at most {TEXT_BYTES} bytes")
    return titles


def _read_spec(value: Any) -> SpecPin:
    fields = Fields(
        value, "manifest: spec", ("contract", "files", "id", "path", "source", "version")
    )
    return SpecPin(
        id=_read_name(fields, "id"),
        version=fields.text("version"),
        source=fields.id_or_empty("source"),
        contract=fields.id_or_empty("contract"),
        path=fields.text("path"),
        files=fields.items("files", _read_named_id, SET_ARTIFACTS),
    )


def _read_source(value: Any, what: str) -> Source:
    fields = Fields(value, what, _SOURCE_KEYS)
    return Source(
        artifact=fields.text("artifact"),
        target=fields.id_or_empty("target"),
        target_artifact=fields.text("target_artifact"),
        selector=fields.text("selector"),
        label=fields.text("label"),
        uri=fields.text("uri"),
        digest=fields.id_or_empty("digest"),
        size=fields.integer("size", -1),
        pinned=fields.flag("pinned"),
        evidence=fields.choice("evidence", EVIDENCE),
    )


def _read_check(value: Any, what: str) -> CheckResult:
    artifact, check, result, detail = read_row(value, what, str, str, str, str)
    if result not in RESULTS:
        raise CorruptObject(f"{what}: unknown result {result[:40]!r}")
    return CheckResult(artifact, check, result, detail)


def _read_named_id(value: Any, what: str) -> tuple[str, Id]:
    name, id = read_row(value, what, str, bytes)
    return name, read_id(id, what)


def _read_location(value: Any, what: str) -> tuple[str, str, str]:
    artifact, uri, etag = read_row(value, what, str, str, str)
    return artifact, uri, etag


def _read_attachment(value: Any, what: str) -> tuple[str, Id, int]:
    name, digest, size = read_row(value, what, str, bytes, int)
    if len(digest) != ID_BYTES or size < 0:
        raise CorruptObject(f"{what}: impossible digest or size")
    return name, digest, size
