"""`cas spec`: check or draft a spec, the list of outputs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from castore.cli.access import store_place
from castore.cli.invocation import Invocation
from castore.cli.output import Output
from castore.cli.paths import files
from castore.cli.screen import clean, columns, plural
from castore.cli.verbs import Family, verb
from castore.content.absent import near_files
from castore.errors import InvalidInput, StoreFull, StoreNotFound, WouldOverwrite
from castore.spec.guess import HEAD_BYTES
from castore.spec.init import Found, draft_spec
from castore.spec.schema import spec_schema
from castore.store.conformance import check_schemas
from castore.store.opening import FOLDER, find_store
from castore.store.specs import SpecFile, only_spec, read_spec

_STDOUT = "-"
_HIDDEN = frozenset({".cas", ".git", ".casignore"})

command = Family(
    "spec",
    help=(
        "Check or draft a spec: the YAML file that lists what a run must put out.\n\n"
        "With a spec a set is checked before it becomes a version, and found by its places."
    ),
    examples=[
        ("cas spec init out/", "draft one from a folder of outputs"),
        ("cas spec check report.spec.yaml", "every fault, with line and column"),
    ],
)


@verb(
    "check",
    family=command,
    examples=[
        ("cas spec check", "the one *.spec.yaml here"),
        ("cas spec check report.spec.yaml --json", "faults as data"),
    ],
)
@click.argument("file", required=False, metavar="[FILE]", shell_complete=files)
@click.pass_obj
def check(call: Invocation, file: str | None) -> None:
    """Check a spec and the schemas it names; every fault is told, with line and column."""
    path = Path(file) if file else only_spec(Path())
    if path is None:
        raise InvalidInput("not one single *.spec.yaml here; name the file", fix="cas spec init")
    spec = read_spec(path)
    check_schemas(spec)
    if call.output.json:
        call.output.record(_record(spec))
    else:
        _print(call.output, spec)


@verb(
    "schema",
    family=command,
    examples=[
        ("cas spec schema > spec.schema.json", "for your editor"),
        ("cas spec schema --json", "on one line"),
    ],
)
@click.pass_obj
def schema(call: Invocation) -> None:
    """Print the JSON Schema of specs, for editors.

    Put `# yaml-language-server: $schema=spec.schema.json` on the first line of a spec.
    """
    if call.output.json:
        call.output.record(spec_schema())
    else:
        call.output.line(json.dumps(spec_schema(), indent=2))


@verb(
    "init",
    family=command,
    examples=[
        ("cas spec init out/", "declare what lies in out/"),
        ("cas spec init --name report a.md b.csv -o -", "two files, printed"),
    ],
)
@click.argument("paths", nargs=-1, metavar="[PATH]…", shell_complete=files)
@click.option("--name", default="", metavar="NAME", help="the spec's id (else the folder's name)")
@click.option(
    "-o", "--output", "file", default="", metavar="FILE", help="else NAME.spec.yaml; - prints",
    shell_complete=files,
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="replace FILE if it exists")
@click.pass_obj
def init(call: Invocation, paths: tuple[str, ...], name: str, file: str, force: bool) -> None:
    """Draft a spec from outputs that are there already.

    One folder: its entries are the artifacts. Formats and types are guessed: read it over.
    """
    folder = Path(paths[0]) if paths else Path()
    whole = len(paths) < 2 and folder.is_dir()
    found = list(_entries(folder)) if whole else [Path(path) for path in paths]
    missing = [str(path) for path in found if not path.exists()]
    if missing or not found:
        what = (
            f"{missing[0]!r} does not exist{near_files(Path(missing[0]))}"
            if missing
            else f"{str(folder)!r} is empty"
        )
        raise InvalidInput(what, fix="cas spec init DIR")
    spec_id = name or (folder.absolute() if whole else found[0]).stem
    target = Path(file or f"{spec_id}.spec.yaml")
    text = _draft(call, spec_id, [_entry(path, target.parent) for path in found], target.parent)
    if file == _STDOUT:
        call.output.line(text.rstrip("\n"))
        return
    if target.exists() and not force:
        raise WouldOverwrite(f"{str(target)!r} exists", fix="add -f, or -o FILE")
    _write(target, text)
    if call.output.json:
        call.output.record({"file": str(target), "spec": spec_id, "artifacts": len(found)})
        return
    call.output.line(f"wrote {clean(str(target))}: {plural(len(found), 'artifact')}")
    call.output.next(f"cas commit --spec {target}")


def _write(target: Path, text: str) -> None:
    """Write the file; one that does not fit leaves no new one behind."""
    fresh = not os.path.lexists(target)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        if fresh:
            target.unlink(missing_ok=True)
        fix = "free space there, or name another place: -o FILE"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"{str(target)!r}: the disk is full", fix=fix) from None
        raise InvalidInput(
            f"{str(target)!r}: {error.strerror}", fix="name another place: -o FILE"
        ) from None


def _draft(call: Invocation, spec_id: str, entries: Sequence[Found], base: Path) -> str:
    """The draft, with the store that is in use from here in place of the usual `.cas`."""
    text = draft_spec(spec_id, entries)
    try:
        store = find_store(store_place(call))
    except StoreNotFound:
        return text
    place = Path(os.path.relpath(store, base)).as_posix()
    if place == FOLDER:
        return text
    return text.replace("\nstore: .cas\n", f"\nstore: {json.dumps(place)}\n", 1)


def _entries(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name not in _HIDDEN and not path.name.endswith((".spec.yaml", ".spec.yml")):
            yield path


def _entry(path: Path, base: Path) -> Found:
    """The artifact name, place below the spec's folder, first bytes, and whether it is a folder."""
    place = Path(os.path.relpath(path, base)).as_posix()
    if place.startswith("../"):
        raise InvalidInput(
            f"{str(path)!r} lies outside of {str(base.absolute())!r}, the spec's folder"
        )
    if path.is_dir():
        return path.name, place, None, True
    with path.open("rb") as file:
        return path.name, place, file.read(HEAD_BYTES), False


def _print(output: Output, spec: SpecFile) -> None:
    found = spec.spec
    output.line(
        f"{clean(found.id)} {clean(found.version)}: {plural(len(found.artifacts), 'artifact')}"
    )
    rows: Sequence[tuple[str, ...]] = [
        (
            "  " + clean(item.name),
            clean(item.type),
            clean(item.format),
            clean(item.path),
            "" if item.required else "optional",
        )
        for item in found.artifacts
    ]
    for line in columns(rows):
        output.line(line)
    output.next(f"cas commit --spec {spec.path.name}")


def _record(spec: SpecFile) -> dict[str, object]:
    found = spec.spec
    return {
        "file": str(spec.path),
        "spec": {
            "id": found.id,
            "version": found.version,
            "description": found.description or None,
        },
        "contract": spec.pin(spec.path.parent).contract.hex(),
        "store": found.store or None,
        "base": str(spec.base),
        "artifacts": [
            {
                "name": item.name,
                "type": item.type,
                "format": item.format,
                "path": item.path,
                "title": item.title or None,
                "required": item.required,
                "storage": item.storage,
                "line": item.line,
            }
            for item in found.artifacts
        ],
    }
