"""What tests of repacking share: stores written as before there were deltas of content."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import castore
from castore.content.blocks import Block, decode_block
from castore.content.ingest import Ingestor
from castore.database.reading import Reading
from castore.store import supply

Content = dict[str, bytes]


def _plain(*given: Any, chains: object, **options: Any) -> Ingestor:
    assert chains is not None
    return Ingestor(*given, **options)


@contextmanager
def without_deltas() -> Iterator[None]:
    """Sessions store what changed in plain blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supply, "Ingestor", _plain)
        yield


def text(version: int, rows: int = 3000) -> bytes:
    """A text of which a row changes with each version."""
    lines = [f"row {n} of a report, {n * 7919 % 10007}\n" for n in range(rows)]
    for edit in range(version):
        lines[edit * 37 % rows] = f"row edited in {edit}\n"
    return "".join(lines).encode()


def content(version: int) -> Content:
    """Files of a version: small, medium and big ones, text and noise, changed and not."""
    files: Content = {}
    for number in range(24):
        edits = version // 3 if version % 3 != number % 3 else version
        files[f"site/deep/{number}.txt"] = text(edits, 20 + 200 * (number % 8))
    files["site/new"] = f"only in version {version}\n".encode()
    noise = bytearray(random.Random(5).randbytes(700_000))
    noise[version * 9000 : version * 9000 + 8] = b"an edit!"
    return files | {
        "report": text(version),
        "little": text(version, 30),
        "big": text(version // 2, 30_000) + b"end\n",
        "noise": bytes(noise),
        "same": text(0, 500),
    }


def commit(store: castore.Store, root: Path, version: int, branch: str = "site") -> castore.Version:
    """Commit the content of a version."""
    with store.session(branch) as session:
        for name, data in content(version).items():
            if name.startswith("site/"):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            else:
                session.write(name, data)
        session.add("site", root / "site")
        return session.commit()


def history(store: castore.Store, root: Path, versions: int) -> None:
    """So many versions of branch `site`."""
    for version in range(versions):
        commit(store, root, version)


def unchanged(store: castore.Store, versions: int) -> None:
    """Every version of `history` has what was committed."""
    for version in range(versions):
        for name, data in content(version).items():
            selector = f"site@v{version + 1}:{name}"
            assert store.read_bytes(selector) == data, selector


def deltas_of(store: castore.Store) -> list[Block]:
    """Every delta of content that is stored."""

    def read(tables: Reading) -> list[Block]:
        blocks = [decode_block(data, "") for _, data in tables.blocks()]
        return [block for block in blocks if block.bases and not block.metadata]

    return store.database.read(read)
