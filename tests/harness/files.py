"""The files of a store cut, emptied, removed, swapped or closed, under every command of `cas`."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import castore
from castore.database.storefiles import StoreFiles
from tests.harness import small_store
from tests.harness.children import Ended, forked
from tests.harness.commands import LINES, Said, load_commands, run_line
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.privileges import drop_privileges, may_mount, mount_memory

PAGE: Final = 4096
_INTERNAL: Final = 70
# What a command may say of a store that is damaged, by what is damaged.
_CORRUPT: Final = frozenset({7})
_FINE: Final = frozenset({0})
_MIXED: Final = frozenset({7, 8})
_DENIED: Final = frozenset({1})
_FULL: Final = frozenset({75, 1})
# These say something else each time, or what the time is.
_LIVELY: Final = (
    "commit", "run", "comment", "approve", "reject", "revoke", "request-review", "dismiss", "mark",
    "deploy", "gc", "stats", "op", "export", "stale", "pin", "tag", "branch", "fsck", "sign",
    "backup", "checkout", "forget", "purge", "reindex", "repack", "unpin", "init", "status",
)  # fmt: skip
Apply = Callable[["Wreck", Path, Random], None]


@dataclass(frozen=True, slots=True)
class Wreck:
    """Something done to the files of a closed store, and the exit codes that may answer it.

    `before` runs in the command's process, where `apply` cannot reach.
    """

    name: str
    apply: Apply
    codes: frozenset[int] = _CORRUPT
    before: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """The small store, another one, and what each command says where nothing is wrong."""

    root: Path
    other: Path
    lines: tuple[tuple[str, ...], ...]
    sound: dict[tuple[str, ...], Said]


def _cut(name: str, length: Callable[[int, Random], int]) -> Apply:
    def apply(_: Wreck, home: Path, dice: Random) -> None:
        path = home / name
        os.truncate(path, length(path.stat().st_size, dice))

    return apply


def _remove(name: str) -> Apply:
    return lambda _, home, dice: (home / name).unlink()


def _fill(name: str, data: Callable[[Random], bytes]) -> Apply:
    return lambda _, home, dice: (home / name).write_bytes(data(dice)) and None


def _folder(name: str) -> Apply:
    def apply(_: Wreck, home: Path, dice: Random) -> None:
        (home / name).unlink(missing_ok=True)
        (home / name).mkdir()

    return apply


def _link(name: str) -> Apply:
    def apply(_: Wreck, home: Path, dice: Random) -> None:
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(name)

    return apply


def _mode(name: str, mode: int) -> Apply:
    return lambda _, home, dice: (home / name).chmod(mode)


def _other(name: str) -> Apply:
    """The file of another store in its place."""

    def apply(_: Wreck, home: Path, dice: Random) -> None:
        shutil.copyfile(home.parents[2] / "prepared" / "other" / ".cas" / name, home / name)

    return apply


def _swap(first: str, second: str) -> Apply:
    def apply(_: Wreck, home: Path, dice: Random) -> None:
        one, two = (home / first).read_bytes(), (home / second).read_bytes()
        (home / first).write_bytes(two)
        (home / second).write_bytes(one)

    return apply


def _gone(_: Wreck, home: Path, dice: Random) -> None:
    shutil.rmtree(home)


def _emptied(_: Wreck, home: Path, dice: Random) -> None:
    shutil.rmtree(home)
    home.mkdir()


def _a_file(_: Wreck, home: Path, dice: Random) -> None:
    shutil.rmtree(home)
    home.write_text("no folder\n")


def _nothing(_: Wreck, home: Path, dice: Random) -> None:
    """What `before` does is all."""


def _full_disk() -> None:
    """The store on a disk without a free byte; its lock file is there."""
    home = Path(".cas")
    aside = Path("aside")
    home.rename(aside)
    home.mkdir()
    size = sum(path.stat().st_size for path in aside.iterdir())
    mount_memory(home, size + 64 * PAGE)
    for path in aside.iterdir():
        shutil.copyfile(path, home / path.name)
    with castore.open(home) as store:
        store.log()
    with (home / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(PAGE)):
                pass
        except OSError:
            pass


def _full_disk_without_lock() -> None:
    """As `_full_disk`, and nobody ever opened the store there."""
    _full_disk()
    (Path(".cas") / "lock.mdb").unlink()
    with (Path(".cas") / "filler").open("ab", buffering=0) as file:
        try:
            while file.write(bytes(PAGE)):
                pass
        except OSError:
            pass


def _wrecks() -> list[Wreck]:
    found: list[Wreck] = []
    for name in ("data.mdb", "store.json"):
        short = (1, 100, 150, PAGE - 1, PAGE, PAGE + 1, PAGE + 100, 2 * PAGE - 1, 2 * PAGE)
        for length in short if name == "data.mdb" else (1, 50):
            found.append(Wreck(f"{name} cut to {length}", _cut(name, lambda *_, n=length: n)))  # type: ignore[misc]
        found += [
            Wreck(f"{name} cut somewhere", _cut(name, lambda size, dice: dice.randrange(size))),
            Wreck(f"{name} without its last byte", _cut(name, lambda size, dice: size - 1)),
            Wreck(f"{name} emptied", _cut(name, lambda *_: 0)),
            Wreck(f"{name} removed", _remove(name)),
            Wreck(f"{name} random", _fill(name, lambda dice: dice.randbytes(8 * PAGE))),
            Wreck(f"{name} a folder", _folder(name)),
            Wreck(f"{name} a link to itself", _link(name)),
            Wreck(f"{name} of another store", _other(name)),
            Wreck(f"{name} not readable", _mode(name, 0), _DENIED, drop_privileges),
        ]
    found += [
        Wreck("data.mdb a page at the end cut off", _cut("data.mdb", lambda n, _: n - PAGE)),
        Wreck(
            "data.mdb cut at a page", _cut("data.mdb", lambda n, d: d.randrange(n // PAGE) * PAGE)
        ),
        Wreck("data.mdb and store.json swapped", _swap("data.mdb", "store.json"), _MIXED),
        Wreck("data.mdb and heads.log swapped", _swap("data.mdb", "heads.log"), _MIXED),
        Wreck("heads.log of another store", _other("heads.log")),
        Wreck("heads.log a folder", _folder("heads.log")),
        Wreck("heads.log not readable", _mode("heads.log", 0), _DENIED, drop_privileges),
        Wreck(
            "config.toml random", _fill("config.toml", lambda d: d.randbytes(400)), frozenset({2})
        ),
        Wreck(
            "config.toml too long", _fill("config.toml", lambda _: b"#" * 300_000), frozenset({2})
        ),
        Wreck("config.toml a folder", _folder("config.toml"), frozenset({2, 1})),
        Wreck(
            "config.toml not readable", _mode("config.toml", 0), frozenset({1, 2}), drop_privileges
        ),
        Wreck("data.mdb read-only", _mode("data.mdb", 0o444), _DENIED, drop_privileges),
        Wreck("lock.mdb read-only", _mode("lock.mdb", 0o444), _DENIED, drop_privileges),
        Wreck("lock.mdb a folder", _folder("lock.mdb")),
        Wreck("the folder read-only", _mode(".", 0o555), _DENIED | _FINE, drop_privileges),
        Wreck("the folder closed", _mode(".", 0), _DENIED, drop_privileges),
        Wreck("the folder removed", _gone, frozenset({3, 0})),
        Wreck("the folder emptied", _emptied, frozenset({3, 4, 7})),
        Wreck("a file for the folder", _a_file, frozenset({3, 4, 7})),
    ]
    for name in ("heads.log", "config.toml", "lock.mdb"):
        found.append(Wreck(f"{name} removed", _remove(name), _FINE))
        found.append(Wreck(f"{name} emptied", _cut(name, lambda *_: 0), _FINE))
    found += [
        Wreck("heads.log cut", _cut("heads.log", lambda n, d: d.randrange(n)), _FINE),
        Wreck("heads.log random", _fill("heads.log", lambda d: d.randbytes(3000)), _FINE),
        Wreck("lock.mdb cut", _cut("lock.mdb", lambda n, d: d.randrange(1, n)), _FINE),
        Wreck("lock.mdb random", _fill("lock.mdb", lambda d: d.randbytes(9000)), _FINE),
    ]
    if may_mount():
        found.append(Wreck("the disk full", _nothing, _FULL, _full_disk))
        found.append(Wreck("the disk full before", _nothing, _FULL, _full_disk_without_lock))
    return found


WRECKS: Final = tuple(_wrecks())


def _plant(mutant: str) -> None:
    if mutant == "no-length":
        StoreFiles.check_length = lambda self: None  # type: ignore[method-assign]


class Files(Harness):
    name = "files"
    shows = "a damaged, missing or closed file is told of by every command, with what to type"
    share = 3.0
    mutants: Mapping[str, str] = {"no-length": "a data file that is cut off is mapped"}

    def prepare(self, seed: int, folder: Path) -> Material:
        load_commands()
        root, other = folder / "one", folder / "other"

        def make() -> str:
            root.mkdir()
            other.mkdir()
            small_store.make(root, seed)
            small_store.make(other, seed + 1)
            (root / "more").write_text("more of it\n")
            with castore.open(root) as store:
                version = store.resolve("weekly@v1").version
                return min(store.notes(version)).hex()

        ended = forked(make)
        assert not ended.error, ended.text
        lines = tuple(
            tuple(word.format(note=ended.value) for word in shlex.split(line)) for line in LINES
        )
        return Material(root, other, lines, {})

    def round(self, scene: Scene) -> int:
        """One wreck and a few commands; rounds after each other go through all of them."""
        _plant(scene.mutant)
        material: Material = scene.material
        wreck = WRECKS[scene.round % len(WRECKS)]
        if scene.mutant:
            wreck = next(one for one in WRECKS if one.name == "data.mdb cut at a page")
        count, lines = 4, list(material.lines)
        turn = scene.round // len(WRECKS)
        Random(f"{scene.seed} {wreck.name}").shuffle(lines)
        chosen = [lines[(turn * count + n) % len(lines)] for n in range(count)]
        for line in chosen:
            self._case(scene, material, wreck, line)
        return len(chosen)

    def _case(self, scene: Scene, material: Material, wreck: Wreck, line: tuple[str, ...]) -> None:
        what = f"cas {shlex.join(line)}, {wreck.name}"
        sound = self._run(scene, material, line)
        assert not sound.error, f"cas {shlex.join(line)}: {sound.text}"
        ended = self._run(scene, material, line, wreck)
        if ended.error:
            raise Lost(f"{what}: {ended.error}: {ended.text}")
        problem = _judge(wreck, line, sound.value, ended.value)
        if problem:
            raise Lost(f"{what}: {problem}: {ended.value}")

    def _run(
        self, scene: Scene, material: Material, line: tuple[str, ...], wreck: Wreck | None = None
    ) -> Ended:
        """A command in a fresh copy; with a wreck, and what it must not touch compared."""
        work = scene.folder / "work"
        shutil.copytree(material.root, work)
        home = work / ".cas"
        try:
            before: dict[str, bytes] = {}
            if wreck is not None:
                wreck.apply(wreck, home, Random(f"{scene.seed} {scene.round} {line}"))
                before = _contents(home)
            ended = run_line(list(line), work, self.limit, wreck.before if wreck else None)
            if wreck is not None and not ended.error and ended.value.code not in (0, 1, 5, 6):
                changed = [n for n, data in _contents(home).items() if before.get(n, data) != data]
                if changed and wreck.before is None:
                    raise Lost(
                        f"cas {line}, {wreck.name}: {changed} changed by a command that failed"
                    )
            return ended
        finally:
            _remove_tree(work)


def _contents(home: Path) -> dict[str, bytes]:
    """Every file of a store but the lock, which any command may write to."""
    if not home.is_dir():
        return {}
    return {
        path.name: path.read_bytes()
        for path in home.iterdir()
        if path.is_file() and path.name != "lock.mdb"
    }


def _remove_tree(work: Path) -> None:
    home = work / ".cas"
    if home.is_dir():
        home.chmod(0o755)
    shutil.rmtree(work)


def _judge(wreck: Wreck, line: tuple[str, ...], sound: Said, found: Said) -> str:
    """What is wrong with how a command ended, "" if nothing is."""
    if found.code == _INTERNAL or "Traceback" in found.err:
        return "an internal error"
    if found.code == sound.code:
        lively = line[0] in _LIVELY or found.code
        return "" if lively or found.out == sound.out else f"it says otherwise {sound.out!r}"
    if found.code not in wreck.codes:
        return f"exit code {found.code}, not {sorted(wreck.codes)}"
    if line[0] == "fsck" and found.code == 7 and "finding" in found.out.decode():
        return ""
    if not found.err.startswith("error: "):
        return "no error is told"
    return "" if "\ntry:   " in found.err else "no command to type"


HARNESS = Files()
