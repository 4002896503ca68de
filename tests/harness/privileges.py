"""Giving up what root may do, and disks of their own, for one process of a test."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_VERSION_3 = 0x20080522
_NEW_NAMESPACE = 0x00020000
_PRIVATE = 0x00040000 | 0x4000
_SYS_ADMIN = 21


def _call(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def drop_privileges() -> None:
    """Let the modes of files count for this process, also where it is root's."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    _call(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    header, data = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if _LIBC.capget(header, data):
        return False
    return bool(data[0] >> _SYS_ADMIN & 1)


def mount_memory(place: Path, size: int) -> None:
    """Mount a file system of `size` bytes, for this process and its children only."""
    _call(_LIBC.unshare(_NEW_NAMESPACE), "unshare")
    _call(_LIBC.mount(b"none", b"/", None, _PRIVATE, None), "mount")
    options = f"size={size}".encode()
    _call(_LIBC.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, options), "mount")
