"""The library that stands between a process and its system calls: built, loaded and steered."""

from __future__ import annotations

import ctypes
import enum
import os
import subprocess
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_NAME = "libcastore-shim.so"


class Call(enum.IntEnum):
    """Kinds of calls that change files, as in shim.c."""

    ANY = 0
    WRITE = 1
    SYNC = 2
    TRUNCATE = 3
    OPEN = 4
    RENAME = 5
    MAP = 6
    MKDIR = 7
    UNLINK = 8


class How(enum.IntEnum):
    """How a call goes wrong: it fails, once or from then on; falls short; ends the process."""

    ONCE = 0
    STICKY = 1
    SHORT = 2
    KILL = 3
    KILL_HALF = 4


def build(folder: Path) -> Path:
    """Compile it into `folder`."""
    made = folder / _NAME
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(_SOURCE)]
    subprocess.run([*command, "-ldl"], check=True)
    return made


def preloaded(library: Path) -> dict[str, str]:
    """The environment of a process that runs under it."""
    return {**os.environ, "LD_PRELOAD": str(library)}


def loaded() -> bool:
    """Whether this process runs under it."""
    return hasattr(ctypes.CDLL(None), "shim_arm")


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.shim_arm.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    library.shim_count.restype = ctypes.c_long
    library.shim_hits.restype = ctypes.c_long
    library.shim_mark.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    return library


def watch(folder: Path) -> None:
    """Let only files below `folder` count."""
    _library().shim_watch(os.fsencode(os.path.realpath(folder)))


def arm(call: Call, at: int, error: int, how: How) -> None:
    """Let the `at`-th call of a kind from now on go wrong; 0 for none."""
    _library().shim_arm(call, at, error, how)


def disarm() -> None:
    """Let all calls be."""
    _library().shim_disarm()


def count(call: Call) -> int:
    """How many calls of a kind there were since it was armed."""
    return int(_library().shim_count(call))


def hits() -> int:
    """How many calls went wrong."""
    return int(_library().shim_hits())


def record(descriptor: int) -> None:
    """Note every call to an open file; -1 ends it."""
    _library().shim_record(descriptor)


def mark(data: bytes) -> None:
    """Put `data` into what is noted, after all calls before."""
    _library().shim_mark(data, len(data))
