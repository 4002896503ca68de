"""Ref names: where branches, tags, partial versions and losers of a race hang."""

from __future__ import annotations

from typing import Final

from castore.errors import InvalidName
from castore.model.ids import Id
from castore.model.limits import REF_BYTES
from castore.model.names import check_branch, check_segment

HEADS: Final = "heads/"
TAGS: Final = "tags/"
PARTIALS: Final = "partial/"
LOST: Final = "lost/"
REMOTES: Final = "remotes/"


def branch_ref(name: str) -> str:
    """The ref of a branch, `heads/NAME`; raises InvalidName."""
    return HEADS + check_branch(name, "branch")


def tag_ref(name: str) -> str:
    """The ref of a tag, `tags/NAME`; raises InvalidName."""
    return TAGS + check_branch(name, "tag")


def partial_ref(run: str, branch: str) -> str:
    """The ref of an incomplete set, `partial/<run>/<branch>`; raises InvalidName."""
    return _bounded(PARTIALS + check_segment(run, "run") + "/" + check_branch(branch))


def lost_ref(branch: str, id: Id) -> str:
    """The ref of a version that lost a race, `lost/<branch>/<id>`; raises InvalidName."""
    return _bounded(f"{LOST}{check_branch(branch)}/{id.hex()}")


def remote_ref(remote: str, rest: str) -> str:
    """The ref that mirrors a remote's, `remotes/<remote>/<rest>`; raises InvalidName."""
    return _bounded(REMOTES + check_segment(remote, "remote") + "/" + rest)


def split_partial(ref: str) -> tuple[str, str]:
    """The (run, branch) of a `partial/` ref."""
    _, run, branch = ref.split("/", 2)
    return run, branch


def _bounded(ref: str) -> str:
    if len(ref.encode()) > REF_BYTES:
        raise InvalidName(f"ref {ref!r}: more than {REF_BYTES} bytes")
    return ref
