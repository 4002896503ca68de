"""Uploads: what writers registered in a root, so that no collector takes what they send."""

from __future__ import annotations

from dataclasses import replace

from castore.model.limits import UPLOADS_MAX
from castore.remote.root import Root


def registered(root: Root, upload: bytes) -> Root | None:
    """The root with a new upload; None if it has it. Of too many the oldest is given up.

    An upload that was given up is never registered again: what lay below it may be gone.
    """
    if upload in root.uploads:
        return None
    uploads = dict(root.uploads)
    if len(uploads) >= UPLOADS_MAX:
        uploads.pop(min(uploads, key=lambda known: uploads[known]))
    return replace(root, uploads={**uploads, upload: root.gc_round})


def renewed(root: Root, upload: bytes) -> Root | None:
    """The root in which a registered upload is as of this round; None if it is so already."""
    if root.uploads[upload] == root.gc_round:
        return None
    return replace(root, uploads={**root.uploads, upload: root.gc_round})
