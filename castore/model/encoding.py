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
from castore.model.limits import CONTAINERS, NESTING

# First bytes that open a map or a list: fixmap, fixarray, array 16/32, map 16/32.
_OPENERS: Final = bytes(range(0x80, 0xA0)) + b"\xdc\xdd\xde\xdf"
# Of one-byte headers, how many payload bytes follow (str and bin 8/16/32: length field first).
_FIXED: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}


def encode(value: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a map; raises InvalidInput for what the encoding does not know."""
    try:
        packed: bytes = msgpack.packb(_sorted(value, NESTING), use_bin_type=True)
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text with a lone surrogate cannot be stored: {error.object!r}"
        ) from None
    except OverflowError:
        raise InvalidInput("an integer outside 64 bits cannot be stored") from None
    return packed


def encode_item(value: Any) -> bytes:
    """The canonical bytes of one item of a list, by which lists are sorted."""
    packed: bytes = msgpack.packb(_sorted(value, NESTING), use_bin_type=True)
    return packed


def decode(payload: bytes, *, limit: int, what: str = "object") -> dict[str, Any]:
    """The map encoded by `payload`; raises CorruptObject unless it is canonical and within bounds.

    `limit` is the largest payload accepted, in bytes. Containers are counted before anything is
    unpacked: 16 MiB of nested empty maps would otherwise become over a gigabyte of memory.
    """
    if len(payload) > limit:
        raise CorruptObject(f"{what}: {len(payload)} bytes, more than the limit of {limit}")
    _bound_containers(payload, what)
    try:
        value = msgpack.unpackb(payload, raw=False, strict_map_key=True, use_list=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise CorruptObject(f"{what}: not valid msgpack ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise CorruptObject(f"{what}: not a map")
    try:
        again = encode(value)
    except InvalidInput as error:
        raise CorruptObject(f"{what}: {error.message}") from None
    if again != payload:
        raise CorruptObject(f"{what}: not in canonical form")
    return value


def _sorted(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is bytes or kind is int or kind is bool:
        return value
    if depth == 0:
        raise InvalidInput(f"nested deeper than {NESTING} levels")
    if kind is list or kind is tuple:
        return [_sorted(item, depth - 1) for item in value]
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise InvalidInput("map keys must be text")
        keys = sorted(value, key=lambda key: key.encode("utf-8", "surrogatepass"))
        return {key: _sorted(value[key], depth - 1) for key in keys}
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    raise InvalidInput(f"a value of type {kind.__name__} cannot be stored")


def _bound_containers(payload: bytes, what: str) -> None:
    """Refuse more than CONTAINERS maps and lists: first an upper bound, then an exact count."""
    if len(payload) - len(payload.translate(None, delete=_OPENERS)) <= CONTAINERS:
        return
    count = position = 0
    size = len(payload)
    while position < size:
        head = payload[position]
        position += 1
        if 0x80 <= head <= 0x9F or 0xDC <= head <= 0xDF:
            count += 1
            position += 0 if head <= 0x9F else 2 if head in (0xDC, 0xDE) else 4
            if count > CONTAINERS:
                raise CorruptObject(f"{what}: more than {CONTAINERS} maps and lists")
        elif 0xA0 <= head <= 0xBF:
            position += head & 0x1F
        elif head in _SIZED:
            width = _SIZED[head]
            position += width + int.from_bytes(payload[position : position + width], "big")
        else:
            position += _FIXED.get(head, 0)
