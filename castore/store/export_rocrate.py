"""A version as an RO-Crate 1.1: its metadata, or a folder with it and the files.

https://www.researchobject.org/ro-crate/specification/1.1/. The making of the version is a
CreateAction, as in the profile of process runs: who, with what, from what.
"""

from __future__ import annotations

import json
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from castore.errors import InvalidInput, WouldOverwrite
from castore.model.artifact_set import Artifact, ExternalContent, TreeContent
from castore.model.ids import Id
from castore.model.manifest import Source
from castore.store.checkout import checkout
from castore.store.exports import (
    URN,
    Maker,
    complete,
    externals_of,
    files_of,
    makers_of,
    sha256,
    source_uri,
    version_uri,
)
from castore.store.moments import format_moment
from castore.store.records import location
from castore.store.store import Store
from castore.store.version import Version

METADATA: Final = "ro-crate-metadata.json"
_CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
_PROFILE: Final = "https://w3id.org/ro/crate/1.1"
_TYPES: Final = {
    "arrow": "application/vnd.apache.arrow.file",
    "csv": "text/csv",
    "jsonl": "application/jsonl",
    "md": "text/markdown",
    "parquet": "application/vnd.apache.parquet",
    "sqlite": "application/vnd.sqlite3",
    "toml": "application/toml",
    "tsv": "text/tab-separated-values",
    "webp": "image/webp",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}
"""Media types that not every machine knows."""
_RIGHTS: Final = "The manifest names no licence: ask whoever made this version."


def crate(store: Store, version: Version) -> dict[str, Any]:
    """The metadata of a version: what `ro-crate-metadata.json` holds.

    Every file is listed, by its place, with SHA-256, for which it is read in full, and BLAKE3. What
    is carried is the result of an action of its own: who made it in which version, from what.
    Raises IncompleteSet, ObjectNotFound for a forgotten version, CorruptObject.
    """
    manifest = complete(version).manifest
    folders = [found for found in store.set_of(version).artifacts if _is_folder(found)]
    parts = [*map(_folder(version), folders), *_files(store, version), *_externals(store, version)]
    inside = {part["@id"] for part in parts}
    makers = makers_of(store, version)
    every = [*manifest.sources, *(source for maker in makers for source in maker.sources)]
    sources = _sources(every, inside)
    people = _people(version)
    others = {
        entity["@id"]: entity
        for made in [version, *(maker.version for maker in makers if maker.version)]
        for entity in _people(made).values()
    }
    earlier = [_earlier(maker, maker.version) for maker in makers if maker.version]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": version.label,
        "description": manifest.message.strip() or f"Version {version.number} of {version.branch}",
        "datePublished": format_moment(manifest.at),
        "license": _RIGHTS,
        "identifier": version_uri(version.id),
        "version": str(version.number),
        "hasPart": [{"@id": part["@id"]} for part in parts],
        "mentions": [{"@id": "#making"}, *({"@id": action["@id"]} for action in earlier)]
        if earlier
        else {"@id": "#making"},
        **({"isBasedOn": [{"@id": uri} for uri in sources]} if sources else {}),
        **({"author": {"@id": people["author"]["@id"]}} if "author" in people else {}),
    }
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _PROFILE},
        "about": {"@id": "./"},
    }
    own = [uri for uri in _uris(manifest.sources) if uri in sources]
    making = {**_making(version, own), "@id": "#making", "result": {"@id": "./"}}
    graph = [descriptor, root, *parts, making, *earlier, *others.values(), *sources.values()]
    return {"@context": _CONTEXT, "@graph": graph}


def write_crate(store: Store, version: Version, folder: Path) -> dict[str, Any]:
    """Check a version out into a new folder as a crate, and give back its metadata.

    All of the folder appears at once. Raises WouldOverwrite where something is already, and what
    `crate` and a checkout raise.
    """
    folder = folder.absolute()
    if os.path.lexists(folder):
        raise WouldOverwrite(f"{str(folder)!r} is there already", fix="name a new folder with -o")
    metadata = crate(store, version)
    if any(file.path == METADATA for file in files_of(store, version)):
        raise InvalidInput(f"{version.label} has a file at {METADATA}, where the crate's own goes")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".castore-crate-", dir=folder.parent))
    try:
        checkout(store, version, (), temporary / "crate")
        with (temporary / "crate" / METADATA).open("w", encoding="utf-8") as file:
            json.dump(metadata, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        (temporary / "crate").rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return metadata


def _is_folder(artifact: Artifact) -> bool:
    return isinstance(artifact.content, TreeContent)


def _folder(version: Version) -> Any:
    def entity(artifact: Artifact) -> dict[str, Any]:
        title = version.manifest.titles.get(artifact.name) or artifact.name
        place = f"{quote(artifact.path)}/"
        return {"@id": place, "@type": "Dataset", "name": title}

    return entity


def _encoding(path: str) -> str:
    """The media type of a file by its name, whatever this machine is configured to know."""
    suffix = path.rpartition(".")[2].lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def _files(store: Store, version: Version) -> list[dict[str, Any]]:
    titles = version.manifest.titles
    found = []
    for file in files_of(store, version):
        whole = file.path == file.artifact.path
        found.append(
            {
                "@id": quote(file.path),
                "@type": "File",
                "name": titles.get(file.artifact.name) or file.artifact.name
                if whole
                else file.path,
                "contentSize": str(file.size),
                "encodingFormat": _encoding(file.path),
                "sha256": sha256(store, file.digest, file.size),
                "identifier": _content(file.digest),
            }
        )
    return found


def _externals(store: Store, version: Version) -> list[dict[str, Any]]:
    """Artifacts whose bytes are elsewhere: files on the web, where it is known where."""
    return [
        {
            "@id": location(version.manifest, artifact.name),
            "@type": "File",
            "name": artifact.name,
        }
        for artifact in externals_of(store, version)
        if location(version.manifest, artifact.name)
    ]


def _people(version: Version) -> dict[str, dict[str, Any]]:
    """Who committed, and the agent that made it, as claimed."""
    manifest = version.manifest
    found: dict[str, dict[str, Any]] = {}
    if manifest.author:
        found["author"] = {
            "@id": f"#author-{quote(manifest.author, safe='')}",
            "@type": "Person",
            "name": manifest.author,
        }
    if manifest.agent.id:
        agent = manifest.agent
        found["agent"] = {
            "@id": f"#agent-{quote(f'{agent.id}@{agent.version}', safe='')}",
            "@type": "SoftwareApplication",
            "name": agent.id,
            **({"version": agent.version} if agent.version else {}),
        }
    return found


def _sources(sources: Sequence[Source], inside: Collection[str]) -> dict[str, dict[str, Any]]:
    """What was used, by its URI, less what is part of the crate itself."""
    return {
        uri: {
            "@id": uri,
            "@type": "CreativeWork",
            "name": source.label or source.selector or uri,
            **({"identifier": source.digest.hex()} if source.digest else {}),
        }
        for source in sources
        if (uri := source_uri(source)) and uri not in inside
    }


def _uris(sources: Sequence[Source]) -> list[str]:
    return list(dict.fromkeys(uri for source in sources if (uri := source_uri(source))))


def _earlier(maker: Maker, version: Version) -> dict[str, Any]:
    """The making of what is carried, in the version that made it."""
    results = []
    for artifact in maker.artifacts:
        place = quote(artifact.path) + ("/" if _is_folder(artifact) else "")
        if isinstance(artifact.content, ExternalContent):
            place = location(version.manifest, artifact.name) or ""
        results += [{"@id": place}] if place else []
    return {
        **_making(version, _uris(maker.sources)),
        "@id": f"#making-{version.id.hex()}",
        "identifier": version_uri(version.id),
        "result": results,
    }


def _making(version: Version, sources: Sequence[str]) -> dict[str, Any]:
    manifest, people = version.manifest, _people(version)
    run = f"run {manifest.run}" if manifest.run else "a run nobody named"
    return {
        "@type": "CreateAction",
        "name": f"{version.label}, {run}",
        "endTime": format_moment(manifest.at),
        "object": [{"@id": uri} for uri in sources],
        **({"agent": {"@id": people["author"]["@id"]}} if "author" in people else {}),
        **({"instrument": {"@id": people["agent"]["@id"]}} if "agent" in people else {}),
    }


def _content(digest: Id) -> str:
    return f"{URN}content:{digest.hex()}"
