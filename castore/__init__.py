"""castore: git for agent outputs, a content-addressed store for sets of artifacts.

Names are loaded on first use, so that importing castore costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it.
_NAMES = {
    "Agent": "castore.model.manifest",
    "Artifact": "castore.model.artifact_set",
    "ArtifactSet": "castore.model.artifact_set",
    "CastoreError": "castore.errors",
    "CommitReport": "castore.store.report",
    "CommitRequest": "castore.store.commit",
    "Context": "castore.store.context",
    "Manifest": "castore.model.manifest",
    "Rules": "castore.store.retention",
    "Session": "castore.store.session",
    "Source": "castore.model.manifest",
    "Staged": "castore.store.staged",
    "Store": "castore.store.library",
    "Version": "castore.store.version",
    "clone": "castore.store.library_opening",
    "from_bundle": "castore.store.library_opening",
    "fsck": "castore.store.verify_apart",
    "init": "castore.store.library_opening",
    "open": "castore.store.library_opening",
    "read_bundle": "castore.store.bundle_show",
    "salvage": "castore.store.salvage",
    "verify_bundle": "castore.store.bundle_verify",
}

__all__ = [*_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module 'castore' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
