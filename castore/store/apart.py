"""Work in a process of its own, which a damaged file may kill: what both ends of its pipe do.

What goes through it are messages of a byte, 8 bytes of a number and, behind an answer, so many
bytes: `p` tells progress by that amount, `a` is the answer, pickled, or the exception raised.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from castore.errors import CorruptObject, Unavailable

PATIENCE: Final = 900.0
"""Seconds without any progress after which work is taken to hang."""
Tell: TypeAlias = Callable[[int], None]

_MESSAGE: Final = struct.Struct("<cQ")
_PROGRESS: Final = b"p"
_ANSWER: Final = b"a"
_EVERY: Final = 0.1
# What a processor or the system does to who reads what is not there, or makes no sense.
_FAULTS: Final = frozenset(
    {signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL}
)


class Hanging(CorruptObject):
    """A check that made no progress for too long, and was ended."""


class Killed(CorruptObject):
    """A check whose process was killed by what it read."""


def serve(descriptor: int, work: Callable[[Tell], object]) -> None:
    """Do the work, and write to the pipe how far it is and what came of it."""
    waiting, due = 0, time.monotonic() + _EVERY

    def tell(amount: int) -> None:
        nonlocal waiting, due
        waiting += amount
        now = time.monotonic()
        if now >= due:
            _write(descriptor, _MESSAGE.pack(_PROGRESS, waiting))
            waiting, due = 0, now + _EVERY

    try:
        answer = pickle.dumps((work(tell), None))
    except BaseException as error:
        answer = pickle.dumps((None, error))
    _write(descriptor, _MESSAGE.pack(_PROGRESS, waiting) + _MESSAGE.pack(_ANSWER, len(answer)))
    _write(descriptor, answer)


def listen(descriptor: int, progress: Tell | None, patience: float = PATIENCE) -> bytes:
    """The answer that comes through the pipe, b"" for none; passes progress on.

    Raises Hanging when nothing came for `patience` seconds.
    """
    held = bytearray()
    while True:
        ready, _, _ = select.select([descriptor], [], [], patience)
        if not ready:
            raise Hanging(
                f"the check made no progress for {patience:.0f} s and was ended: the data file is "
                "damaged, the disk does not answer, or another program keeps writers out",
                where="data.mdb",
                fix="end the programs that use this store, then check again; or: cas salvage DEST",
            )
        data = os.read(descriptor, 1 << 16)
        held += data
        while len(held) >= _MESSAGE.size:
            kind, number = _MESSAGE.unpack_from(held)
            if kind == _ANSWER:
                if len(held) < _MESSAGE.size + number:
                    break
                return bytes(held[_MESSAGE.size : _MESSAGE.size + number])
            if progress is not None and number:
                progress(number)
            del held[: _MESSAGE.size]
        if not data:
            return b""


def conclude(answer: bytes, died_of: int) -> Any:
    """What the work answered, or raises what it raised; `died_of` is a signal, 0 for none.

    Raises Killed for a process that its data killed, Unavailable for one that somebody did.
    """
    if answer:
        found, error = pickle.loads(answer)  # noqa: S301  # written by our own child
        if error is not None:
            raise error
        return found
    if died_of == signal.SIGINT:
        raise KeyboardInterrupt
    name = signal.Signals(died_of).name if died_of else "an end without an answer"
    if died_of in _FAULTS:
        raise Killed(
            f"the check was killed by {name} while it read the data file: it is cut off, "
            "damaged or unreadable",
            where="data.mdb",
            fix="cas salvage DEST",
        )
    raise Unavailable(
        f"the process that checked the store came to {name}: memory may have run out",
        fix="cas fsck",
    )


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
