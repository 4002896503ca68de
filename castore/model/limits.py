"""Every bound of the format and of what is accepted, quoted by `docs/format.md`; sizes as typed."""

from __future__ import annotations

import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

FORMAT: Final = 1

# Ids and cut points.
ID_BYTES: Final = 32
CHUNK_MIN: Final = 16 * KIB
CHUNK_AVERAGE: Final = 64 * KIB
CHUNK_MAX: Final = 256 * KIB

# Encoded objects, in bytes.
MANIFEST_BYTES: Final = 1 * MIB
NOTE_BYTES: Final = 128 * KIB
PAGE_BYTES: Final = 512 * KIB
SET_BYTES: Final = 4 * MIB
META_BYTES: Final = 16 * KIB
TEXT_BYTES: Final = 64 * KIB
NESTING: Final = 8
# Maps and lists in one payload: 12 for each artifact of the largest set, and room.
CONTAINERS: Final = 128 * KIB
# Values of any kind, keys included, in one payload above the size of a page.
ELEMENTS: Final = 512 * KIB

# Counts.
SET_ARTIFACTS: Final = 4096
PARENTS: Final = 16
LAYOUT_PARTS: Final = 512
LAYOUT_PARTS_MEAN: Final = 128
TREE_ENTRIES: Final = 1024
TREE_LEVELS: Final = 16
LAYOUT_LEVELS: Final = 8

# Names, in bytes of UTF-8.
NAME_BYTES: Final = 100
OPERATION_ID_BYTES: Final = 255
REF_BYTES: Final = 255
COMPONENT_BYTES: Final = 255
PATH_BYTES: Final = 4096
FOLDER_DEPTH: Final = 256

# Blocks.
BLOCK_RAW_BYTES: Final = 8 * MIB
SOLID_BLOCK_BYTES: Final = 256 * KIB
SMALL_OBJECT_BYTES: Final = 64 * KIB
BLOCK_MEMBERS: Final = 4096
BLOCK_BASES: Final = 512
DELTA_DEPTH: Final = 128
DICTIONARY_BYTES: Final = 8 * MIB
BATCH_BYTES: Final = 16 * MIB

# Remotes: an object of a bucket, and what one root may hold.
PACK_BYTES: Final = 64 * MIB
PACK_FULL_BYTES: Final = 24 * MIB
INDEX_BYTES: Final = 256 * MIB
ROOT_BYTES: Final = 4 * MIB
ROOT_ROWS: Final = 2000
ROOT_LISTS: Final = 5000
ROOT_LIST_BYTES: Final = 512 * KIB
ROOT_PAGES_BYTES: Final = 64 * MIB
INDEXES_MAX: Final = 1024
UPLOADS_MAX: Final = 10_000
WRITES_KEPT: Final = 16
WRITERS_MAX: Final = 1000

# Bundles.
BUNDLE_PARTS: Final = 128 * KIB
BUNDLE_NEEDS: Final = 100

# Input.
SPEC_BYTES: Final = 256 * KIB
# Secrets told of in one commit, and rows that look like one in one piece of text.
SECRETS_TOLD: Final = 100
SECRET_ANCHORS: Final = 20_000
PREFIX_MIN: Final = 6
PREFIX_SHOWN: Final = 12


def parse_size(text: str) -> int | None:
    """The bytes that a text means (5MB = 5,000,000; 5MiB = 5,242,880); None for no size."""
    match = re.fullmatch(
        r"(\d{1,15})(?:\.(\d{1,3}))? ?([KMGT]i?B|B)?", text, re.IGNORECASE | re.ASCII
    )
    if match is None:
        return None
    whole, fraction, unit = match[1], match[2] or "", (match[3] or "B").casefold()
    factor = (1024 if "i" in unit else 1000) ** "bkmgt".index(unit[0])
    if fraction and factor == 1:
        return None
    value = int(whole) * factor
    value += int(fraction) * factor // 10 ** len(fraction) if fraction else 0
    return value if value < 1 << 62 else None
