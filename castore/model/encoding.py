"""Canonical encoding: restricted msgpack, where one value has exactly one form.

One map with str keys sorted by their UTF-8 bytes; values are bool, int, str, bytes, lists and maps
of the same; no nil, float or extension type; shortest forms only. A payload is canonical if and
only if decoding and re-encoding it gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack

from castore.errors import CorruptObject, InvalidInput
from castore.model.limits import CONTAINERS, ELEMENTS, NESTING, PAGE_BYTES

# First bytes that open a map or a list: fixmap, fixarray, array 16/32, map 16/32.
_OPENERS: Final = bytes(range(0x80, 0xA0)) + b"\xdc\xdd\xde\xdf"
# Of one-byte headers, how many payload bytes follow (str and bin 8/16/32: length field first).
_FIXED: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
# nil, the unused byte, ext 8/16/32, float 32/64, fixext: headers of what the encoding leaves out.
_FOREIGN: Final = frozenset(b"\xc0\xc1\xc7\xc8\xc9\xca\xcb\xd4\xd5\xd6\xd7\xd8")
_ATOMS: Final = frozenset({str, bytes, int, bool})
_CONTAINERS: Final = frozenset({list, dict})
_TEXT: Final = frozenset({str})


def encode(value: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a map; raises InvalidInput for what the encoding does not know."""
    return _pack(_sorted(value, NESTING))


def encode_item(value: Any) -> bytes:
    """The canonical bytes of one item of a list, by which lists are sorted; raises InvalidInput."""
    return _pack(_sorted(value, NESTING))


def encode_again(item: Any) -> bytes:
    """The canonical bytes of one item of what `decode` gave, which are not checked once more."""
    packed: bytes = msgpack.packb(item, use_bin_type=True)
    return packed


def decode(payload: bytes, *, limit: int, what: str = "object") -> dict[str, Any]:
    """The map encoded by `payload`; raises CorruptObject unless it is canonical and within bounds.

    `limit` is the largest payload accepted, in bytes. The structure is walked before anything is
    built: declared counts must be backed by bytes, and 16 MiB of empty maps or small integers
    would otherwise become over a gigabyte of memory.
    """
    if len(payload) > limit:
        raise CorruptObject(f"{what}: {len(payload)} bytes, more than the limit of {limit}")
    _bound_structure(payload, what)
    try:
        value = msgpack.unpackb(payload, raw=False, strict_map_key=True, use_list=True)
        again = msgpack.packb(value, use_bin_type=True)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise CorruptObject(f"{what}: not valid msgpack ({type(error).__name__})") from None
    if type(value) is not dict:
        raise CorruptObject(f"{what}: not a map")
    problem = _problem(value, NESTING)
    if problem or again != payload:
        raise CorruptObject(f"{what}: {problem or 'not in canonical form'}")
    return value


def _pack(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text with a lone surrogate cannot be stored: {error.object[:60]!r}"
        ) from None
    except OverflowError:
        raise InvalidInput("an integer outside 64 bits cannot be stored") from None
    return packed


def _sorted(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, int):
        return int(value)
    if depth == 0:
        raise InvalidInput(f"nested deeper than {NESTING} levels")
    if kind is list or kind is tuple:
        below = depth - 1
        return [item if type(item) in _ATOMS else _sorted(item, below) for item in value]
    if isinstance(value, Mapping):
        if not set(map(type, value)) <= _TEXT:
            raise InvalidInput("map keys must be text")
        below = depth - 1
        # Code points order as their UTF-8 bytes do.
        return {
            key: item if type(item) in _ATOMS else _sorted(item, below)
            for key, item in sorted(value.items())
        }
    raise InvalidInput(f"a value of type {kind.__name__} cannot be stored")


def _problem(value: Any, depth: int) -> str:
    """What of a decoded list or map the encoding does not know, or ""."""
    if depth == 0:
        return f"nested deeper than {NESTING} levels"
    items = value
    if type(value) is dict:
        keys = list(value)
        if not set(map(type, keys)) <= _TEXT:
            return "map keys must be text"
        if keys != sorted(keys):
            return "map keys not sorted"
        items = value.values()
    foreign = set(map(type, items)) - _ATOMS
    if not foreign:
        return ""
    if not foreign <= _CONTAINERS:
        return "holds a nil, a float or an extension type"
    for item in items:
        if type(item) in _CONTAINERS and (item or depth == 1):
            problem = _problem(item, depth - 1)
            if problem:
                return problem
    return ""


def _bound_structure(payload: bytes, what: str) -> None:
    """Refuse truncated or deep payloads, and more maps, lists or values than memory allows for."""
    walker = msgpack.Unpacker(max_buffer_size=max(1, len(payload)))
    try:
        walker.feed(payload)
        walker.skip()
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise CorruptObject(f"{what}: not valid msgpack ({type(error).__name__})") from None
    if walker.tell() != len(payload):
        raise CorruptObject(f"{what}: bytes after the end")
    openers = len(payload) - len(payload.translate(None, delete=_OPENERS))
    if openers > CONTAINERS or len(payload) > PAGE_BYTES:
        _count(payload, what)


def _count(payload: bytes, what: str) -> None:
    """Count exactly, header by header; `payload` is known to be whole."""
    containers = elements = position = 0
    size = len(payload)
    while position < size:
        head = payload[position]
        position += 1
        elements += 1
        if 0x80 <= head <= 0x9F or 0xDC <= head <= 0xDF:
            containers += 1
            position += 0 if head <= 0x9F else 2 if head in (0xDC, 0xDE) else 4
        elif 0xA0 <= head <= 0xBF:
            position += head & 0x1F
        elif head in _SIZED:
            width = _SIZED[head]
            position += width + int.from_bytes(payload[position : position + width], "big")
        elif head in _FOREIGN:
            raise CorruptObject(f"{what}: holds a nil, a float or an extension type")
        else:
            position += _FIXED.get(head, 0)
        if containers > CONTAINERS or elements > ELEMENTS:
            raise CorruptObject(
                f"{what}: more than {CONTAINERS} maps and lists, or {ELEMENTS} values"
            )
