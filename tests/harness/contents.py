"""Mixed content of any size, edited and committed again: every byte of every version comes back."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import castore
from castore.content import encoder
from castore.content.packer import Packer
from castore.model.names import SECRET_RULES
from tests.harness.frame import Harness, Lost, Scene
from tests.harness.ledger import whole
from tests.harness.mixed import MIB, Maker, prose

BRANCH: Final = "mixed"
VERSIONS: Final = 3
NAMES: Final = 4
# Of so many rounds one has a big file.
_BIG_ONE_OF: Final = 4
_BIG: Final = (24 * MIB, 60 * MIB)
_PIPED: Final = 64 * 1024


class Stored(NamedTuple):
    """A file of a version: its selector, its place in a checkout, its bytes."""

    selector: str
    place: str
    data: bytes


class Contents(Harness):
    """Files of noise, text and parts of each other, edited from version to version."""

    name = "contents"
    shows = "each byte of each version of mixed content comes back, also after repack and reopening"
    share = 4.0
    mutants = {
        "copies-in-place": "joined chunks that do not compress are taken to lie where they were",
        "given-back-early": "a buffer is used again before the batch that lies in it is written",
    }

    def prepare(self, seed: int, folder: Path) -> bytes:
        return prose(seed)

    def round(self, scene: Scene) -> int:
        """One store and some versions; all of them are read at the end, and again if repacked."""
        if scene.mutant:
            _PLANTS[scene.mutant]()
        dice = scene.dice
        with castore.init(scene.folder) as store:
            # Noise may look like a secret.
            rules = ", ".join(f'"{rule}"' for rule in SECRET_RULES)
            (store.folder / "config.toml").write_text(f"[secrets]\nallow = [{rules}]\n")
        versions = Versions(scene)
        versions.commit_all()
        with castore.open(scene.folder) as store:
            _judge(store, scene, versions.stored)
            if dice.random() < 0.5:
                store.repack()
                _judge(store, scene, versions.stored)
        return len(versions.stored)


class Versions:
    """The versions of a round, and what they must hold."""

    def __init__(self, scene: Scene) -> None:
        self.stored: list[Stored] = []
        self._folder = scene.folder
        self._dice = scene.dice
        self._big = scene.round % _BIG_ONE_OF == 0
        self._maker = Maker(scene.dice, scene.material)
        self._files: dict[str, bytes] = {}

    def commit_all(self) -> None:
        """Make and commit them, by one opened store or by one for each."""
        at_once = self._dice.random() < 0.5
        turns = [VERSIONS] if at_once else [1] * VERSIONS
        for count in turns:
            with castore.open(self._folder) as store:
                for _ in range(count):
                    self._change()
                    (self._as_folder if self._dice.random() < 0.5 else self._one_by_one)(store)

    def _change(self) -> None:
        """New files, and edits of those that are there."""
        dice, maker, files = self._dice, self._maker, self._files
        if self._big and "big" not in files:
            files["big"] = maker.turns(dice.randint(*_BIG))
        elif self._big:
            files["big"] = maker.edited(files["big"])
        for _ in range(dice.randint(1, NAMES)):
            name = f"f{dice.randrange(NAMES)}"
            if name in files and dice.random() < 0.8:
                files[name] = maker.edited(files[name])
            else:
                files[name] = maker.small() if self._big or dice.random() < 0.4 else maker.mixed()

    def _as_folder(self, store: castore.Store) -> None:
        """All files in one folder, which is an artifact; a stat may say that one is as it was."""
        folder = self._folder / "set" / "out"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self._files.items():
            (folder / name).write_bytes(data)
        id = store.commit("set", cwd=self._folder, name=BRANCH).version.id.hex()
        for name, data in self._files.items():
            self.stored.append(Stored(f"{id}:out/{name}", f"out/{name}", data))

    def _one_by_one(self, store: castore.Store) -> None:
        """Each file as an artifact, given as a path, bytes, an open file, a pipe or pieces."""
        with store.session(BRANCH) as session:
            for name, data in self._files.items():
                how = self._dice.randrange(5)
                path = self._folder / f"given-{name}"
                if how == 0:
                    session.write(name, data)
                elif how == 1:
                    with _pipe(data) as pipe:
                        session.add(name, pipe)
                elif how == 2:
                    session.add(name, _pieces(data, self._dice.randint(1, 3 * MIB)))
                else:
                    path.write_bytes(data)
                    if how == 3:
                        session.add(name, path)
                    else:
                        with path.open("rb") as file:
                            session.add(name, file)
            id = session.commit().id.hex()
        for name, data in self._files.items():
            self.stored.append(Stored(f"{id}:{name}", name, data))


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@contextmanager
def _pipe(data: bytes) -> Iterator[BinaryIO]:
    """A pipe that gives the data, and comes to its end."""
    reading, writing = os.pipe()

    def feed() -> None:
        # Who no longer reads has failed, and says why.
        with suppress(BrokenPipeError), open(writing, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view[:_PIPED]) :]

    thread = threading.Thread(target=feed)
    with open(reading, "rb") as pipe:
        thread.start()
        yield pipe
    thread.join()


def _judge(store: castore.Store, scene: Scene, stored: list[Stored]) -> None:
    """Raises Lost unless a full check finds nothing and each file has the bytes it was given."""
    whole(store)
    for id, files in groupby(stored, lambda one: one.selector.partition(":")[0]):
        if scene.dice.random() < 0.5:
            target = scene.folder / "back"
            store.checkout(id, target)
            for one in files:
                _compare(one, (target / one.place).read_bytes())
            shutil.rmtree(target)
            continue
        for one in files:
            _compare(one, store.read_bytes(one.selector))
            with store.open(one.selector) as file:
                at = scene.dice.randrange(len(one.data) + 1)
                file.seek(at)
                if file.read(MIB) != one.data[at : at + MIB]:
                    raise Lost(f"{one.selector} has other bytes behind {at}")


def _compare(one: Stored, found: bytes) -> None:
    if found != one.data:
        at = next((n for n, (a, b) in enumerate(zip(found, one.data, strict=False)) if a != b), -1)
        raise Lost(
            f"{one.selector} has {len(found)} bytes of {len(one.data)}, "
            f"the first that differs at {at}"
        )


def _copies_in_place() -> None:
    """Each block that is not compressed is said to lie where its first chunk was read to."""
    original = encoder._content_blocks

    def blocks(contents: Any, tried: Any, *, lying: Any = None, **options: Any) -> Any:
        made = original(contents, tried, lying=lying, **options)
        if lying is None:
            return made
        return [
            block._replace(
                around=lying.around(block.members[0].id, block.raw_size, len(block.head))
            )
            if block.frame
            else block
            for block in made
        ]

    encoder._content_blocks = blocks


def _given_back_early() -> None:
    """The memory of a read is used again once it is encoded: its batch is not yet written."""
    original = Packer._collect

    def collect(self: Packer) -> None:
        job = self._queue[0]
        if job.done is not None and not isinstance(job.blocks, list):
            job.blocks.result()
            job.done()
            self._queue[0] = job._replace(done=None)
        original(self)

    Packer._collect = collect  # type: ignore[method-assign]


_PLANTS = {"copies-in-place": _copies_in_place, "given-back-early": _given_back_early}
HARNESS = Contents()
