"""Where an external artifact lives and what its bytes are, as a spec says it."""

from __future__ import annotations

import re
from typing import Final

from castore.model.ids import Id
from castore.model.limits import ID_BYTES, PATH_BYTES
from castore.spec import values
from castore.spec.faults import Faults, shown
from castore.spec.loader import Node

URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+\Z")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def read_uri(node: Node | None, faults: Faults) -> str:
    """The value of `uri:`, "" where there is none or a faulty one."""
    if node is None:
        return ""
    value = values.line_of_text(node, "uri", faults, PATH_BYTES)
    if value is not None and not URI.match(value):
        message = f"uri {shown(value)} has no scheme, or holds blanks"
        faults.add(node.line, node.column, message, "write it as s3://bucket/key or https://…")
    return value or ""


def read_digest(node: Node | None, storage: str, faults: Faults) -> Id:
    """The value of `digest:`, the BLAKE3 that the bytes must have, b"" where there is none."""
    if node is None:
        return b""
    text = values.line_of_text(node, "digest", faults, 2 * ID_BYTES)
    if text is None:
        return b""
    if storage != "external":
        message = "`digest:` is of an external artifact; others get theirs when they are committed"
        faults.add(node.line, node.column, message, "add `storage: external`, or remove `digest:`")
        return b""
    if not _DIGEST.fullmatch(text):
        message = f"digest {shown(text)} is not the 64 hex digits of a BLAKE3"
        faults.add(node.line, node.column, message, "write what `b3sum FILE` prints, in quotes")
        return b""
    return bytes.fromhex(text)
