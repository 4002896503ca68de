"""`cas diff`: what differs between two versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import click

from castore.cli.access import opened, resolve_here
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.options import spec_option
from castore.cli.output import Output
from castore.cli.screen import clean, plural, size
from castore.cli.verbs import verb
from castore.errors import InvalidInput
from castore.model.artifact_set import Artifact, Content, ExternalContent, TreeContent
from castore.model.ids import short
from castore.model.names import quoted
from castore.store.diff import ArtifactChange, SetDiff, diff_versions
from castore.store.diff_content import ContentDiff, diff_contents
from castore.store.diff_path import diff_path
from castore.store.selectors import Resolved, find_artifact
from castore.store.store import Store
from castore.store.version import Version

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "mode": "~"}
_COLORS = {"+": "green", "-": "red", "@": "cyan"}


@verb(
    "diff",
    examples=[
        ("cas diff", "the newest version against the one before"),
        ("cas diff report@v1 report:summary", "one artifact between two versions"),
    ],
)
@click.argument("old", required=False, metavar="[REV[:ARTIFACT[/PATH]]]", shell_complete=revisions)
@click.argument("new", required=False, metavar="[REV[:ARTIFACT[/PATH]]]", shell_complete=revisions)
@spec_option("without REV: the branch of this spec")
@click.option("--stat", is_flag=True, help="which artifacts differ, not how")
@click.option("--exit-code", is_flag=True, help="exit with 1 when something differs")
@click.pass_obj
def command(
    call: Invocation, old: str | None, new: str | None, spec: str, stat: bool, exit_code: bool
) -> int:
    """Show what differs between two versions.

    With one REV: that version against its parent. Without: the newest version of the branch of
    --spec, of the one *.spec.yaml here, or of the only branch. Text is compared by lines, JSON by
    path, CSV by row.
    """
    with opened(call, spec) as store:
        left, right, artifact, path = _sides(store, spec, old, new)
        if path:
            one = diff_path(store, left, right, artifact, path)
            found = SetDiff(old=left, new=right, artifacts=(one,) if one else ())
        else:
            found = diff_versions(store, left, right)
        changes = [change for change in found.artifacts if artifact in ("", change.name)]
        contents = () if stat else diff_contents(store, changes)
        differs = bool(changes) if artifact else _differs(found)
        if call.output.json:
            record = found.as_json()
            record["artifacts"] = [
                row for row in record["artifacts"] if artifact in ("", row["name"])
            ]
            record["contents"] = None if stat else [content.as_json() for content in contents]
            call.output.record(record)
        else:
            _print(call.output, found, changes, contents, artifact + f"/{path}" * bool(path))
    return 1 if exit_code and differs else 0


def _sides(
    store: Store, spec: str, old: str | None, new: str | None
) -> tuple[Version | None, Version, str, str]:
    """The versions to compare, the first may be nothing; the one artifact meant and a path in it.

    Where one REV names an artifact or a path, it is that one in both.
    """
    first = _resolve(store, spec, old)
    if new is None:
        parents = first.version.manifest.parents
        left = store.version(parents[0], first.version.branch) if parents else None
        right, names = first.version, {_inside(first)}
    else:
        second = _resolve(store, spec, new)
        left, right = first.version, second.version
        names = {_inside(first), _inside(second)}
    names.discard("")
    if len(names) > 1:
        raise InvalidInput(
            f"{old!r} and {new!r} are different artifacts; diff compares one with itself",
            fix=f"cas diff {quoted(old or '')} {quoted((new or '').partition(':')[0])}",
        )
    artifact, _, path = (names.pop() if names else "").partition("/")
    if artifact and not (left and store.set_of(left).get(artifact)):
        find_artifact(store, right, artifact)
    return left, right, artifact, path


def _inside(found: Resolved) -> str:
    """What a selector names in its version: an artifact, a path in one, or nothing."""
    path = found.selector.path.strip("/")
    return found.selector.artifact + f"/{path}" * bool(path)


def _resolve(store: Store, spec: str, text: str | None) -> Resolved:
    """As `resolve_here`; of an artifact, which one side may lack, only the name is taken."""
    revision, _, rest = (text or "").partition(":")
    found = resolve_here(store, revision, spec)
    name, _, path = rest.partition("/")
    return replace(found, selector=replace(found.selector, artifact=name, path=path))


def _differs(found: SetDiff) -> bool:
    return bool(
        found.artifacts
        or found.spec
        or found.sources_added
        or found.sources_removed
        or found.checks
    )


def _print(
    output: Output,
    found: SetDiff,
    changes: Iterable[ArtifactChange],
    contents: Iterable[ContentDiff],
    artifact: str,
) -> None:
    old = f"{clean(found.old.label)} {found.old.short}" if found.old else "nothing"
    output.line(f"{old} → {clean(found.new.label)} {found.new.short}")
    lines = [line for change in changes for line in _change_lines(change)]
    if not artifact:
        lines += _other_lines(found)
    for line in lines:
        _colored(output, line)
    if not lines:
        output.line("no difference" + (f" in {clean(artifact)}" if artifact else ""))
    if found.unchanged and not artifact:
        output.line(f"  {plural(found.unchanged, 'artifact')} unchanged")
    for content in contents:
        output.line()
        for line in content.lines():
            _colored(output, line)


def _colored(output: Output, line: str) -> None:
    """One line of a difference: cleaned but for tabs, in the colour of its sign."""
    text = "\t".join(clean(part) for part in line.split("\t"))
    color = _COLORS.get(line[:1], "")
    output.line(output.style(text, color) if color else text)


def _change_lines(change: ArtifactChange) -> Iterator[str]:
    sides = [_described(side) for side in (change.old, change.new) if side]
    if len(sides) == 2 and sides[0] == sides[1]:
        del sides[1]
    fields = f" ({', '.join(change.fields)})" if change.fields else ""
    yield f"{_SIGNS[change.change]} {change.name}{fields}: {' → '.join(sides)}"
    for file in change.files:
        sizes = [size(side.size) for side in (file.old, file.new) if side]
        yield f"    {_SIGNS[file.change]} {file.path}: {' → '.join(sizes)}"
    if change.more_files:
        yield f"    … and {plural(change.more_files, 'more file')}"


def _described(artifact: Artifact) -> str:
    content: Content = artifact.content
    if isinstance(content, TreeContent):
        return f"folder {short(content.id)}, {size(content.size)}"
    if isinstance(content, ExternalContent):
        return f"external {short(content.digest) or 'unknown'}, {size(content.size)}"
    return f"{short(content.digest)}, {size(content.size)}"


def _other_lines(found: SetDiff) -> list[str]:
    """The lines about spec, sources and checks."""
    lines = [
        f"spec {change.field}: {_cut(change.old)} → {_cut(change.new)}" for change in found.spec
    ]
    for sign, sources in (("+", found.sources_added), ("-", found.sources_removed)):
        for source in sources:
            label = source.label or source.uri or source.selector
            lines.append(
                f"{sign} source {label}" + (f" for {source.artifact}" * bool(source.artifact))
            )
    for check in found.checks:
        results = f"{check.old or 'not run'} → {check.new or 'not run'}"
        lines.append(f"check {check.artifact} {check.check}: {results}")
    return lines


def _cut(value: str) -> str:
    return value[:12] if len(value) == 64 else value or "none"
