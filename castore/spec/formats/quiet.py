"""Warnings that libraries raise while they read an artifact are not the caller's."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ARTIFACT_FILE: Final = "<castore artifact>"
"""What the compiler is told the artifact's file is called."""

_LOCK: Final = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings raised in Pillow or about ARTIFACT_FILE, and no others.

    Filters are process-wide and `catch_warnings` is not thread-safe: a lock keeps our own threads
    apart, and filters this narrow are harmless if another library's interleave with ours.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.filterwarnings("ignore", module=ARTIFACT_FILE)
        yield
