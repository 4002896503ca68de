"""The tools compared: how each stores a folder as its next version, gives one back, and is set up.

Each keeps to its defaults but for what is said beside it. What is said of durability was seen with
strace, in versions as pinned. Each has a place of its own: `work/set` is the folder that is stored;
`repo` what the tool keeps; `aside` its home with caches.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.peer_install import Program
from benchmarks.peer_process import Command, run
from benchmarks.stage import allow_secrets

SET: Final = "set"


@dataclass(slots=True)
class Place:
    """The folders of one trial of one tool, and how many versions it has stored there.

    `settled`: the machine writes all dirty pages before and after each thing measured, and has
    memory of so many bytes at hand; 0 for neither. `left`: the seconds that its commands may still
    take by the clock.
    """

    root: Path
    settled: int = 0
    number: int = 0
    left: float = math.inf

    @property
    def work(self) -> Path:
        """Where commands are run."""
        return self.root / "work"

    @property
    def folder(self) -> Path:
        """What is stored."""
        return self.work / SET

    @property
    def repo(self) -> Path:
        """What the tool keeps, unless it keeps that in `work`."""
        return self.root / "repo"

    @property
    def aside(self) -> Path:
        """Home, with caches."""
        return self.root / "aside"

    @property
    def back(self) -> Path:
        """Where versions are restored to."""
        return self.root / "back"


@dataclass(frozen=True, slots=True)
class Tool(ABC):
    """One of the tools, as installed, at work in a self.place."""

    program: Program
    place: Place

    name: ClassVar[str]
    executable: ClassVar[str]
    durable: ClassVar[bool]
    durability: ClassVar[str]
    settings: ClassVar[str] = "defaults"
    deduplicates: ClassVar[bool] = False
    packings: ClassVar[Mapping[str, Sequence[str]]] = {}

    @property
    def peer(self) -> bool:
        """Whether castore is compared with it."""
        return True

    def version(self) -> str:
        """The first line of what it says of itself."""
        said: list[str] = []
        run([*self.program.command, self._ask_version()], Path("/"), self.environment(), said)
        return " ".join(said[0].partition("\n")[0].split())

    def environment(self) -> dict[str, str]:
        """All variables of its processes."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.place.aside),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            **self.program.environment,
        }

    @abstractmethod
    def begin(self) -> list[Command]:
        """Commands that make an empty repository."""

    @abstractmethod
    def commit(self) -> list[Command]:
        """Commands that store `work/set` as version `place.number`, counted from 1."""

    @abstractmethod
    def restore(self) -> list[Command]:
        """Commands, run in the empty folder `back`, that put `set` there as it was."""

    def kept(self) -> Path:
        """The folder whose bytes count as stored."""
        return self.place.repo

    def prepare_restore(self) -> None:
        """Whatever restoring needs in `back` beforehand; it is empty when this is called."""
        self.place.back.mkdir(exist_ok=True)

    def _ask_version(self) -> str:
        return "--version"

    def _words(self, *words: str) -> Command:
        return [*self.program.command, *words]


class Castore(Tool):
    """`cas commit` and `cas checkout` from the shell."""

    name = "castore"
    executable = "cas"
    durable = True
    durability = "fdatasync of data and root before a commit returns"

    @property
    def peer(self) -> bool:
        """The one compared."""
        return False

    def begin(self) -> list[Command]:
        settings = self.place.root / "settings"
        settings.mkdir()
        allow_secrets(settings)
        return [self._words("init"), ["cp", str(settings / "config.toml"), str(self.kept())]]

    def commit(self) -> list[Command]:
        return [self._words("commit", "-q", "-m", f"version {self.place.number}", SET)]

    def restore(self) -> list[Command]:
        return [self._words("-C", str(self.place.work), "checkout", "-q", f"{SET}@latest",
                            "-o", str(self.place.back / SET))]  # fmt: skip

    def kept(self) -> Path:
        return self.place.work / ".cas"

    def library(self, times: int) -> Command:
        """A process that commits edits of one file through the library; prints seconds."""
        words = ["-m", "benchmarks.peer_library", str(self.place.work), SET, str(times)]
        return [sys.executable, *words]


class Restic(Tool):
    """Encrypts, as it always does; compression `auto`."""

    name = "restic"
    executable = "restic"
    settings = "encrypted, as always; compression auto"
    deduplicates = True
    durable = True
    durability = "fsync of each file written and of its folder"

    def environment(self) -> dict[str, str]:
        own = {"RESTIC_REPOSITORY": str(self.place.repo), "RESTIC_PASSWORD": "peers"}
        return Tool.environment(self) | own

    def begin(self) -> list[Command]:
        return [self._words("init", "--quiet")]

    def commit(self) -> list[Command]:
        return [self._words("backup", "--quiet", SET)]

    def restore(self) -> list[Command]:
        return [self._words("restore", "latest", "--quiet", "--target", ".")]

    def _ask_version(self) -> str:
        return "version"


class Borg(Tool):
    """`--encryption none`, `-C zstd,3`."""

    name = "borg"
    executable = "borg"
    settings = "--encryption none, -C zstd,3"
    deduplicates = True
    durable = True
    durability = "fsync of each segment, index and cache"

    def environment(self) -> dict[str, str]:
        own = {
            "BORG_REPO": str(self.place.repo),
            "BORG_BASE_DIR": str(self.place.aside),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        return Tool.environment(self) | own

    def begin(self) -> list[Command]:
        return [self._words("init", "--encryption", "none")]

    def commit(self) -> list[Command]:
        return [self._words("create", "-C", "zstd,3", f"::v{self.place.number}", SET)]

    def restore(self) -> list[Command]:
        return [self._words("extract", f"::v{self.place.number}")]


class Git(Tool):
    """Everything added, whatever its ignore files say, as bytes; no gc but when it is measured."""

    name = "git"
    executable = "git"
    settings = "gc.auto=0, all files added as bytes"
    durable = False
    durability = "default: no fsync but of packs; a commit calls none"
    packings: ClassVar[Mapping[str, Sequence[str]]] = {
        "git gc": ("gc", "--quiet", "--prune=now"),
        "git gc --aggressive": ("gc", "--quiet", "--aggressive", "--prune=now"),
    }
    fsync: ClassVar[Sequence[str]] = ()

    def environment(self) -> dict[str, str]:
        own = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(self.place.repo), "GIT_WORK_TREE": "."}
        names = {f"GIT_{who}_{what}": "peers@example.org" for who in ("AUTHOR", "COMMITTER")
                 for what in ("NAME", "EMAIL")}  # fmt: skip
        return Tool.environment(self) | own | names

    def begin(self) -> list[Command]:
        self.place.repo.joinpath("info").mkdir(parents=True)
        self.place.repo.joinpath("info/attributes").write_text("* -text\n")
        setting = ("config", "gc.auto", "0")
        return [self._words("init", "--quiet"), self._words(*setting)]

    def commit(self) -> list[Command]:
        commit = ("commit", "--quiet", "--allow-empty", "-m", f"version {self.place.number}")
        add = ("add", "--all", "--force", SET)
        return [self._words(*self.fsync, *add), self._words(*self.fsync, *commit)]

    def restore(self) -> list[Command]:
        own = ["env", f"GIT_INDEX_FILE={self.place.root / 'index'}"]
        return [[*own, *self._words("read-tree", "HEAD")],
                [*own, *self._words("checkout-index", "--all", "--quiet")]]  # fmt: skip

    def prepare_restore(self) -> None:
        """Without an index of its own git would think that it knows what is in the folder."""
        (self.place.root / "index").unlink(missing_ok=True)


class GitFsync(Git):
    """The same, told to write everything durably."""

    name = "git, fsync"
    durable = True
    durability = "core.fsync=all: fsync of each object, the index and references"
    packings: ClassVar[Mapping[str, Sequence[str]]] = {}
    fsync = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync")


class Casync(Tool):
    """With a cache of what it encoded, without which each file is read again."""

    name = "casync"
    executable = "casync"
    settings = "with a cache"
    deduplicates = True
    durable = False
    durability = "never fsyncs"

    def begin(self) -> list[Command]:
        for folder in (self.place.repo / "store.castr", self.place.aside / "cache"):
            folder.mkdir(parents=True)
        return []

    def commit(self) -> list[Command]:
        cache, index = self.place.aside / "cache", self.place.repo / f"v{self.place.number}.caidx"
        return [self._words("make", *self._store(), f"--cache={cache}", str(index), SET)]

    def restore(self) -> list[Command]:
        index = self.place.repo / f"v{self.place.number}.caidx"
        return [self._words("extract", *self._store(), str(index), SET)]

    def _store(self) -> tuple[str, ...]:
        return (f"--store={self.place.repo / 'store.castr'}",)


class Dvc(Tool):
    """`dvc add` without git, the `.dvc` file of each version kept by its name."""

    name = "dvc"
    executable = "dvc"
    settings = "without git"
    durable = False
    durability = "fdatasync of its databases of hashes and links only, never of data"

    def environment(self) -> dict[str, str]:
        own = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.place.aside / "site")}
        return Tool.environment(self) | own

    def begin(self) -> list[Command]:
        settings = [("core.analytics", "false"), ("core.check_update", "false"),
                    ("cache.dir", str(self.place.repo))]  # fmt: skip
        return [self._words("init", "--no-scm", "--quiet"),
                *(self._words("config", *setting) for setting in settings)]  # fmt: skip

    def commit(self) -> list[Command]:
        return [self._words("add", "--quiet", SET)]

    def restore(self) -> list[Command]:
        return [self._words("checkout", "--quiet", f"{SET}.dvc")]

    def prepare_restore(self) -> None:
        """Another work folder that uses the same cache."""
        environment = self.environment()
        for command in self.begin():
            run(command, self.place.back, environment)
        (self.place.back / f"{SET}.dvc").write_bytes((self.place.work / f"{SET}.dvc").read_bytes())


class Copy(Tool):
    """What it takes to read and write the files and nothing else, for one version: a limit."""

    name = "cp"
    executable = "cp"
    settings = "--archive, over the version before"
    durable = False
    durability = "never syncs"

    @property
    def peer(self) -> bool:
        """It keeps no versions."""
        return False

    def begin(self) -> list[Command]:
        return [["mkdir", "-p", str(self.place.repo)]]

    def commit(self) -> list[Command]:
        return [self._words("--archive", SET, str(self.place.repo))]

    def restore(self) -> list[Command]:
        return [self._words("--archive", str(self.place.repo / SET), ".")]

    def prepare_restore(self) -> None:
        """What is gone since the version before, and was left behind, goes here too."""
        kept = self.place.repo / SET
        for path in sorted(kept.rglob("*"), reverse=True):
            if not (self.place.folder / path.relative_to(kept)).exists():
                path.rmdir() if path.is_dir() else path.unlink()


TOOLS: Final[dict[str, type[Tool]]] = {
    tool.name.replace(", ", "-"): tool
    for tool in (Castore, Copy, Restic, Borg, Git, GitFsync, Casync, Dvc)
}
