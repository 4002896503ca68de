"""Corpora: made once by script, from what Python has installed and from seeded generators."""

from __future__ import annotations

import os
import random
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from castore.content.secret_search import search_secrets

MIB: Final = 1 << 20
BIG_BYTES: Final = 1 << 30
SMALL_FILES: Final = 100_000
_FILES_A_FOLDER: Final = 1_000
_TEXTS: Final = frozenset((".py", ".pyi", ".md", ".txt", ".rst", ".json", ".html", ".js", ".h"))
_LARGEST_TEXT: Final = 2 * MIB
_SEED: Final = 20_261_122


def random_file(cache: Path) -> Path:
    """1 GiB that does not compress."""
    path = cache / "random.bin"
    if not path.exists():
        source = random.Random(_SEED)
        _write(path, (source.randbytes(MIB) for _ in range(BIG_BYTES // MIB)))
    return path


def text_file(cache: Path) -> Path:
    """1 GiB of source code and prose, in which no stretch of 64 KiB is a copy of another.

    Files that hold keys made for tests are left out: telling their lines would be measured as well.

    What is installed is taken as it is once, and then again with the paragraphs within each file
    in another order: that keeps how well it compresses, and leaves nothing to deduplicate.
    """
    path = cache / "text.txt"
    if not path.exists():
        _write(path, _texts(BIG_BYTES))
    return path


def small_files(cache: Path, name: str = "small", *, flat: bool = False) -> Path:
    """A folder with 100,000 files of 1 to 8 KB of text, in folders of 1,000 unless `flat`."""
    folder = cache / name
    done = cache / f"{name}.done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _write_small(folder, text_file(cache), flat=flat)
        done.touch()
    return folder


def warm(path: Path) -> None:
    """Read a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(MIB)
        while file.readinto(buffer):
            pass


def touch(path: Path) -> None:
    """Give a file a new time, so that no cache of stat results knows it."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_001))


def _write_small(folder: Path, text: Path, *, flat: bool) -> None:
    source = random.Random(_SEED + flat)
    with text.open("rb") as file:
        for number in range(SMALL_FILES):
            data = file.read(source.randint(1_000, 8_000))
            place = folder if flat else folder / f"part-{number // _FILES_A_FOLDER:03}"
            if number % _FILES_A_FOLDER == 0:
                place.mkdir(parents=True, exist_ok=True)
            (place / f"record-{number:06}.txt").write_bytes(data)


def _texts(size: int) -> Iterator[bytes]:
    roots = sorted({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    files = sorted(
        path
        for root in roots
        for path in Path(root).rglob("*")
        if path.suffix in _TEXTS and path.is_file() and path.stat().st_size < _LARGEST_TEXT
        and not search_secrets(path.read_bytes()).matches
    )  # fmt: skip
    source = random.Random(_SEED)
    turn = left = 0
    left = size
    while left:
        for path in files:
            paragraphs = path.read_bytes().split(b"\n\n")
            if turn:
                source.shuffle(paragraphs)
            data = b"\n\n".join(paragraphs)[:left]
            yield data
            left -= len(data)
        source.shuffle(files)
        turn += 1


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    under_way = path.with_suffix(".new")
    with under_way.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    under_way.rename(path)
