"""The library that stands between a process and its system calls: built, loaded and steered."""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_NAME = "libcastore-shim.so"


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
def shim() -> ctypes.CDLL:
    """Its functions."""
    return ctypes.CDLL(None)
