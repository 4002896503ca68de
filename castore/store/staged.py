"""Staged: what a worker hands to the session that is to take what it made durable."""

from __future__ import annotations

from dataclasses import dataclass

from castore.model.artifact_set import Content
from castore.model.ids import Id


@dataclass(frozen=True, slots=True)
class Staged:
    """Content that is durable in one store, kept there until a session commits it; it pickles.

    `content` is what it is named by; `hint` the name of its file and `head` its first bytes, at
    most 512, where known, to guess its format by; `store` and `session` say where it is kept. In a
    bucket that is below `upload`, and `index` tells where: `rows` are its bytes, at most 4 KiB, or
    b"" if it lies there too; without `index` the bucket had all of it already.
    """

    store: bytes
    session: bytes
    content: Content
    hint: str = ""
    head: bytes = b""
    upload: bytes = b""
    index: Id = b""
    rows: bytes = b""
