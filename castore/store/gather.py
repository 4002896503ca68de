"""Gathering: from the paths a person types and the spec's places to the inputs of a commit."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from castore.content.absent import look_for, near_files
from castore.content.folders import IGNORE_FILE, list_folder, skipped_notices
from castore.errors import InvalidInput, InvalidName
from castore.model.limits import SET_ARTIFACTS
from castore.model.names import check_artifact_name, check_branch, near_names, quoted
from castore.spec.declaration import Declared, Spec
from castore.store.specs import SpecFile

STDIN: Final = "-"
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Input:
    """Where the bytes of one artifact come from: `path`, `glob` below a folder, stdin, or `uri`."""

    name: str
    path: Path = Path()
    glob: str = ""
    stdin: bool = False
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """The PATH arguments sorted out: NAME=PATH pairs, and the plain paths."""

    named: dict[str, str]
    plain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The inputs of a commit, the branch they suggest, the folder they came from, notices."""

    inputs: tuple[Input, ...]
    branch: str = ""
    folder: Path | None = None
    warnings: tuple[str, ...] = ()


def sort_arguments(arguments: Sequence[str], cwd: Path) -> Given:
    """NAME=PATH pairs and plain paths; an existing path that contains `=` is a path."""
    named: dict[str, str] = {}
    plain: list[str] = []
    for text in arguments:
        name, sign, path = text.partition("=")
        if not sign or os.path.lexists(cwd / text):
            plain.append(text)
            continue
        check_artifact_name(name)
        if not path:
            raise InvalidInput(f"{text!r}: a path must follow '='")
        if name in named:
            raise InvalidInput(f"artifact {name!r} was given twice: {named[name]!r} and {path!r}")
        named[name] = path
    if list(named.values()).count(STDIN) > 1:
        raise InvalidInput("standard input can be only one artifact")
    return Given(named, tuple(plain))


def gather_declared(
    spec: SpecFile,
    given: Given,
    cwd: Path,
    *,
    only: Collection[str] = (),
    have: Collection[str] = (),
) -> Gathered:
    """The inputs that a spec's places and NAME=PATH name; what is not there is simply left out.

    A plain folder stands for the spec's `base:`. `only` limits which are made, `have` are at hand
    already and made anew only when named.
    """
    base = _base(spec, given, cwd)
    check_declared(spec.spec, only, "--only")
    inputs = [_named(name, path, cwd, spec.spec.get(name)) for name, path in given.named.items()]
    for declared in spec.spec.artifacts:
        name = declared.name
        if name in given.named or (only and name not in only) or name in have:
            continue
        found = _declared(declared, base)
        if found is not None:
            inputs.append(found)
    warnings = _undeclared(spec.spec, base) if given.plain else ()
    return Gathered(tuple(inputs), spec.spec.id, base, warnings)


def gather_plain(
    given: Given,
    cwd: Path,
    *,
    only: Collection[str] = (),
    have: Collection[str] = (),
    links: str = "refuse",
) -> Gathered:
    """The inputs without a spec: a folder's top-level entries, single files, NAME=PATH pairs.

    One plain path suggests the branch: a folder's name, or a file's without its extension.
    """
    inputs = [_named(name, path, cwd, None) for name, path in given.named.items()]
    branch, folder = "", None
    notices: tuple[str, ...] = ()
    if len(given.plain) == 1 and not given.named:
        path = Path(os.path.abspath(cwd / given.plain[0]))
        _must_exist(path, given.plain[0])
        branch = path.name if path.is_dir() else path.stem
        if path.is_dir():
            folder = path
            entries, notices = _entries(path, links)
            inputs += entries
        else:
            inputs.append(Input(path.name, path))
    else:
        for text in given.plain:
            path = Path(os.path.abspath(cwd / text))
            _must_exist(path, text)
            inputs.append(Input(path.name, path))
    _check_names(inputs)
    names = {found.name for found in inputs}
    unknown = sorted(set(only) - names - set(have))
    if unknown:
        raise InvalidInput(f"--only {unknown[0]}: no such artifact in the paths given")
    kept = [
        found
        for found in inputs
        if (not only or found.name in only)
        and (found.name in given.named or found.name not in have)
    ]
    return Gathered(tuple(kept), branch, folder, notices)


def branch_for(name: str, gathered: Gathered) -> str:
    """The branch to commit to: `name` if given, else what the inputs suggest."""
    if name:
        return check_branch(name)
    if not gathered.branch:
        raise InvalidInput("several paths need a name for the set", fix="add --name NAME")
    try:
        return check_branch(gathered.branch)
    except InvalidName as error:
        raise InvalidName(
            f"{gathered.branch!r} cannot name a branch: {error.message}", fix="add --name NAME"
        ) from None


def _base(spec: SpecFile, given: Given, cwd: Path) -> Path:
    if not given.plain:
        return spec.base
    if len(given.plain) > 1:
        raise InvalidInput(
            f"with a spec one folder can stand for its base; {len(given.plain)} paths were given",
            fix="use NAME=PATH for single artifacts",
        )
    path = Path(os.path.abspath(cwd / given.plain[0]))
    _must_exist(path, given.plain[0])
    if not path.is_dir():
        raise InvalidInput(
            f"{given.plain[0]!r} is a file; with a spec say which artifact it is",
            fix=f"NAME={quoted(given.plain[0])}",
        )
    return path


def check_declared(spec: Spec, names: Collection[str], what: str) -> None:
    """Refuse names that the spec does not declare; raises InvalidInput with near matches."""
    known = [declared.name for declared in spec.artifacts]
    for name in names:
        if name not in known:
            hint = near_names(name, known) or f"; it has {', '.join(known)}"
            raise InvalidInput(f"{what} {name}: spec {spec.id} declares no such artifact{hint}")


def _named(name: str, path: str, cwd: Path, declared: Declared | None) -> Input:
    if path == STDIN:
        return Input(name, stdin=True)
    if _URI.match(path):
        return Input(name, uri=path)
    if declared is not None and declared.storage == "external":
        place = Path(os.path.abspath(cwd / path))
        _must_exist(place, path)
        return Input(name, uri=place.as_uri())
    place = Path(os.path.abspath(cwd / path))
    _must_exist(place, path)
    return Input(name, place)


def _declared(declared: Declared, base: Path) -> Input | None:
    if declared.storage == "external":
        return Input(declared.name, uri=declared.uri) if declared.uri else None
    if declared.is_glob:
        return Input(declared.name, base, glob=declared.path)
    path = base / declared.path
    return Input(declared.name, path) if os.path.lexists(path) else None


def _undeclared(spec: Spec, base: Path) -> tuple[str, ...]:
    """Notices about top-level entries of a given folder that no declared place covers."""
    places = {declared.place.split("/")[0] for declared in spec.artifacts}
    names, _ = list_folder(base, "skip")
    extra = [name for name in names if name not in places and name != IGNORE_FILE]
    if not extra:
        return ()
    shown = ", ".join(extra[:5]) + (" …" if len(extra) > 5 else "")
    return (f"not declared by the spec and left out: {shown}",)


def _entries(folder: Path, links: str) -> tuple[list[Input], tuple[str, ...]]:
    """The inputs that a folder's top-level entries are, and notices about what was left out."""
    names, skipped = list_folder(folder, links)
    names = [name for name in names if name != IGNORE_FILE]
    if not names:
        raise InvalidInput(f"{str(folder)!r} holds nothing to commit")
    return [Input(name, folder / name) for name in names], skipped_notices(skipped)


def _check_names(inputs: Sequence[Input]) -> None:
    bad: list[str] = []
    for found in inputs:
        try:
            check_artifact_name(found.name)
        except InvalidName as error:
            bad.append(error.message)
    if len(inputs) > SET_ARTIFACTS:
        bad.insert(0, f"{len(inputs)} entries; a set holds at most {SET_ARTIFACTS} artifacts")
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise InvalidName(
            "; ".join(bad[:5]) + more,
            fix="commit the whole folder as one artifact: cas commit NAME=DIR --name BRANCH",
        )


def _must_exist(path: Path, text: str) -> None:
    if not os.path.lexists(path):
        raise InvalidInput(f"{text!r} does not exist{near_files(path)}", fix=look_for(path))
