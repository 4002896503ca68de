"""A first spec for files that are already there: YAML text to edit."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from castore.errors import InvalidInput
from castore.model.names import check_artifact_name, check_branch, check_path
from castore.spec.declaration import has_wildcard
from castore.spec.guess import guess_format

Found = tuple[str, str, bytes | None, bool]
"""An entry: artifact name, path below the base, first bytes (None: not read), is it a folder."""

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9._/ -]*[A-Za-z0-9._/-]\Z|[A-Za-z]\Z")
_WORDS: Final = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


def draft_spec(spec_id: str, entries: Sequence[Found]) -> str:
    """YAML that parse_spec accepts: one artifact for each entry, type and format guessed.

    Raises InvalidName for an id, name or path that cannot be declared, InvalidInput without
    entries or for a path with wildcards that is not simply the artifact's name.
    """
    if not entries:
        raise InvalidInput("no files to declare", fix="name a folder that holds some")
    check_branch(spec_id, "spec")
    lines = [
        f"spec: {_scalar(spec_id)}",
        'version: "1"',
        "store: .cas",
        "artifacts:",
    ]
    for name, path, sample, is_folder in entries:
        lines += _artifact(name, path, sample, is_folder)
    return "\n".join(lines) + "\n"


def _artifact(name: str, path: str, sample: bytes | None, is_folder: bool) -> list[str]:
    check_artifact_name(name)
    check_path(path)
    if has_wildcard(path) and path != name:
        raise InvalidInput(
            f"path {path!r}: would be read as a glob",
            fix="declare the folder that holds it, or rename it",
        )
    format, type = guess_format(path + "/" if is_folder else path, sample or b"")
    lines = [f"  - name: {_scalar(name)}", f"    type: {type}", f"    format: {format}"]
    if path != name:
        lines.append(f"    path: {_scalar(path)}")
    return lines


def _scalar(text: str) -> str:
    """Plain where YAML and people read the same, else in double quotes."""
    if _PLAIN.match(text) and text.casefold() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
