"""Judging: what selectors and status ask of policies, which are loaded when one is asked for.

To read policies takes the parser of specs, which the log and most other commands do without.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from castore.store.store import Store
from castore.store.version import Version

_LATER: Final = {"policy": "castore.store.policy"}


def last_approved(store: Store, version: Version) -> Version | None:
    """The newest version up to this one that counts as approved, as `policy.last_approved`."""
    policy = import_module(_LATER["policy"])
    found: Version | None = policy.last_approved(store, version, itself=True)
    return found


def forbids_to_dismiss(store: Store, version: Version) -> bool:
    """Whether the policy in force for a version lets no dismissal count."""
    policy = import_module(_LATER["policy"])
    return bool(policy.policy_in_force(store, version).forbid_dismiss)
