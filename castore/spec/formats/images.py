"""Images: the header says which, the size in pixels is bounded before Pillow decodes anything."""

from __future__ import annotations

import io
import re
import struct
from typing import Final

from castore.spec.formats.quiet import quiet
from castore.spec.formats.source import SKIPPED, WHOLE, Finding, Source, too_big

PIXELS: Final = 24_000_000
"""The most pixels that are decoded (4 bytes each)."""
_HEADERS: Final = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "gif": (b"GIF87a", b"GIF89a"),
    "jpeg": (b"\xff\xd8\xff",),
    "webp": (b"RIFF",),
}
_MARKER: Final = re.compile(rb"\xff++[^\xff]", re.DOTALL)
_SEGMENTS: Final = 10_000
_NO_FRAME: Final = (0xC4, 0xC8, 0xCC)


def check_png(source: Source) -> list[Finding]:
    """A PNG that decodes."""
    return _check(source, "png")


def check_jpeg(source: Source) -> list[Finding]:
    """A JPEG that decodes."""
    return _check(source, "jpeg")


def check_gif(source: Source) -> list[Finding]:
    """A GIF whose first frame decodes."""
    return _check(source, "gif")


def check_webp(source: Source) -> list[Finding]:
    """A WebP whose first frame decodes."""
    return _check(source, "webp")


def _check(source: Source, format: str) -> list[Finding]:
    head = source.head(32)
    if not head.startswith(_HEADERS[format]) or (format == "webp" and head[8:12] != b"WEBP"):
        return [Finding(f"not a {format} file: it begins with {head[:8].hex()}")]
    findings = too_big(source, WHOLE, f"a {format}")
    if findings:
        return findings
    data = source.whole()
    size = dimensions(data, format)
    if size is None or 0 in size:
        return [Finding(f"not a whole {format} file: its size in pixels is missing")]
    if size[0] * size[1] > PIXELS:
        detail = f"{size[0]} × {size[1]} pixels; up to {PIXELS // 1_000_000} million are decoded"
        return [Finding(detail, result=SKIPPED)]
    return _decode(data, format)


def dimensions(data: bytes, format: str) -> tuple[int, int] | None:
    """Width and height as the header declares them, or None where there is none."""
    if format == "png":
        whole = data[12:16] == b"IHDR" and len(data) >= 24
        return _pair(struct.unpack_from(">II", data, 16)) if whole else None
    if format == "gif":
        return _pair(struct.unpack_from("<HH", data, 6)) if len(data) >= 10 else None
    return _webp(data) if format == "webp" else _jpeg(data)


def _webp(data: bytes) -> tuple[int, int] | None:
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """The largest of all frame headers before the first scan."""
    at, found = 2, None
    for _ in range(_SEGMENTS):
        start = _MARKER.match(data, at)
        if start is None or start.end() + 7 > len(data):
            break
        at, marker = start.end() - 2, data[start.end() - 1]
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            found = max(found or (0, 0), (width, height), key=lambda size: size[0] * size[1])
        at += (
            2
            if 0xD0 <= marker <= 0xD8 or marker == 1
            else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        )
    return found


def _decode(data: bytes, format: str) -> list[Finding]:
    try:
        from PIL import Image
    except ImportError:
        return [Finding("Pillow is not installed: only the header was read", result=SKIPPED)]
    # Pillow's plug-ins raise whatever their parsing runs into: the border to them is wide.
    with quiet():
        try:
            with Image.open(io.BytesIO(data), formats=[format.upper()]) as image:
                if image.width * image.height > PIXELS:
                    detail = f"{image.width} × {image.height} pixels after all"
                    return [Finding(detail, result=SKIPPED)]
                image.verify()
            with Image.open(io.BytesIO(data), formats=[format.upper()]) as image:
                image.load()
        except Exception as error:
            return [Finding(f"not a whole {format} file: {_reason(error)}")]
    return []


def _reason(error: Exception) -> str:
    """Pillow's message, without the addresses that would make results differ from run to run."""
    message = str(error)
    return type(error).__name__ if not message or " object at 0x" in message else message


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
