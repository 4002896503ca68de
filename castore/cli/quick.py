"""Quick ends of a run: what a short-lived process leaves out when it starts and when it ends."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from importlib import import_module
from types import ModuleType
from typing import Any, Final

DEFERRED: Final = ("inspect", "ipaddress")
"""Standard modules that others import for a function or two, seldom called."""

# A command makes some 50,000 objects before its first line, nearly all of them to stay.
_YOUNG: Final = 50_000
_LOCK: Final = threading.RLock()


class Later(ModuleType):
    """Stands for a standard module until something of it is used; safe for threads."""

    def cleandoc(self, doc: str) -> str:
        """As `inspect` does it, which click asks to for the help text of every option."""
        return str(self._loaded().cleandoc(doc)) if "\n" in doc else doc.expandtabs().lstrip()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._loaded(), name)

    def _loaded(self) -> ModuleType:
        with _LOCK:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
            return import_module(self.__name__)


def begin() -> None:
    """Make this process start as one that will soon end; called before click is imported.

    `inspect` brings the parser, the tokenizer and the disassembler of Python with it; collections
    would look at every class and function again and again.
    """
    _, middle, old = gc.get_threshold()
    gc.set_threshold(_YOUNG, middle, old)
    for name in DEFERRED:
        sys.modules.setdefault(name, Later(name))


def leave(code: int) -> None:
    """End this process with `code`, without taking the interpreter apart.

    Returns where something else waits for the end: other threads that are no daemons, functions
    registered for the exit, a debugger or profiler, or output that cannot be written.
    """
    others = [one for one in threading.enumerate() if not one.daemon]
    waits = atexit._ncallbacks() or len(others) > 1
    if waits or sys.gettrace() is not None or sys.getprofile() is not None:
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)
