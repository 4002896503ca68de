from castore.errors import CastoreError as CastoreError
from castore.model.artifact_set import Artifact as Artifact
from castore.model.artifact_set import ArtifactSet as ArtifactSet
from castore.model.manifest import Agent as Agent
from castore.model.manifest import Manifest as Manifest
from castore.model.manifest import Source as Source
from castore.store.bundle_show import read_bundle as read_bundle
from castore.store.bundle_verify import verify_bundle as verify_bundle
from castore.store.commit import CommitRequest as CommitRequest
from castore.store.context import Context as Context
from castore.store.library import Store as Store
from castore.store.library_opening import clone as clone
from castore.store.library_opening import from_bundle as from_bundle
from castore.store.library_opening import init as init
from castore.store.library_opening import open as open
from castore.store.report import CommitReport as CommitReport
from castore.store.retention import Rules as Rules
from castore.store.salvage import salvage as salvage
from castore.store.session import Session as Session
from castore.store.staged import Staged as Staged
from castore.store.verify_apart import fsck as fsck
from castore.store.version import Version as Version

__version__: str
__all__: list[str]
