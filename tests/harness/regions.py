"""Which bytes of a data file are what: meta pages, the free list, structure, values, nothing."""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path

from castore.database.datafile import NO_PAGE, PAGE_HEADER, newest_meta
from castore.database.pages import unused_bytes

META_BYTES = 152
PAGE = 4096
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4


def regions(path: Path) -> dict[str, array[int]]:
    """The offsets of all bytes of a sound data file, by what they are.

    `metas`: both meta pages; `free list`: its pages, as far as they are used; `structure`: headers,
    pointers, node heads and keys of all other pages; `values`: what lies in leaf pages; `blocks`:
    what lies in pages of its own; `nothing`: all else.
    """
    data = path.read_bytes()
    found = {name: array("Q") for name in ("metas", "free list", "structure", "values", "blocks")}
    descriptor = os.open(path, os.O_RDONLY)
    try:
        meta = newest_meta(descriptor, str(path))
        free, _ = unused_bytes(descriptor, meta, str(path))
    finally:
        os.close(descriptor)
    for page in (0, 1):
        found["metas"].extend(range(page * PAGE, page * PAGE + META_BYTES))
    ends = _value_ends(data, free)
    listed = _tree(data, meta.free.root)
    number = 2
    while number < len(free):
        if free[number]:
            number += 1
            continue
        flags, pages = struct.unpack_from("<HI", data, number * PAGE + 10)
        at = number * PAGE
        if flags & _OVERFLOW:
            found["structure"].extend(range(at, at + PAGE_HEADER))
            found["blocks"].extend(range(at + PAGE_HEADER, ends[number]))
            number += pages
            continue
        heads, values = _parts(data, at)
        if number in listed:
            found["free list"].extend(heads + values)
        else:
            found["structure"].extend(heads)
            found["values"].extend(values)
        number += 1
    known = set().union(*found.values())
    found["nothing"] = array("Q", (at for at in range(len(data)) if at not in known))
    return found


def _tree(data: bytes, root: int) -> set[int]:
    """The pages of a tree."""
    if root == NO_PAGE:
        return set()
    found, at = {root}, root * PAGE
    flags, lower = struct.unpack_from("<HH", data, at + 10)
    if flags & _BRANCH:
        for (node,) in struct.iter_unpack("<H", data[at + PAGE_HEADER : at + lower]):
            low, high, top = struct.unpack_from("<HHH", data, at + node)
            found |= _tree(data, low | high << 16 | top << 32)
    return found


def _value_ends(data: bytes, free: bytearray) -> dict[int, int]:
    """Where each value in pages of its own ends, by the first of its pages."""
    found = {}
    for number in range(2, len(free)):
        at = number * PAGE
        flags, lower = struct.unpack_from("<HH", data, at + 10)
        if free[number] or data[at : at + 8] != number.to_bytes(8, "little") or flags != _LEAF:
            continue
        for (node,) in struct.iter_unpack("<H", data[at + PAGE_HEADER : at + lower]):
            low, high, how, key = struct.unpack_from("<HHHH", data, at + node)
            if how & 1:
                (first,) = struct.unpack_from("<Q", data, at + node + 8 + key)
                found[first] = first * PAGE + PAGE_HEADER + (low | high << 16)
    return found


def _parts(data: bytes, at: int) -> tuple[list[int], list[int]]:
    """The bytes of a branch or leaf page that say how it is built, and its values."""
    flags, lower = struct.unpack_from("<HH", data, at + 10)
    heads, values = list(range(at, at + lower)), []
    for (node,) in struct.iter_unpack("<H", data[at + PAGE_HEADER : at + lower]):
        low, high, how, key = struct.unpack_from("<HHHH", data, at + node)
        begin = at + node
        value = begin + 8 + key
        heads += range(begin, value)
        if not flags & _LEAF:
            continue
        if how & 1:
            heads += range(value, value + 8)
        else:
            values += range(value, value + (low | high << 16))
    return heads, values
