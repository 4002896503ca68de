"""The chunk list of a big file as pages, cut by content so that an edit rewrites few of them.

A page ends after a part whose id begins with a byte below 2 (one in 128), or at 512 parts; up to
512 parts are one page. The root is stored under the digest of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from castore.content.paging import cut_rows
from castore.content.trees import ReadPage
from castore.errors import CorruptObject, InvalidInput
from castore.model.ids import Id, Kind, object_id
from castore.model.limits import LAYOUT_PARTS, LAYOUT_PARTS_MEAN
from castore.model.pages import LayoutPage, Part, decode_layout, encode_layout

_END_BELOW = 256 // LAYOUT_PARTS_MEAN


def build_layout(parts: Sequence[Part]) -> tuple[bytes, list[tuple[Id, bytes]]]:
    """The payload of the root page for these chunks in file order, and the (id, payload) below it.

    Pages come before the pages that point to them. Raises InvalidInput without any part.
    """
    if not parts:
        raise InvalidInput("a layout needs at least one chunk")
    inner: list[tuple[Id, bytes]] = []
    level = 0
    rows = parts
    while len(rows) > LAYOUT_PARTS:
        above: list[Part] = []
        for group in cut_rows(rows, _ends, LAYOUT_PARTS, 2 if level else 1):
            payload = encode_layout(level, group)
            id = object_id(Kind.LAYOUT, payload)
            inner.append((id, payload))
            above.append(Part(id, sum(part[1] for part in group)))
        level += 1
        rows = above
    return encode_layout(level, rows), inner


def layout_size(root_payload: bytes) -> int:
    """The bytes of the file that a root page stands for; raises CorruptObject."""
    return decode_layout(root_payload).size


def iter_parts(read_page: ReadPage, root_payload: bytes) -> Iterator[Part]:
    """The chunks of a file in order, pages read as they are needed; raises CorruptObject."""
    return (part for _, part in _within(read_page, decode_layout(root_payload), 0, 0, None))


def parts_in_range(
    read_page: ReadPage, root_payload: bytes, start: int, length: int
) -> Iterator[tuple[int, Part]]:
    """The (offset, chunk) of a file that overlap `length` bytes from `start`, in order.

    Reads only the pages that overlap. Raises CorruptObject.
    """
    if length <= 0:
        return iter(())
    return _within(read_page, decode_layout(root_payload), 0, start, start + length)


def _ends(part: Part) -> bool:
    return part[0][0] < _END_BELOW


def _within(
    read_page: ReadPage, page: LayoutPage, base: int, start: int, stop: int | None
) -> Iterator[tuple[int, Part]]:
    """Depth first; levels fall by one, so recursion is bounded by LAYOUT_LEVELS."""
    ends = accumulate((part.size for part in page.parts), initial=base)
    next(ends)
    offset = base
    for part, end in zip(page.parts, ends, strict=True):
        if stop is not None and offset >= stop:
            return
        if end > start:
            if page.level == 0:
                yield offset, part
            else:
                below = decode_layout(read_page(part.id))
                if below.level != page.level - 1 or below.size != part.size:
                    raise CorruptObject("layout: a page is not what its row says", id=part.id.hex())
                yield from _within(read_page, below, offset, start, stop)
        offset = end
