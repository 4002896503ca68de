"""Tags: names given once; a tag never moves, and its name is never given again."""

from __future__ import annotations

from collections.abc import Callable

from castore.database.reading import Reading
from castore.database.writing import Writing
from castore.errors import Conflict, InvalidInput, RefNotFound, TagExists
from castore.model.refs import HEADS, TAGS, tag_ref
from castore.store.presence import held_version, require_stored
from castore.store.store import Store
from castore.store.version import Version, version_in


def list_tags(store: Store) -> list[tuple[str, Version]]:
    """Every tag and the version it names, sorted by name."""

    def read(tables: Reading) -> list[tuple[str, Version]]:
        refs = tables.refs(TAGS)
        return [(name.removeprefix(TAGS), version_in(tables, id)) for name, id in refs]

    return store.database.read(read)


def create_tag(store: Store, name: str, version: Version, *, by: str, why: str = "") -> None:
    """Name `version` for ever; raises TagExists when the name is or ever was a tag's."""
    ref = tag_ref(name)
    if not version.manifest.complete:
        raise InvalidInput(f"{version.label} is incomplete; a tag names complete versions only")
    at = store.now()

    def transact(tables: Writing) -> None:
        if tables.ref(HEADS + name):
            raise Conflict(f"a branch is called {name!r}: a tag and a branch may not share a name")
        if tables.tombstone(ref):
            raise TagExists(f"tag {name!r} was deleted; tag names are never reused")
        require_stored(tables, version)
        if not tables.add_if_new(ref, version.id):
            raise TagExists(f"tag {name!r} exists", fix=f"cas show {name}")
        refs = [(ref, b"", version.id)]
        tables.append_operation("tag", op_id="", at=at, by=by, why=why, refs=refs, detail={})
        tables.bump_generation()

    store.database.write(transact)


def delete_tag(store: Store, name: str, *, by: str, why: str = "") -> Version:
    """Take a tag away, keeping its name taken, and give back its version; raises RefNotFound."""
    ref = tag_ref(name)
    at = store.now()

    def transact(tables: Writing) -> Callable[[], Version]:
        id = tables.ref(ref)
        if id is None:
            raise RefNotFound(f"no tag is called {name!r}", fix="cas tag")
        version = held_version(tables, id)
        tables.remove_if_equals(ref, id, tombstone=True)
        refs = [(ref, id, b"")]
        tables.append_operation("tag-delete", op_id="", at=at, by=by, why=why, refs=refs, detail={})
        tables.bump_generation()
        return version

    return store.database.write(transact, urgent=True)()
