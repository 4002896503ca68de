"""Finding: which versions hold an artifact of this name, type or format, or these very bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final

from castore.database.indexes import MEMBERS_SINCE
from castore.database.reading import Index, Reading
from castore.errors import InvalidInput, RefNotFound
from castore.model.artifact_set import Artifact, ArtifactSet, TreeContent
from castore.model.ids import Id, Kind, parse_id
from castore.model.limits import PREFIX_MIN
from castore.model.names import near_names
from castore.model.pages import TREE, Branching, decode_tree
from castore.model.refs import HEADS
from castore.store.homes import Homes, versions_under
from castore.store.store import Store
from castore.store.version import Version

CONTAINERS: Final = 1_000_000
"""Folders and sets that hold one content, beyond which a search by digest gives up."""
PATHS: Final = 10_000
"""Places of one content in one folder artifact that are told at most."""
NEAR: Final = 1_000
"""Of so many versions, the newest, the names are known that a wrong one is compared with."""
_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to find; "" does not filter. `name` is a glob over artifact names.

    `digest` is the BLAKE3 of a file, as `b3sum` prints it, or of a folder's content; 6 digits of
    it or more. `branch` keeps versions that were committed to it.
    """

    name: str = ""
    digest: str = ""
    type: str = ""
    format: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One artifact that matches, in one version; `path` is the file in it that has the digest."""

    version: Version
    artifact: Artifact
    path: str = ""

    def as_json(self) -> dict[str, Any]:
        """The find as data."""
        content = self.artifact.content
        digest = b"" if isinstance(content, TreeContent) else content.digest
        return {
            "version": self.version.id.hex(),
            "label": self.version.label,
            "branch": self.version.branch,
            "complete": self.version.manifest.complete,
            "artifact": self.artifact.name,
            "type": self.artifact.type or None,
            "format": self.artifact.format or None,
            "size": content.size if content.size >= 0 else None,
            "digest": digest.hex() or None,
            "path": self.path or None,
        }


def find(store: Store, wanted: Wanted, *, limit: int | None = None) -> Iterator[Found]:
    """Every match in every version stored, newest first, partial ones and losers of a race too.

    By digest the search starts at the content and climbs to the folders, sets and versions that
    hold it, naming at most PATHS places in each; by type at the versions with such an artifact;
    else it looks at every version.
    Forgotten versions are left out. Raises InvalidInput for a digest that is none, and where
    nothing is found RefNotFound for a branch that is not there.
    """
    if wanted == Wanted():
        raise InvalidInput("say what to find: a name, a digest, a type, a format or a branch")
    if wanted.digest:
        found = _by_digest(store, wanted)
    elif wanted.type:
        found = _in_versions(store, wanted, _with_type(store, wanted.type), _matching(wanted))
    else:
        found = _in_versions(store, wanted, _all_versions(store), _matching(wanted))
    if wanted.branch:
        found = _on_branch(store, wanted.branch, found)
    return islice(found, limit)


def _on_branch(store: Store, branch: str, found: Iterator[Found]) -> Iterator[Found]:
    """What was found; where that is nothing, the branch must be one that there is."""
    first = next(found, None)
    if first is None:
        known = [ref.removeprefix(HEADS) for ref, _ in store.database.read(lambda t: t.refs(HEADS))]
        if branch not in known:
            near = near_names(branch, known)
            raise RefNotFound(f"no branch is called {branch!r}{near}", fix="cas branch")
        return
    yield first
    yield from found


def sets_with(store: Store, content: Id) -> set[Id]:
    """The sets that hold a file or folder, at any depth; raises InvalidInput for too many."""
    return _climb(store, content)[1]


def versions_with(store: Store, sets: set[Id]) -> Iterator[Version]:
    """The versions of these sets that a branch or a tag holds, newest first."""
    homes = Homes(store)
    for id in _holding(store, sets):
        version = store.version(id)
        home = homes.of(version)
        if home is not None and not _forgotten(store, id):
            yield Version(id, version.manifest, home)


def find_near(store: Store, wanted: Wanted) -> str:
    """Where nothing was found, a question about names that are spelled nearly so, else "".

    Of the artifacts' names, types and formats, as the newest NEAR versions have them.
    """
    kinds = (
        ("artifact", wanted.name if not set(wanted.name) & set("*?[") else ""),
        ("type", wanted.type),
        ("format", wanted.format),
    )
    known: dict[str, set[str]] = {kind: set() for kind, _ in kinds}
    for id in islice(_all_versions(store), NEAR):
        version = store.version(id)
        if _forgotten(store, id) or not version.manifest.complete:
            continue
        for artifact in store.set_of(version).artifacts:
            known["artifact"].add(artifact.name)
            known["type"].add(artifact.type)
            known["format"].add(artifact.format)
    for kind, name in kinds:
        if name and name not in known[kind]:
            near = near_names(name, sorted(known[kind] - {""}))
            what = "artifact is called" if kind == "artifact" else f"artifact has the {kind}"
            return f"no {what} {name!r}{near}" if near else ""
    return ""


_Match = Callable[[ArtifactSet], list[tuple[Artifact, str]]]


def _matching(wanted: Wanted) -> _Match:
    def match(members: ArtifactSet) -> list[tuple[Artifact, str]]:
        return [(artifact, "") for artifact in members.artifacts if _suits(artifact, wanted)]

    return match


def _suits(artifact: Artifact, wanted: Wanted) -> bool:
    return (
        (not wanted.name or fnmatchcase(artifact.name, wanted.name))
        and (not wanted.type or artifact.type == wanted.type)
        and (not wanted.format or artifact.format == wanted.format)
    )


def _in_versions(
    store: Store, wanted: Wanted, versions: Iterator[Id], match: _Match
) -> Iterator[Found]:
    """Matches set by set: versions with one set share the look at it, the last few sets kept."""
    kept: dict[Id, list[tuple[Artifact, str]]] = {}
    homes = Homes(store)
    for id in versions:
        version = store.version(id)
        if wanted.branch and version.branch != wanted.branch:
            continue
        home = homes.of(version)
        if home is None or _forgotten(store, id):
            continue
        version = Version(id, version.manifest, home)
        matches = kept.get(version.set_id)
        if matches is None:
            matches = match(store.set_of(version))
            if len(kept) >= _BATCH:
                kept.pop(next(iter(kept)))
            kept[version.set_id] = matches
        yield from (Found(version, artifact, path) for artifact, path in matches)


def _forgotten(store: Store, id: Id) -> bool:
    return store.database.read(lambda tables: tables.forgotten(id)) is not None


def _all_versions(store: Store) -> Iterator[Id]:
    """Every version stored, newest first."""
    return versions_under(store, [(Index.TIME, b"")])


def _with_type(store: Store, type: str) -> Iterator[Id]:
    """The versions with an artifact of this type, newest first."""
    if store.database.read(Reading.indexes) >= MEMBERS_SINCE:
        return versions_under(store, [(Index.ARTIFACT_TYPE, type)])
    sets = store.database.read(lambda tables: {id for _, id in tables.lookup(Index.TYPE, type)})
    return _holding(store, sets)


def _holding(store: Store, sets: set[Id]) -> Iterator[Id]:
    """The versions of these sets, newest first."""

    def read(tables: Reading) -> list[tuple[int, Id]]:
        return [row for id in sets for row in tables.lookup(Index.IN_MANIFEST, id)]

    rows = store.database.read(read)
    return (id for _, id in sorted(set(rows), reverse=True))


def _by_digest(store: Store, wanted: Wanted) -> Iterator[Found]:
    content = _content(store, wanted.digest)
    if content is None:
        return iter(())
    pages, sets = _climb(store, content)

    def match(members: ArtifactSet) -> list[tuple[Artifact, str]]:
        found: list[tuple[Artifact, str]] = []
        for artifact in members.artifacts:
            if not _suits(artifact, wanted):
                continue
            held = artifact.content
            if isinstance(held, TreeContent):
                if held.id == content:
                    found.append((artifact, ""))
                elif held.id in pages:
                    paths = _paths(store, held.id, content, pages, "")
                    found.extend((artifact, path) for path in islice(paths, PATHS))
            elif held.digest == content:
                found.append((artifact, ""))
        return found

    return _in_versions(store, wanted, _holding(store, sets), match)


def _content(store: Store, text: str) -> Id | None:
    """The content meant by a digest or the beginning of one; None if nothing has it.

    An external artifact's digest names nothing stored: it must be typed in full.
    """
    digits = text.lower()
    if len(digits) == 64:
        return parse_id(digits)
    if len(digits) < PREFIX_MIN or digits.strip("0123456789abcdef"):
        raise InvalidInput(f"{text!r} is not a digest: {PREFIX_MIN} to 64 hex digits are needed")
    rows = store.database.read(lambda tables: tables.ids_with_prefix(digits, 100))
    ids = [id for id, kind in rows if kind in (Kind.CHUNK, Kind.LAYOUT, Kind.TREE)]
    if len(ids) > 1:
        ids = [id for id in ids if _climb(store, id)[1]]
    if len(ids) > 1:
        raise InvalidInput(
            f"{text!r} begins {len(ids)} digests: type more of it",
            candidates=[id.hex() for id in ids],
        )
    return ids[0] if ids else None


def _climb(store: Store, content: Id) -> tuple[set[Id], set[Id]]:
    """The folder pages and the sets that hold a content, directly or through folders."""
    pages: set[Id] = set()
    sets: set[Id] = set()
    level = [content]
    while level:
        batch, level = level[:_BATCH], level[_BATCH:]

        def read(tables: Reading, ids: list[Id] = batch) -> list[tuple[Id, Kind]]:
            return [row for id in ids for row in tables.containers(id)]

        for id, kind in store.database.read(read):
            if kind is Kind.SET:
                sets.add(id)
            elif kind is Kind.TREE and id not in pages:
                pages.add(id)
                level.append(id)
        if len(pages) + len(sets) > CONTAINERS:
            raise InvalidInput(
                f"more than {CONTAINERS} folders and sets hold {content.hex()}: "
                "search by name or type instead"
            )
    return pages, sets


def _paths(store: Store, page: Id, content: Id, pages: set[Id], prefix: str) -> Iterator[str]:
    """Where in a folder a content lies; only pages known to lead to it are read."""
    for row in decode_tree(store.reader.tree_page(page)).entries:
        if isinstance(row, Branching):
            if row.id in pages:
                yield from _paths(store, row.id, content, pages, prefix)
            continue
        path = prefix + row.name.decode()
        if row.id == content:
            yield path
        elif row.kind == TREE and row.id in pages:
            yield from _paths(store, row.id, content, pages, path + "/")
