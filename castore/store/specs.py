"""A spec file on disk: the parsed spec, its bytes, and the files its checks name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from castore.content.absent import unreadable
from castore.errors import InvalidInput, InvalidSpec
from castore.model.ids import Id, content_id
from castore.model.manifest import SpecPin
from castore.spec.contract import contract
from castore.spec.declaration import Spec
from castore.spec.parse import parse_spec

_SCHEMA_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec as read from `path`; `files` maps each file its checks name to its bytes."""

    path: Path
    spec: Spec
    text: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """The folder below which the artifacts' places lie."""
        return Path(os.path.normpath(self.path.parent / self.spec.base))

    def digests(self) -> dict[str, Id]:
        """The digest of each file that the checks name."""
        return {path: content_id(data) for path, data in self.files.items()}

    def pin(self, root: Path) -> SpecPin:
        """How a manifest pins this spec; the recorded path is relative to `root`."""
        digests = self.digests()
        return SpecPin(
            id=self.spec.id,
            version=self.spec.version,
            source=content_id(self.text),
            contract=contract(self.spec, digests),
            path=relative(self.path, root),
            files=tuple(sorted(digests.items())),
        )


def read_spec(path: Path) -> SpecFile:
    """The spec file at `path`; raises InvalidInput if unreadable, InvalidSpec with every fault."""
    path = path.absolute()
    text = _read(path, "spec")
    spec = parse_spec(text, str(path.name))
    files: dict[str, bytes] = {}
    faults = []
    for declared in spec.artifacts:
        name = declared.checks.schema
        if not name or name in files:
            continue
        try:
            files[name] = _read(path.parent / name, "schema")
        except InvalidInput as error:
            faults.append(
                {
                    "line": declared.line,
                    "column": 1,
                    "message": f"artifact {declared.name!r}: {error.message}",
                    "fix": f"create {name} next to {path.name}, or remove `schema:`",
                }
            )
    if faults:
        raise InvalidSpec(
            f"{path.name}:{faults[0]['line']}: {faults[0]['message']}",
            faults=faults,
            where=path.name,
            fix=str(faults[0]["fix"]),
        )
    return SpecFile(path, spec, text, files)


def only_spec(folder: Path) -> Path | None:
    """The one `*.spec.yaml` in `folder`, or None if there are none or several."""
    found = sorted(folder.glob("*.spec.yaml")) + sorted(folder.glob("*.spec.yml"))
    return found[0] if len(found) == 1 else None


def relative(path: Path, root: Path) -> str:
    """`path` as recorded: relative to `root`, with `/`."""
    return Path(os.path.relpath(path.absolute(), root)).as_posix()


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_SCHEMA_BYTES + 1)
    except OSError as error:
        raise unreadable(what, path, error) from None
    if len(data) > _SCHEMA_BYTES:
        raise InvalidInput(f"{what} {str(path)!r} is larger than {_SCHEMA_BYTES} bytes")
    return data
