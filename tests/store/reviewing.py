"""Notes put into a store as another castore may have written them, and versions under policies."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import castore
from castore.model.ids import Id, Kind
from castore.model.note import Note, encode_note
from castore.store.publish import metadata_block

_MOMENTS = itertools.count(1_790_000_000_000_000)


def stated(
    store: castore.Store, version: castore.Version, by: str, value: str, **fields: Any
) -> Note:
    """A note about a version, not stored."""
    known: dict[str, Any] = {"subject": "review", "at": next(_MOMENTS), **fields}
    known.setdefault("scope", store.database.project)
    known.setdefault("target", version.id)
    return Note(target_kind="manifest", by=by, value=value, **known)


def put(store: castore.Store, *notes: Note) -> list[Id]:
    """Store notes as they are, whatever they say; their ids."""
    blocks = [metadata_block(Kind.NOTE, encode_note(note))[0] for note in notes]
    store.database.write(lambda tables: tables.put_blocks(blocks))
    return [note.id for note in notes]


def say(
    store: castore.Store, version: castore.Version, by: str, value: str = "approved", **fields: Any
) -> Id:
    """Store one note; its id."""
    return put(store, stated(store, version, by, value, **fields))[0]


def under(store: castore.Store, folder: Path, review: str = "", text: str = "x") -> castore.Version:
    """The next version of `report`, by author@example.org, with this `review:` in its spec."""
    folder.mkdir(exist_ok=True)
    spec = folder / "report.spec.yaml"
    lines = ["spec: report", "version: '1'", "artifacts:"]
    lines += ["- {name: text, type: document, format: text, path: text.txt}"]
    lines += [f"review: {review}"] if review else []
    spec.write_text("\n".join(lines) + "\n")
    (folder / "text.txt").write_text(text)
    context = castore.Context(author="Author <author@example.org>")
    return store.commit(spec=spec, cwd=folder, context=context).version


def known(store: castore.Store, *people: str, agents: tuple[str, ...] = ()) -> None:
    """Configure identities."""
    kinds = [(name, "person") for name in people] + [(name, "agent") for name in agents]
    text = "".join(f'[identity."{name}"]\nkind = "{kind}"\n' for name, kind in kinds)
    (store.folder / "config.toml").write_text(text)
