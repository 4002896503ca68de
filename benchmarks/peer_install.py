"""Puts the peers into a folder of their own: Debian packages unpacked, PyPI packages in venvs.

Nothing is installed into the system and no root is needed. A peer that cannot be had is skipped,
and the reason told. Versions are pinned; libraries that borg is built against are the system's.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_RESTIC: Final = ("restic=0.14.0-1+b5",)
_CASYNC: Final = ("casync=2+20201210-1+b1", "libfuse2=2.9.9-6+b1")
_BORG: Final = "borgbackup==1.4.5"
_DVC: Final = "dvc==3.67.1"
# borg is a source distribution with extensions in C.
_LIBRARIES: Final = (
    "liblz4-dev", "liblz4-1", "libzstd-dev", "libzstd1", "libxxhash-dev", "libxxhash0",
    "libacl1-dev", "libacl1", "libssl-dev", "libssl3",
)  # fmt: skip
_PREFIXES: Final = ("OPENSSL", "LIBLZ4", "LIBZSTD", "LIBXXHASH", "LIBACL")
# The last that builds the metadata of the source distributions of corpora without a complaint.
_SETUPTOOLS: Final = "setuptools==69.2.0"
_TOLD: Final = 300


class CannotInstall(RuntimeError):
    """A peer cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to start a peer: the words before its own, and what to add to the environment."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The folder where peers are."""

    folder: Path

    def find(self, name: str) -> Program | None:
        """The peer of this name, installed here or on the path of the shell."""
        for path in (self.folder / "debian/usr/bin" / name, self.folder / name / "bin" / name):
            if path.exists():
                return Program((str(path),), {"LD_LIBRARY_PATH": self._library_path})
        found = shutil.which(name)
        return Program((found,)) if found else None

    @property
    def python(self) -> str:
        """An interpreter with pip and setuptools, for downloads."""
        path = self.folder / "pip" / "bin/python"
        return str(path if path.exists() else sys.executable)

    def install(self, name: str) -> None:
        """Have a peer, if it is not here yet; raises CannotInstall."""
        venv = self.folder / name
        if name in ("git", "cp") or self._has(name):
            return
        if name == "restic":
            self._unpack(_RESTIC)
        elif name == "casync":
            self._unpack(_CASYNC)
        elif name == "borg":
            self._unpack(_LIBRARIES)
            self._venv(venv, _SETUPTOOLS, _BORG)
        elif name == "dvc":
            self._venv(venv, _DVC)
        elif name == "pip":
            self._venv(venv, _SETUPTOOLS, "wheel==0.45.1")
        else:
            raise CannotInstall(f"no recipe for {name}")

    def _has(self, name: str) -> bool:
        found = self.find(name)
        return found is not None and str(self.folder) in found.command[0]

    def _unpack(self, packages: tuple[str, ...]) -> None:
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise CannotInstall("needs apt-get and dpkg-deb, or the program on the path")
        downloads, target = self.folder / "debs", self.folder / "debian"
        downloads.mkdir(parents=True, exist_ok=True)
        for package in packages:
            name = package.partition("=")[0]
            if not list(downloads.glob(f"{name}_*.deb")):
                _run(["apt-get", "download", "--quiet", package], downloads)
            (archive,) = downloads.glob(f"{name}_*.deb")
            _run(["dpkg-deb", "--extract", str(archive), str(target)], downloads)

    def _venv(self, target: Path, *requirements: str) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _run([sys.executable, "-m", "venv", str(target)], target.parent)
            pip = [str(target / "bin/python"), "-m", "pip", "install", "--quiet"]
            pip += ["--disable-pip-version-check", *requirements]
            _run(["env", *self._build_flags(), *pip], target.parent)
        except CannotInstall:
            shutil.rmtree(target, ignore_errors=True)
            raise

    @property
    def _libraries(self) -> list[Path]:
        """Where Debian has libraries, below the folder that packages were unpacked to."""
        architecture = f"{platform.machine()}-linux-gnu"
        return [self.folder / "debian" / top / architecture for top in ("usr/lib", "lib")]

    @property
    def _library_path(self) -> str:
        return ":".join(map(str, self._libraries))

    def _build_flags(self) -> list[str]:
        usr = self.folder / "debian/usr"
        architecture = f"{platform.machine()}-linux-gnu"
        return [
            *(f"BORG_{name}_PREFIX={usr}" for name in _PREFIXES),
            f"CFLAGS=-I{usr}/include -I{usr}/include/{architecture}",
            "LDFLAGS=" + " ".join(f"-L{folder}" for folder in self._libraries),
        ]


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-_TOLD:]
        raise CannotInstall(f"{Path(command[0]).name} failed: … {said}")
