"""What every tool takes in: successive versions of a folder, real releases and seeded data.

Each corpus *plays*: a generator that brings the folder into its next version each time it is asked.
Releases are downloaded by pip, pinned, once; the folder is replaced by what was unpacked, with the
times of the archive, as somebody does who unpacks a new release. Generated sets are written anew.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from benchmarks.corpora import BIG_BYTES, MIB, small_files
from benchmarks.peer_reports import Reports

_SEED: Final = 20_261_122
_SOURCES: Final = (
    "Django",
    ("5.0.6", "5.0.7", "5.0.8", "5.0.9", "5.1", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.5"),
)  # fmt: skip
_COMPILED: Final = "scipy", ("1.12.0", "1.13.0", "1.13.1", "1.14.0", "1.14.1", "1.15.0")
_QUICK_SOURCES: Final = "click", ("8.1.6", "8.1.7")
_QUICK_COMPILED: Final = "MarkupSafe", ("2.1.4", "2.1.5")
_WHEELS: Final = (
    "--only-binary=:all:", "--python-version=311", "--implementation=cp", "--abi=cp311",
    "--platform=manylinux2014_x86_64", "--platform=manylinux_2_17_x86_64",
)  # fmt: skip
# Metadata of a source distribution is made by setuptools, which must be in the environment of pip.
_SDISTS: Final = ("--no-binary=:all:", "--no-build-isolation")
_GENERATIONS: Final = 300
_QUICK_GENERATIONS: Final = 3
_QUICK_BIG_BYTES: Final = 4 * MIB
_QUICK_FILES: Final = 300
_EDITED_FILES: Final = 100
_COME_AND_GO: Final = 20
_SMALL_VERSIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Stock:
    """Where corpora are kept between runs, and whether small ones will do.

    `cache` is shared with the other benchmarks. `python` is an interpreter with pip and setuptools.
    """

    cache: Path
    quick: bool = False
    python: str = sys.executable

    @property
    def folder(self) -> Path:
        """What only these corpora use."""
        return self.cache / "peers"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A name, what it is in a few words, and the versions one after the other."""

    name: str
    title: str
    play: Callable[[Stock, Path], Iterator[None]]


def source_releases(stock: Stock, folder: Path) -> Iterator[None]:
    """Successive releases of a source distribution: ten times 10,000 small files, 44 MB."""
    package, versions = _QUICK_SOURCES if stock.quick else _SOURCES
    for version in versions:
        archive = _download(stock, package, version, _SDISTS)
        _empty(folder)
        # By tar: the module of Python takes ten times as long for 7,000 files.
        subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
        yield


def compiled_releases(stock: Stock, folder: Path) -> Iterator[None]:
    """Successive releases of a compiled package: six times 1,400 files, 115 MB."""
    package, versions = _QUICK_COMPILED if stock.quick else _COMPILED
    for version in versions:
        archive = _download(stock, package, version, _WHEELS)
        _empty(folder)
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        yield


def big_file(stock: Stock, folder: Path) -> Iterator[None]:
    """A file half noise, half text, and a page about it; then an edited copy in its place."""
    _empty(folder)
    source = _mixed(stock)
    (folder / "about.md").write_text("# A big file\n\nHalf noise, half text.\n")
    shutil.copyfile(source, folder / "big.bin")
    yield
    (folder / "big.bin").unlink()
    _edited_copy(source, folder / "big.bin")
    yield


def report_sets(stock: Stock, folder: Path) -> Iterator[None]:
    """Generations of a set of reports and their data, 0.6 MB to 1.4 MB."""
    _empty(folder)
    reports = Reports()
    for _ in range((_QUICK_GENERATIONS if stock.quick else _GENERATIONS) - 1):
        reports.write(folder)
        yield
        reports.turn()
    reports.write(folder)
    yield


def many_files(stock: Stock, folder: Path) -> Iterator[None]:
    """100,000 files of 1 to 8 KB; then 100 of them edited, 20 new and 20 gone, three times."""
    _empty(folder)
    if stock.quick:
        _few_files(folder)
    else:
        shutil.copytree(small_files(stock.cache), folder, dirs_exist_ok=True)
    yield
    dice = random.Random(_SEED)
    for turn in range(1, _SMALL_VERSIONS):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        chosen = dice.sample(files, _EDITED_FILES + _COME_AND_GO)
        for path in chosen[:_EDITED_FILES]:
            data = path.read_bytes()
            at = dice.randrange(len(data))
            path.write_bytes(data[:at] + f" edit {turn} ".encode() + data[at:])
        for path in chosen[_EDITED_FILES:]:
            path.with_name(f"new-{turn}-{path.name}").write_bytes(path.read_bytes()[::-1])
            path.unlink()
        yield


CORPORA: Final = {
    corpus.name: corpus
    for corpus in (
        Corpus("source", "ten releases of Django, source", source_releases),
        Corpus("compiled", "six releases of SciPy, compiled", compiled_releases),
        Corpus("bigfile", "1 GiB, half noise, and an edited copy", big_file),
        Corpus("reports", "300 generations of a report set", report_sets),
        Corpus("small", "100,000 files of 1 to 8 KB, three edits of 140", many_files),
    )
}


def a_small_file(folder: Path) -> Path:
    """The file that commits of one file edit: the first of at most 64 KiB."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= 65_536:
            return path
    raise FileNotFoundError(f"{folder} has no small file")


def edit(path: Path, turn: int) -> None:
    """Add a line to it."""
    with path.open("a") as file:
        file.write(f"edit {turn}\n")


class CannotDownload(RuntimeError):
    """A release could not be had; the message says which."""


def _download(stock: Stock, package: str, version: str, options: tuple[str, ...]) -> Path:
    """The archive of a release, by pip unless it is there already; raises CannotDownload."""
    folder = stock.folder / "downloads" / f"{package}-{version}"
    archives = list(folder.iterdir()) if folder.exists() else []
    if not archives:
        under_way = folder.with_name(f"{folder.name}.{os.getpid()}.new")
        under_way.mkdir(parents=True)
        command = [stock.python, "-m", "pip", "download", "--quiet", "--no-deps", *options]
        command += ["--disable-pip-version-check", "--dest", str(under_way)]
        done = subprocess.run([*command, f"{package}=={version}"], stdout=sys.stderr)
        found = list(under_way.iterdir())
        if not done.returncode and found:
            # Another run may have put its own there meanwhile, which is as good; an empty folder
            # gives way to the rename.
            with contextlib.suppress(OSError):
                under_way.rename(folder)
            archives = list(folder.iterdir()) if folder.exists() else []
        shutil.rmtree(under_way, ignore_errors=True)
    if not archives:
        raise CannotDownload(f"pip gave no archive of {package} {version}")
    return archives[0]


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _mixed(stock: Stock) -> Path:
    """Pieces of 64 KiB to 4 MiB, noise and text by turns of a coin, made once."""
    size = _QUICK_BIG_BYTES if stock.quick else BIG_BYTES
    path = stock.folder / f"mixed-{size}.bin"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        dice = random.Random(_SEED)
        words = [dice.randbytes(dice.randint(2, 5)).hex().encode() for _ in range(5_000)]
        under_way = path.with_name(f"{path.name}.{os.getpid()}.new")
        with under_way.open("wb") as file:
            left = size
            while left:
                length = min(left, dice.randint(64 << 10, 4 << 20))
                noise = dice.random() < 0.5
                text = b"" if noise else b" ".join(dice.choices(words, k=length // 4))
                file.write(dice.randbytes(length) if noise else text[:length].ljust(length))
                left -= length
        under_way.rename(path)
    return path


def _edited_copy(source: Path, target: Path) -> None:
    """1 KiB put in near the start, 200 places overwritten, 3 MiB cut out, 1 MiB appended."""
    dice = random.Random(_SEED + 1)
    size = source.stat().st_size
    cut = size // 2, min(3 * MIB, size // 10)
    with source.open("rb") as old, target.open("wb") as new:
        new.write(old.read(5_000))
        new.write(dice.randbytes(1_024))
        _copy(old, new, cut[0] - 5_000)
        old.seek(sum(cut))
        _copy(old, new, size - sum(cut))
        new.write(dice.randbytes(MIB))
    with target.open("r+b") as file:
        for at in sorted(dice.sample(range(size // 4), 200)):
            file.seek(at * 3)
            file.write(dice.randbytes(100))


def _copy(old: BinaryIO, new: BinaryIO, length: int) -> None:
    while length and (data := old.read(min(length, MIB))):
        new.write(data)
        length -= len(data)


def _few_files(folder: Path) -> None:
    dice = random.Random(_SEED)
    for number in range(_QUICK_FILES):
        path = folder / f"part-{number // 100}" / f"record-{number:06}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dice.randbytes(dice.randint(500, 2_000)).hex())
