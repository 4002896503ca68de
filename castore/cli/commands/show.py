"""`cas show`: one version or one artifact, in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from castore.cli.access import full_selector, opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.describe import agent_text, content_id
from castore.cli.invocation import Invocation
from castore.cli.noting import note_line, status_words
from castore.cli.options import spec_option
from castore.cli.output import Output
from castore.cli.screen import clean, clean_lines, columns, plural, size
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.ids import Id
from castore.model.manifest import CheckResult
from castore.model.names import quoted
from castore.model.note import Note
from castore.store.listing import ListedArtifact, list_artifacts
from castore.store.notes import known_as, note_record, notes_about
from castore.store.records import full_artifact_record, maker, version_record
from castore.store.removals import removal_text
from castore.store.selectors import Resolved
from castore.store.standing import signed_by, standing_ids, status_of
from castore.store.store import Store
from castore.store.version import Version

_META_SHOWN = 200


@verb(
    "show",
    examples=[
        ("cas show report@v3", "what version 3 holds, and where it came from"),
        ("cas show report:summary --json", "the full record of one artifact"),
    ],
)
@click.argument("rev", required=False, metavar="[REV[:ARTIFACT]]", shell_complete=revisions)
@spec_option("without REV: the branch of this spec")
@click.pass_obj
def command(call: Invocation, rev: str | None, spec: str) -> None:
    """Show one version, or one artifact of it, in full.

    Without REV the newest version of the branch of --spec, of the one *.spec.yaml here, or of the
    only branch. What is not known says so.
    """
    with opened(call, spec) as store:
        found = resolve_here(store, rev, spec)
        if found.path:
            raise InvalidInput(f"{rev!r} is a file", fix=f"cas cat {quoted(rev or '')}")
        if found.artifact is not None:
            _show_artifact(call.output, store, found)
        elif call.output.json:
            record = version_record(store, found.version, artifacts=True)
            notes, standing = (
                notes_about(store, found.version.id),
                standing_ids(store, found.version),
            )
            record["notes"] = [
                {
                    **note_record(id, note),
                    "stands": id in standing,
                    "trust": _trust(store, id, note),
                }
                for id, note in notes.items()
            ]
            record["deployments"] = list(status_of(store, found.version).deployments)
            call.output.record(record)
        else:
            _show_version(call.output, store, found.version)


def _trust(store: Store, id: Id, note: Note) -> str:
    """Whether its writer signed a note."""
    return "signed" if known_as(note.by) in signed_by(store, id) else "claimed"


def _show_version(output: Output, store: Store, version: Version) -> None:
    record = version_record(store, version)
    output.line(f"{output.style(clean(version.label), 'yellow')}  {version.short}")
    for line in clean_lines(version.manifest.message) if version.manifest.message.strip() else []:
        output.line(f"    {line}")
    removal = store.forgotten(version)
    told = [("forgotten", clean(removal_text(removal)))] if removal else []
    for line in columns([*_facts(store, version, record), *told]):
        output.line(line)
    _show_checks(output, version.manifest.checks)
    _show_notes(output, store, version)
    if removal is not None:
        return
    listed = list_artifacts(store, version)
    output.line(plural(len(listed), "artifact"))
    rows = [
        (
            "  " + clean(item.artifact.name),
            clean(item.artifact.type) or "unknown",
            clean(item.artifact.format) or "unknown",
            size(item.artifact.content.size),
            content_id(item.artifact),
            " ".join(filter(None, (_origin(item.made_by, version), _gone(item), _elsewhere(item)))),
        )
        for item in listed
    ]
    for line in columns(rows, right=[3]):
        output.line(line)
    output.next(f"cas ls {version.label}" if version.number == 1 else f"cas diff {version.label}")


def _gone(item: ListedArtifact) -> str:
    """That an artifact, or something in its folder, was purged."""
    return ("purged in part" if item.kind == "folder" else "purged") if item.purged else ""


def _elsewhere(item: ListedArtifact) -> str:
    """Of an external artifact: whether its bytes are here as well, and where they are."""
    if item.kind != "external":
        return ""
    word = "held" if item.held else "external"
    return clean(f"{word}: {item.uri}" if item.uri else word)


def _origin(made_by: Version, version: Version) -> str:
    """Of a carried artifact: the version that made it, and the spec version it was made under."""
    if made_by.id == version.id:
        return ""
    label = made_by.label if made_by.branch != version.branch else f"v{made_by.number}"
    spec = made_by.manifest.spec.version
    return clean(f"carried from {label}" + (f", spec {spec}" if spec else ""))


def _facts(store: Store, version: Version, record: dict[str, Any]) -> list[tuple[str, str]]:
    manifest = version.manifest
    parents = [f"{parent.hex()[:12]}" for parent in manifest.parents]
    spec = " ".join(filter(None, (manifest.spec.id, manifest.spec.version)))
    state = "complete" if manifest.complete else "incomplete"
    facts = [
        ("at", str(record["at"])),
        ("author", manifest.author),
        ("agent", agent_text(manifest.agent)),
        ("spec", spec if manifest.spec.version else "none"),
        ("run", manifest.run),
        ("trace", manifest.trace),
        ("workspace", manifest.workspace),
        ("set", manifest.set.hex()[:12]),
        ("parents", ", ".join(parents) or "none"),
        ("state", f"{state}, {', '.join(status_words(status_of(store, version)))}"),
    ]
    facts += [("missing", name) for name in manifest.missing]
    for source in manifest.sources:
        label = source.label or source.uri or source.selector
        target = f" for {source.artifact}" if source.artifact else ""
        facts.append(("source", f"{label}{target} ({source.evidence})"))
    facts += [("meta", f"{key} = {_plain(value)}") for key, value in manifest.meta.items()]
    return [(name, clean(value) or "unknown") for name, value in facts]


def _show_checks(output: Output, checks: Sequence[CheckResult]) -> None:
    if not checks:
        return
    counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for check in checks:
        counts[check.result] += 1
    shown = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    output.line(f"checks     {shown}")
    for check in checks:
        if check.result == "failed":
            detail = clean(f"{check.artifact}: {check.check}: {check.detail}")
            output.line(f"  {output.style('failed', 'red')}  {detail}")


def _show_notes(output: Output, store: Store, version: Version) -> None:
    notes, standing = notes_about(store, version.id), standing_ids(store, version)
    if notes:
        output.line(plural(len(notes), "note"))
    for id, note in notes.items():
        output.wrap("  " + note_line(id, note, stands=id in standing), "      ")


def _show_artifact(output: Output, store: Store, found: Resolved) -> None:
    assert found.artifact is not None
    record = full_artifact_record(store, found.version, found.artifact)
    if output.json:
        output.record(record)
        return
    label = clean(f"{found.version.label}:{found.artifact.name}")
    head = f"{output.style(label, 'yellow')}  {content_id(found.artifact)}"
    by = maker(store, found.version, found.artifact.name)
    origin = _origin(by, found.version)
    output.line(f"{head}  {origin}".rstrip())
    made = record["made_by"]
    spec = made["spec"] or {}
    facts = [
        ("title", record["title"]),
        ("type", record["type"]),
        ("format", record["format"]),
        ("path", record["path"]),
        ("size", size(found.artifact.content.size)),
        ("storage", _stored(record)),
        ("uri", record["uri"]),
        ("made by", made["label"]),
        ("spec", f"{spec['id']} {spec['version']}" if spec.get("version") else "none"),
        ("agent", agent_text(by.manifest.agent)),
        ("run", made["run"]),
        ("author", record["record"]["createdByUserId"]),
    ]
    optional = ("title", "uri")
    rows = [
        (name, clean(str(value or "")) or "unknown")
        for name, value in facts
        if value or name not in optional
    ]
    rows += [
        ("source", clean(source["label"] or source["selector"])) for source in _sources(record)
    ]
    rows += [
        ("check", clean(f"{check['check']} {check['result']} {check['detail'] or ''}".rstrip()))
        for check in record["checks"]
    ]
    for line in columns(rows):
        output.line(line)
    selector = full_selector(store, found)
    if record["format"] == "folder":
        output.next(f"cas ls {selector}")
    elif record["storage"] == "stored":
        output.next(f"cas cat {selector}")


def _stored(record: dict[str, Any]) -> str:
    """Where an artifact is stored, and that something of it was purged."""
    part = record["purged"] and record["storage"] != "purged"
    return f"{record['storage']}, purged in part" if part else str(record["storage"])


def _sources(record: dict[str, Any]) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = record["record"]["sourceObjectRefs"]
    return sources


def _plain(value: str | int | bool | bytes) -> str:
    """A value of meta on one line; a long one is cut, `--json` has it whole."""
    text = value.hex() if isinstance(value, bytes) else str(value).rstrip()
    return text if len(text) <= _META_SHOWN else text[: _META_SHOWN - 1] + "…"
