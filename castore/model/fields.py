"""Reading decoded maps field by field: each verb names what it found wrong, and where."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from castore.errors import CorruptObject, InvalidInput
from castore.model.encoding import encode_again, encode_item
from castore.model.ids import Id
from castore.model.limits import ID_BYTES, META_BYTES, TEXT_BYTES

Item = TypeVar("Item")
MetaValue = str | int | bool | bytes


class Fields:
    """One decoded map with exactly the keys given; raises CorruptObject for anything else."""

    __slots__ = ("_map", "what")

    def __init__(self, value: Any, what: str, keys: Sequence[str]) -> None:
        self.what = what
        if not isinstance(value, dict):
            raise CorruptObject(f"{what}: not a map")
        # Decoded maps are sorted by their keys, as `keys` is nearly always.
        if (*value,) != keys and value.keys() != set(keys):
            odd = sorted(value.keys() ^ set(keys))[:5]
            raise CorruptObject(
                f"{what}: unknown or absent keys {', '.join(key[:40] for key in odd)}"
            )
        self._map: dict[str, Any] = value

    def fail(self, key: str, problem: str) -> CorruptObject:
        """The error to raise about one field."""
        return CorruptObject(f"{self.what}: {key}: {problem}")

    def text(self, key: str, limit: int = TEXT_BYTES) -> str:
        """A str of at most `limit` bytes of UTF-8."""
        value = self._map[key]
        if type(value) is not str or not _fits(value, limit):
            raise self.fail(key, f"not text of at most {limit} bytes")
        return value

    def choice(self, key: str, allowed: Collection[str]) -> str:
        """A str that is one of `allowed`."""
        value = self.text(key)
        if value not in allowed:
            raise self.fail(key, f"unknown value {value[:40]!r}")
        return value

    def integer(self, key: str, low: int, high: int = (1 << 63) - 1) -> int:
        """An int within [low, high]."""
        value = self._map[key]
        if type(value) is not int or not low <= value <= high:
            raise self.fail(key, f"not an integer from {low} to {high}")
        return value

    def flag(self, key: str) -> bool:
        """A bool."""
        value = self._map[key]
        if type(value) is not bool:
            raise self.fail(key, "not true or false")
        return value

    def blob(self, key: str, sizes: Collection[int]) -> bytes:
        """Bytes whose length is one of `sizes`."""
        value = self._map[key]
        if type(value) is not bytes or len(value) not in sizes:
            raise self.fail(key, "bytes of a wrong length")
        return value

    def id(self, key: str) -> Id:
        """A 32-byte id."""
        return self.blob(key, (ID_BYTES,))

    def id_or_empty(self, key: str) -> Id:
        """A 32-byte id, or b"" for none."""
        return self.blob(key, (0, ID_BYTES))

    def raw(self, key: str) -> Any:
        """The value as decoded."""
        return self._map[key]

    def items(
        self, key: str, read: Callable[[Any, str], Item], limit: int, *, sort: bool = True
    ) -> tuple[Item, ...]:
        """A list of at most `limit` items, sorted by their canonical bytes if `sort`."""
        value = self._map[key]
        if type(value) is not list or len(value) > limit:
            raise self.fail(key, f"not a list of at most {limit}")
        if not value:
            return ()
        if sort and len(value) > 1:
            encoded = [encode_again(item) for item in value]
            if any(a >= b for a, b in itertools.pairwise(encoded)):
                raise self.fail(key, "not sorted, or with duplicates")
        what = f"{self.what}: {key}"
        return tuple([read(item, what) for item in value])

    def ext(self, key: str = "ext") -> dict[str, bytes]:
        """The extension map, str to bytes; keys that start with `!` must be understood: none is."""
        value = self._map[key]
        if type(value) is not dict or any(type(item) is not bytes for item in value.values()):
            raise self.fail(key, "not a map of bytes")
        for name in value:
            if name.startswith("!"):
                raise self.fail(key, f"extension {name[:40]!r} must be understood and is not")
        return value

    def meta(self, key: str = "meta") -> dict[str, MetaValue]:
        """The free map of str to str, int, bool or bytes, at most 16 KiB encoded."""
        value = self._map[key]
        if type(value) is not dict or not all(
            type(item) in (str, int, bool, bytes) for item in value.values()
        ):
            raise self.fail(key, "not a map of text, integers, booleans or bytes")
        if value and len(encode_again(value)) > META_BYTES:
            raise self.fail(key, f"more than {META_BYTES} bytes")
        return value


def read_id(value: Any, what: str) -> Id:
    """A 32-byte id standing alone in a list."""
    if type(value) is not bytes or len(value) != ID_BYTES:
        raise CorruptObject(f"{what}: not an id")
    return value


def read_text(value: Any, what: str) -> str:
    """A str standing alone in a list, of at most TEXT_BYTES bytes of UTF-8."""
    if type(value) is not str or not _fits(value, TEXT_BYTES):
        raise CorruptObject(f"{what}: not text of at most {TEXT_BYTES} bytes")
    return value


def read_row(value: Any, what: str, *types: type) -> list[Any]:
    """A list with exactly these item types; text has at most TEXT_BYTES bytes of UTF-8."""
    if type(value) is not list or [type(item) for item in value] != list(types):
        raise CorruptObject(f"{what}: a row of a wrong shape")
    for item in value:
        if type(item) is str:
            read_text(item, what)
    return value


def _fits(text: str, limit: int) -> bool:
    """Whether text has at most `limit` bytes of UTF-8, of which a character takes at most four."""
    return 4 * len(text) <= limit or len(text.encode()) <= limit


def storable(payload: bytes, decode: Callable[[bytes], object]) -> bytes:
    """`payload`; raises InvalidInput if `decode` refuses it: only the readable is written."""
    try:
        decode(payload)
    except CorruptObject as error:
        raise InvalidInput(f"cannot be stored: {error.message}") from None
    return payload


def by_bytes(items: Iterable[Any]) -> list[Any]:
    """Items in the order in which lists are stored: by canonical bytes, without duplicates."""
    given = list(items)
    if len(given) < 2:
        return given
    return [item for _, item in sorted({encode_item(item): item for item in given}.items())]


def plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as a plain dict, ready to encode."""
    return dict(mapping)
