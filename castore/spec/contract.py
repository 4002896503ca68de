"""The contract of a spec: what it demands of a set, as one id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from castore.errors import InvalidInput
from castore.model.encoding import encode
from castore.model.ids import Id, contract_id
from castore.spec.declaration import Declared, Spec


def contract_payload(spec: Spec, files: Mapping[str, Id]) -> bytes:
    """The canonical encoding of the parsed spec, defaults filled in, artifacts sorted by name.

    Left out is what changes no demand on the bytes: store, base, description, titles, review.
    Each file that a check names stands as its digest from `files` (path as written → digest);
    raises InvalidInput when one is not there.
    """
    ordered = sorted(spec.artifacts, key=lambda artifact: artifact.name.encode())
    return encode(
        {
            "artifacts": [_artifact(artifact, files) for artifact in ordered],
            "spec": spec.id,
            "version": spec.version,
        }
    )


def contract(spec: Spec, files: Mapping[str, Id]) -> Id:
    """The id of the contract; equal for specs that differ in comments, order or store only."""
    return contract_id(contract_payload(spec, files))


def _artifact(artifact: Declared, files: Mapping[str, Id]) -> dict[str, Any]:
    checks = artifact.checks
    if checks.schema and checks.schema not in files:
        raise InvalidInput(
            f"artifact {artifact.name!r}: the schema file {checks.schema!r} was not given",
            fix=f"put {checks.schema} beside the spec, or remove `schema:`",
        )
    # Absent where it says nothing, so that contracts stay what they were.
    pinned = {"digest": artifact.digest} if artifact.digest else {}
    return {
        **pinned,
        "checks": {
            "encoding": checks.encoding,
            "max_size": checks.max_size,
            "min_size": checks.min_size,
            "non_empty": checks.non_empty,
            "schema": files[checks.schema] if checks.schema else b"",
        },
        "format": artifact.format,
        "name": artifact.name,
        "path": artifact.path,
        "required": artifact.required,
        "storage": artifact.storage,
        "type": artifact.type,
        "uri": artifact.uri,
    }
