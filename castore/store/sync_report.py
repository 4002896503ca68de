"""What a push did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from castore.store.sync_plan import Move


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did, or with `dry_run` would do.

    `moves` are the refs of the bucket that moved; `objects` went in `packs` of together `bytes`,
    `notes` of them notes. A dry run tells as `bytes` what the blocks take here. `waits` tells that
    these credentials may not write and the notes wait in the inbox, where `inbox` of them are new.
    `forgotten` versions and `purged` objects of content the bucket did not know to be so.
    """

    remote: str
    url: str
    moves: tuple[Move, ...]
    objects: int
    notes: int
    packs: int
    bytes: int
    dry_run: bool = False
    inbox: int = 0
    waits: bool = False
    forgotten: int = 0
    purged: int = 0

    @property
    def changed(self) -> bool:
        """Whether the bucket lacked anything."""
        return bool(self.moves or self.objects or self.removed) and not self.waits

    @property
    def removed(self) -> bool:
        """Whether the bucket did not know yet of all that was forgotten or purged here."""
        return bool(self.forgotten or self.purged)

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "remote": self.remote,
            "url": self.url,
            "refs": [
                {"ref": m.ref, "old": m.old.hex() or None, "new": m.new.hex() or None}
                for m in self.moves
            ],
            "objects": self.objects,
            "notes": self.notes,
            "packs": self.packs,
            "bytes": self.bytes,
            "dry_run": self.dry_run,
            "inbox": self.inbox,
            "waits": self.waits,
            "forgotten": self.forgotten,
            "purged": self.purged,
        }
