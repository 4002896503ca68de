"""Walks over lineage as values: the nodes met, the edges between them, and both as data."""

from __future__ import annotations

from typing import Any, Final

from castore.model.ids import Id
from castore.model.manifest import Source
from castore.model.values import frozen
from castore.store.moments import format_moment
from castore.store.records import maker_record, source_record
from castore.store.removals import removal_record
from castore.store.standing import Verdicts, status_of
from castore.store.store import Store
from castore.store.version import Version

_SAID: Final = ("review", "lifecycle", "forgotten")


@frozen
class Node:
    """A version, one artifact of it, or something that is none: a URI, a content, a branch.

    `id` is its name in edges: the id of the version, with `:artifact` behind it for an artifact,
    the URI, the digest, or the name of the branch; ids and digests in hex. `version` is None for
    what is no version, and for one that is not stored here. `distance` counts the edges from where
    the walk began; the versions of a branch that it began at have 0 as well. `maker` is the version
    that made an artifact which `version` carries, if that is stored.
    """

    id: str
    version: Version | None = None
    artifact: str = ""
    uri: str = ""
    digest: Id = b""
    size: int = -1
    distance: int = 0
    maker: Version | None = None
    branch: str = ""

    @property
    def made_by(self) -> Version | None:
        """The version whose spec version, agent and run are those of this node, if it is known."""
        version = self.version
        carried = version and self.artifact in dict(version.manifest.carried)
        return self.maker if carried else version


@frozen
class Edge:
    """`user` needed `used`, by their ids.

    `relation` is "source" as the manifest of the user records it in `source`, "carried" for an
    artifact taken over from the version that made it, "held" between a content and an artifact
    that has it, or "version" between a branch and a version of it.
    """

    user: str
    used: str
    relation: str
    source: Source | None = None


@frozen
class Walk:
    """What a walk met: its beginning first, then by distance; each edge once, as it was met.

    `complete` is False when `depth` or `limit` left something out.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    complete: bool


def walk_record(store: Store, walk: Walk) -> dict[str, Any]:
    """A walk as `--json` prints it: the node it began at, all nodes, all edges."""
    verdicts = Verdicts(store)
    labels = {
        edge.used: edge.source.label for edge in walk.edges if edge.source and edge.source.label
    }
    return {
        "begin": walk.nodes[0].id,
        "complete": walk.complete,
        "nodes": [
            _node_record(node, labels.get(node.id, ""))
            | (_said(store, node.version, verdicts) if node.version else dict.fromkeys(_SAID))
            for node in walk.nodes
        ],
        "edges": [
            {
                "user": edge.user,
                "used": edge.used,
                "relation": edge.relation,
                "source": source_record(edge.source) if edge.source else None,
            }
            for edge in walk.edges
        ],
    }


def _node_record(node: Node, label: str) -> dict[str, Any]:
    """`label` is what a user's manifest calls a version that is not stored here."""
    version = node.version
    made = maker_record(node.made_by) if node.made_by else {}
    return {
        "id": node.id,
        "kind": node_kind(node),
        "version": version.id.hex() if version else None,
        "label": version.label if version else node.branch or label.partition(":")[0] or None,
        "artifact": node.artifact or None,
        "uri": node.uri or None,
        "digest": node.digest.hex() or None,
        "size": node.size if node.size >= 0 else None,
        "distance": node.distance,
        "stored": version is not None or bool(node.branch),
        "at": format_moment(version.manifest.at) if version else None,
        "spec": made.get("spec"),
        "agent": made.get("agent"),
        "run": made.get("run"),
    }


def _said(store: Store, version: Version, verdicts: Verdicts) -> dict[str, Any]:
    """What people said about a version, and whether it was forgotten."""
    status, removal = status_of(store, version, verdicts), store.forgotten(version)
    told = (status.review, status.lifecycle, removal_record(removal) if removal else None)
    return dict(zip(_SAID, told, strict=True))


def node_kind(node: Node) -> str:
    """version, artifact, uri, content or branch; the first two also where it is not stored."""
    if node.branch:
        return "branch"
    if node.uri:
        return "uri"
    if node.version is None and node.digest:
        return "content"
    return "artifact" if node.artifact else "version"
