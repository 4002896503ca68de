"""What an ingest came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What an ingest came to, in bytes of content unless said otherwise.

    `new_bytes` were stored, `known_bytes` were there already; `stored_bytes` is what was written,
    encoded, metadata included; `files` counts files, `cached_files` those not even read.
    """

    new_bytes: int = 0
    known_bytes: int = 0
    stored_bytes: int = 0
    files: int = 0
    cached_files: int = 0
