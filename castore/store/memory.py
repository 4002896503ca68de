"""Free memory goes back to the system after long work: long-lived processes stay small."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def giving_back(work: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Work that gives the memory it freed back to the system, however it ends.

    glibc keeps what is freed below something that is still in use; a process that checks or
    collects a store again and again would grow to several times what it needs.
    """

    @functools.wraps(work)
    def worked(*given: _Given.args, **named: _Given.kwargs) -> _Result:
        try:
            return work(*given, **named)
        finally:
            _trim()

    return worked


def _trim() -> None:
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
