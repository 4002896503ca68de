"""What programs give as an artifact, and how it becomes content."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import BinaryIO, TypeAlias

from castore.content.ingest import Ingestor
from castore.errors import InvalidInput
from castore.model.artifact_set import Content

Given: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Iterable[bytes]
"""A path to a file or folder, bytes, a binary file object, or pieces of bytes."""


def store_given(ingestor: Ingestor, given: Given, links: str) -> tuple[Content, bytes]:
    """The stored content, and the first bytes where they are at hand, for guessing."""
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        if os.path.isdir(path):
            return ingestor.add_folder(path, links=links), b""
        return ingestor.add_path(path), b""
    if isinstance(given, (bytes, bytearray, memoryview)):
        data = bytes(given)
        return ingestor.add_bytes(data), data[:512]
    if isinstance(given, io.TextIOBase):  # type: ignore[unreachable]
        raise InvalidInput("a text file object was given; open it in binary mode")
    read = getattr(given, "read", None)
    if callable(read):
        return ingestor.add_stream(iter(lambda: read(1 << 20), b"")), b""
    if isinstance(given, (dict, set)) or not isinstance(given, Iterable):
        raise InvalidInput(
            f"{given!r:.60} cannot be stored: give a path, bytes, a binary file or pieces"
        )
    return ingestor.add_stream(given), b""
