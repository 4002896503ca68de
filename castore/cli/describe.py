"""Words for versions and artifacts, as several commands print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from castore.cli.output import Output
from castore.cli.screen import clean, clean_lines, first_line
from castore.database.reading import Reading
from castore.database.tables import Removal
from castore.model.artifact_set import Artifact, ExternalContent, FileContent
from castore.model.ids import Id, short
from castore.model.manifest import Agent
from castore.model.refs import HEADS, TAGS
from castore.model.status import Status
from castore.store.moments import format_minute
from castore.store.removals import removal_text
from castore.store.version import Version

Names = Mapping[Id, Sequence[str]]


def ref_names(tables: Reading) -> dict[Id, list[str]]:
    """The branches and tags that name each version."""
    found: dict[Id, list[str]] = {}
    for name, id in tables.refs(HEADS):
        found.setdefault(id, []).append(name.removeprefix(HEADS))
    for name, id in tables.refs(TAGS):
        found.setdefault(id, []).append("tag " + name.removeprefix(TAGS))
    return found


def review_text(status: Status) -> str:
    """The review on a screen: of what is pending, how many approvals count and how many must."""
    if status.review != "pending" or not status.needed:
        return status.review
    more = ", more is asked for" if status.counted >= status.needed else ""
    return f"{status.counted} of {status.needed} approvals{more}"


def moment(at: int) -> str:
    """A time on a screen: UTC, to the minute."""
    return format_minute(at) + "Z"


def agent_text(agent: Agent) -> str:
    """`writer@7`, `writer`, or `unknown`."""
    return clean(f"{agent.id}@{agent.version}" if agent.version else agent.id) or "unknown"


def headline(output: Output, version: Version, names: Sequence[str] = ()) -> str:
    """A version's first line: label, short id, other names, time, author."""
    label = output.style(clean(version.label), "yellow")
    others = f" ({', '.join(map(clean, names))})" if names else ""
    who = clean(version.manifest.author) or "unknown"
    return f"{label}  {version.short}{others}  {moment(version.manifest.at)}  {who}"


def oneline(
    version: Version, names: Sequence[str] = (), *, forgotten: Removal | None = None
) -> str:
    """A version on one line, the fixed-width parts first."""
    others = f" ({', '.join(map(clean, names))})" if names else ""
    others += " (forgotten)" if forgotten else ""
    text = first_line(version.manifest.message)
    line = f"{version.short}  {moment(version.manifest.at)}  {clean(version.label)}{others}"
    return f"{line}  {text}" if text else line


def paragraph(version: Version, forgotten: Removal | None = None) -> list[str]:
    """The lines below a headline: message, then spec, agent and run where they are known."""
    manifest = version.manifest
    lines = clean_lines(manifest.message) if manifest.message.strip() else []
    if forgotten is not None:
        lines.append(f"forgotten {clean(removal_text(forgotten))}")
    facts = []
    if manifest.spec.version:
        facts.append(f"spec {clean(manifest.spec.id)} {clean(manifest.spec.version)}")
    if manifest.agent.id:
        facts.append(f"agent {agent_text(manifest.agent)}")
    if manifest.run:
        facts.append(f"run {clean(manifest.run)}")
    if not manifest.complete:
        facts.append("incomplete")
    return [*lines, " · ".join(facts)] if facts else lines


def content_id(artifact: Artifact) -> str:
    """The short id of an artifact's content: a file's digest, a folder's tree id."""
    content = artifact.content
    if isinstance(content, FileContent):
        return short(content.digest)
    if isinstance(content, ExternalContent):
        return short(content.digest) if content.digest else "unknown"
    return short(content.id)
