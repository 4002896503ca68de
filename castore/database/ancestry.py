"""Jump pointers: any ancestor along first parents in O(log n) steps, with nothing to rewrite.

After Eugene W. Myers, "An applicative random-access stack" (1983), skew-binary numbers: with p the
first parent of v, jump(v) is jump(jump(p)) if number(p) - number(jump(p)) equals
number(jump(p)) - number(jump(jump(p))), else p; the jump of a first version is itself. Where an
ancestor is not stored (a shallow clone) the jump is the parent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from castore.errors import CorruptObject
from castore.model.ids import Id, short
from castore.model.limits import ID_BYTES

_NUMBER: Final = struct.Struct(">Q")


class Step(NamedTuple):
    """A version's number, its first parent and its jump pointer; both b"" for a first version."""

    number: int
    parent: Id
    jump: Id


ReadStep: TypeAlias = Callable[[Id], Step | None]


def pack_step(step: Step) -> bytes:
    """The bytes of a step: number, and parent and jump unless it is a first version's."""
    return _NUMBER.pack(step.number) + step.parent + step.jump


def read_step(value: bytes, id: Id) -> Step:
    """The step of version `id`; raises CorruptObject."""
    if len(value) not in (_NUMBER.size, _NUMBER.size + 2 * ID_BYTES):
        raise CorruptObject(f"the jump row of {id.hex()} is malformed", id=id.hex(), where="lookup")
    middle = _NUMBER.size + ID_BYTES
    return Step(_NUMBER.unpack_from(value)[0], value[_NUMBER.size : middle], value[middle:])


def make_step(number: int, parent: Id | None, read: ReadStep) -> Step:
    """The step of a version with this first parent, given the steps stored."""
    if parent is None:
        return Step(number, b"", b"")
    above = read(parent)
    if above is None or not above.jump:
        return Step(number, parent, parent)
    far = read(above.jump)
    if far is None:
        return Step(number, parent, parent)
    if not far.jump:
        # A first version is its own jump.
        farther, distance = above.jump, 0
    else:
        beyond = read(far.jump)
        if beyond is None:
            return Step(number, parent, parent)
        farther, distance = far.jump, far.number - beyond.number
    if above.number - far.number == distance:
        return Step(number, parent, farther)
    return Step(number, parent, parent)


def find_ancestor(id: Id, number: int, read: ReadStep) -> Id | None:
    """The version `number` on the first-parent chain of `id`, itself included.

    None if there is none, or the chain is not stored as far. Raises CorruptObject if numbers do not
    fall by one from version to parent.
    """
    step = read(id)
    while step is not None and step.number > number:
        if not step.parent:
            return None
        leap = read(step.jump)
        if leap is not None and number <= leap.number < step.number:
            id, step = step.jump, leap
            continue
        below = read(step.parent)
        if below is not None and below.number != step.number - 1:
            raise CorruptObject(
                f"version {short(id)} has number {step.number}, its parent {below.number}",
                id=id.hex(),
                where="lookup",
            )
        id, step = step.parent, below
    return id if step is not None and step.number == number else None
