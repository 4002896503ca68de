"""Places: buckets of every kind that tests open transports on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from castore.remote.transport import Transport


class Place(NamedTuple):
    """An empty bucket, opened as often as one likes.

    `writers` is how many may well race for one key: some servers queue them a second each.
    """

    open: Callable[[], Transport]
    writers: int = 16
