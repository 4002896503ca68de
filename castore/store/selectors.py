"""Selectors: from `name@v3~1:artifact/path` to the one version and artifact it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.errors import Ambiguous, InvalidInput, RefNotFound
from castore.model.artifact_set import Artifact
from castore.model.ids import Id, Kind, short
from castore.model.limits import PREFIX_MIN
from castore.model.names import near_names
from castore.model.refs import HEADS, PARTIALS, REMOTES, TAGS
from castore.model.values import frozen
from castore.store.moments import DAYS, FORMS, parse_moment
from castore.store.standing import newest_approved, newest_in_state
from castore.store.store import Store
from castore.store.version import Version, version_in

_NUMBER: Final = r"v(\d{1,18})\Z"
_HEX: Final = r"[0-9a-f]{6,64}\Z"
_WORDS: Final = ("latest", "approved", "published")
_BACK: Final = r"~(\d{0,9})\Z"


@frozen
class Selector:
    """A parsed selector: `name`, `at` (after @, "" if none), steps `back`, artifact, path in it."""

    text: str
    name: str
    at: str = ""
    back: int = 0
    artifact: str = ""
    path: str = ""


@frozen
class Resolved:
    """What a selector means: a version, and the artifact and the path inside it if it names one."""

    selector: Selector
    version: Version
    artifact: Artifact | None = None
    path: str = ""


def parse_selector(text: str) -> Selector:
    """The parts of `REV[:artifact[/path]]`; raises InvalidInput."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"selector {text!r} is not UTF-8: no name is like that") from None
    revision, colon, rest = text.partition(":")
    artifact, _, path = rest.partition("/")
    if colon and not artifact:
        raise InvalidInput(f"selector {text!r}: an artifact name must follow ':'")
    back = 0
    match = re.search(_BACK, revision)
    if match:
        back = int(match[1] or 1)
        revision = revision[: match.start()]
    name, sign, at = revision.partition("@")
    if sign and not at:
        raise InvalidInput(
            f"selector {text!r}: v<number>, latest, approved, published or a time must follow '@'"
        )
    if "~" in revision or "@" in at:
        raise InvalidInput(f"selector {text!r}: use NAME[@v<number>][~<steps>][:artifact]")
    if not revision and not back and not colon:
        raise InvalidInput("an empty selector names nothing")
    return Selector(text, name, at, back, artifact, path)


def resolve(store: Store, text: str, *, default: str = "", prefixes: bool = True) -> Resolved:
    """The version and artifact that `text` means; `default` is the branch where it names none.

    Raises RefNotFound with near matches, Ambiguous with candidates, InvalidInput.
    `prefixes=False` refuses id prefixes (for verbs that must not be fooled by a chosen prefix).
    """
    selector = parse_selector(text)
    name = selector.name or default
    if not name:
        raise RefNotFound(f"{text!r} names no branch, and there is no single one to assume")
    version = _start(store, name, selector, prefixes=prefixes)
    version = _at(store, version, selector)
    version = step_back(store, version, selector.back)
    if not selector.artifact:
        return Resolved(selector, version)
    return Resolved(
        selector, version, find_artifact(store, version, selector.artifact), selector.path
    )


def resolve_version(store: Store, text: str, *, default: str = "") -> Version:
    """The version `text` means; raises InvalidInput when it goes on to name an artifact."""
    resolved = resolve(store, text, default=default)
    if resolved.artifact is not None:
        raise InvalidInput(
            f"{text!r} names an artifact; a version is needed here",
            fix=f"leave out {text[text.index(':') :]}",
        )
    return resolved.version


def find_artifact(store: Store, version: Version, name: str) -> Artifact:
    """The artifact of this name in a version; raises RefNotFound with near matches."""
    members = store.set_of(version)
    artifact = members.get(name)
    if artifact is None:
        names = [member.name for member in members.artifacts]
        raise RefNotFound(
            f"{version.label} has no artifact {name!r}{near_names(name, names)}",
            fix=f"cas ls {version.label}",
        )
    return artifact


def branch_names(store: Store) -> list[str]:
    """Every branch, sorted by name."""
    refs = store.database.read(lambda tables: tables.refs(HEADS))
    return [name.removeprefix(HEADS) for name, _ in refs]


def tip(store: Store, branch: str) -> Version | None:
    """The newest version of a branch, or None if there is no such branch."""
    return _named(store, HEADS + branch, branch)


def _named(store: Store, ref: str, branch: str = "") -> Version | None:
    def read(tables: Reading) -> Version | None:
        id = tables.ref(ref)
        return version_in(tables, id, branch) if id else None

    return store.database.read(read)


def first_parents(store: Store, version: Version) -> Iterator[Version]:
    """`version` and its ancestors along first parents, newest first, as far as they are present."""
    yield version
    while version.manifest.parents:
        earlier = store.version_here(version.manifest.parents[0], version.branch)
        if earlier is None:
            return
        version = earlier
        yield version


def step_back(store: Store, version: Version, steps: int) -> Version:
    """The ancestor `steps` first parents back; raises RefNotFound beyond the first version."""
    if steps >= version.number:
        raise RefNotFound(
            f"{version.label} has no version {steps} back", fix=f"cas log {version.label}"
        )
    return numbered(store, version, version.number - steps) if steps else version


def numbered(store: Store, version: Version, number: int) -> Version:
    """The ancestor with this number along first parents; raises RefNotFound."""
    found = None
    if 1 <= number <= version.number:
        found = store.database.read(lambda tables: tables.ancestor(version.id, number))
    if found is None and 1 <= number < version.number:
        raise RefNotFound(
            f"{version.branch}@v{number} was not fetched: history here begins later",
            fix="cas fetch --unshallow",
        )
    if found is None:
        raise RefNotFound(
            f"{version.branch} has no v{number}: its newest here is v{version.number}",
            fix=f"cas log {version.branch}",
        )
    return store.version(found, version.branch)


def _start(store: Store, name: str, selector: Selector, *, prefixes: bool) -> Version:
    """Full id, branch, tag, branch of a remote, then prefix, in this order."""
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return _by_id(store, bytes.fromhex(name), name)
    found = _named(store, HEADS + name, name) or _named(store, TAGS + name)
    if found is None and name.startswith(PARTIALS):
        found = _named(store, name)
    if found is None and "/" in name:
        found = _seen(store, name)
    if found is not None:
        return found
    if re.match(_HEX, name):
        if not prefixes:
            raise InvalidInput(
                f"{name!r} is a short id; this command needs a branch, a tag or the full 64 digits",
                id=_by_prefix(store, name).id.hex(),
            )
        return _by_prefix(store, name)
    if name == "latest" and not selector.at:
        raise RefNotFound(f"{name!r} needs a branch", fix="cas show NAME@latest")
    known = branch_names(store) + _tag_names(store)
    near = near_names(name, known + (_seen_names(store) if "/" in name else []))
    if len(name) < PREFIX_MIN and not name.strip("0123456789abcdef"):
        near = near or f"; the beginning of an id has {PREFIX_MIN} digits or more"
    raise RefNotFound(
        f"no branch, tag or version is called {name!r}{near}",
        fix="cas branch" if known else "cas commit PATH",
    )


def _seen(store: Store, name: str) -> Version | None:
    """Where `REMOTE/BRANCH` was when it was seen last; `remotes/` may stand before it."""
    short_name = name.removeprefix(REMOTES)
    # What it is called must mean it again.
    taken = any(_named(store, kind + short_name) for kind in (HEADS, TAGS))
    return _named(store, REMOTES + short_name, REMOTES + short_name if taken else short_name)


def _seen_names(store: Store) -> list[str]:
    refs = store.database.read(lambda tables: tables.refs(REMOTES))
    return [name.removeprefix(REMOTES) for name, _ in refs]


def _tag_names(store: Store) -> list[str]:
    refs = store.database.read(lambda tables: tables.refs(TAGS))
    return [name.removeprefix(TAGS) for name, _ in refs]


def _by_id(store: Store, id: Id, text: str) -> Version:
    row = store.database.read(lambda tables: tables.object_row(id))
    if row is None or row.kind is not Kind.MANIFEST:
        raise RefNotFound(f"no version has the id {text}", fix="cas log")
    return store.version(id)


def _by_prefix(store: Store, prefix: str) -> Version:
    found = store.database.read(lambda tables: tables.ids_with_prefix(prefix, 1000))
    versions = [id for id, kind in found if kind is Kind.MANIFEST]
    if not versions:
        near = near_names(prefix, branch_names(store) + _tag_names(store))
        raise RefNotFound(
            f"no version's id begins with {prefix!r}{near}", fix="cas branch" if near else "cas log"
        )
    if len(versions) > 1:
        raise Ambiguous(
            f"{prefix!r} begins {len(versions)} version ids: "
            + ", ".join(short(id) for id in versions[:5]),
            candidates=[id.hex() for id in versions],
            fix=f"type more than {max(len(prefix), PREFIX_MIN)} digits",
        )
    return store.version(versions[0])


def _at(store: Store, version: Version, selector: Selector) -> Version:
    at = selector.at
    if at in ("", "latest"):
        return version
    match = re.match(_NUMBER, at)
    if match:
        return numbered(store, version, int(match[1]))
    if at == "approved":
        approved = newest_approved(store, version)
        if approved is None:
            raise RefNotFound(
                f"no version of {version.branch} counts as approved", fix="cas review"
            )
        return approved
    if at == "published":
        return newest_in_state(store, version, Index.LIFECYCLE, at)
    if at.startswith("spec="):
        wanted = at.removeprefix("spec=")
        return _first(store, version, lambda found: found.manifest.spec.version == wanted, selector)
    moment = _moment(store, selector)
    return _first(store, version, lambda found: found.manifest.at <= moment, selector)


def _moment(store: Store, selector: Selector) -> int:
    """The time after the `@`; raises InvalidInput, with the words that are spelled nearly so."""
    try:
        return parse_moment(selector.at, store.now(), last=True)
    except InvalidInput:
        near = near_names(f"@{selector.at}", [f"@{word}" for word in (*_WORDS, *DAYS)])
        said = near or f"; use v<number>, {', '.join(_WORDS)}, spec=<version>, or {FORMS}"
        raise InvalidInput(
            f"{selector.text!r}: @{selector.at} means no version{said}",
            value=selector.at,
        ) from None


def _first(
    store: Store, version: Version, matches: Callable[[Version], bool], selector: Selector
) -> Version:
    for found in first_parents(store, version):
        if matches(found):
            return found
    raise RefNotFound(
        f"no version of {version.branch} is @{selector.at}", fix=f"cas log {version.branch}"
    )
