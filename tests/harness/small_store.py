"""A small store with a bit of everything in it, what it answers, and going on with it.

Damage is done to copies of it: `answers` asks all that can be asked, so that a wrong answer shows.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import castore
from castore.errors import CastoreError, IncompleteSet, NotFound
from castore.model.ids import Id
from castore.model.refs import HEADS
from castore.store import stages
from castore.store.branches import create_branch, delete_branch

WHO = "ann@example.org"
NEW = "more-"
BEGAN = 1_790_000_000_000_000
SPEC = """\
spec: weekly
version: "1.0"
artifacts:
  - {name: summary, type: document, format: markdown, path: summary.md}
  - {name: rows, type: dataset, format: csv, path: rows.csv}
"""
FILES = ("store.json", "data.mdb", "heads.log", "config.toml")


@dataclass(frozen=True, slots=True)
class Failed:
    """What a question was answered with instead: the error's type, and what it says."""

    error: str
    text: str
    named: str = ""
    known: bool = True


def ticking(start: int) -> Callable[[], int]:
    """A clock that goes on by a second with every look."""
    ticks = itertools.count(start, 1_000_000)
    return lambda: next(ticks)


def lines(dice: random.Random, count: int) -> bytes:
    """Text that compresses well: a big file in few pages."""
    row = b"row %06d of the table, value %d\n"
    return b"".join(row % (number, dice.randrange(9)) for number in range(count))


def make(root: Path, seed: int) -> None:
    """Make the store `root/.cas`, in about 70 pages; the same for the same seed."""
    dice = random.Random(f"small store {seed}")
    out = root / "out"
    (out / "deep" / "er").mkdir(parents=True)
    now = ticking(BEGAN)
    with castore.init(root, now=now, entropy=dice.randbytes) as store:
        big = lines(dice, 9_000)
        (out / "big.txt").write_bytes(big)
        (out / "own.bin").write_bytes(dice.randbytes(9_000))
        for number in range(40):
            (out / "deep" / "er" / f"{number}.txt").write_text(f"file {number}\n")
        store.commit("out", cwd=root, message="first", context=castore.Context(run="run-1"))
        (out / "big.txt").write_bytes(big[:100_000] + b"a new row\n" + big[100_000:])
        (out / "deep" / "er" / "7.txt").write_text("another file\n")
        store.commit("out", cwd=root, message="second", context=castore.Context(run="run-2"))
        (out / "own.bin").write_bytes(dice.randbytes(5_000))
        store.commit("out", cwd=root, message="third", context=castore.Context(run="run-3"))
        _commit_specs(store, root)
        _say(store)
        _drop(store, root, dice)
    shutil.rmtree(out)


def _commit_specs(store: castore.Store, root: Path) -> None:
    """Versions under a spec, made from another version, and one that is refused."""
    spec = root / "weekly.spec.yaml"
    spec.write_text(SPEC)
    (root / "summary.md").write_text("# Summary\n")
    (root / "rows.csv").write_text("a,b\n1,2\n")
    agent = castore.Agent("writer", "7")
    context = castore.Context(agent=agent, author=WHO, run="run-4", operation="op-1")
    store.commit(spec=spec, cwd=root, context=context, sources=("out@v1:own.bin",))
    (root / "rows.csv").write_text("a,b\n1\n")
    with suppress(IncompleteSet):
        store.commit(spec=spec, cwd=root, context=castore.Context(run="run-5"))
    (root / "rows.csv").write_text("a,b\n3,4\n")
    store.commit(spec=spec, cwd=root, context=castore.Context(run="run-6"))


def _say(store: castore.Store) -> None:
    store.tag("first", "out@v1", by=WHO)
    store.tag("gone", "out@v1", by=WHO)
    create_branch(store, "team/side", store.resolve("out@v1").version, by=WHO)
    store.request_review("weekly", by=WHO, agent="writer@7", text="please")
    store.approve("weekly@v1", by="Ben <ben@example.org>", text="checked")
    note = store.reject("weekly@v2", by="ben@example.org")
    store.dismiss(note.id.hex(), by=WHO)
    store.mark("weekly@v1", "published", by=WHO)
    store.deploy("weekly@v1", "production", by=WHO)
    store.comment("out", "by hand", by=WHO)
    store.pin("out@v1", why="an audit", by=WHO)


def _drop(store: castore.Store, root: Path, dice: random.Random) -> None:
    """Versions forgotten and purged, and pages that are free again."""
    for number in range(3):
        folder = root / "temporary"
        folder.mkdir(exist_ok=True)
        (folder / "a").write_bytes(dice.randbytes(6_000))
        (folder / "b").write_bytes(b"secret %d\n" % number * 100)
        store.commit("temporary", cwd=root, name="temporary")
    store.forget("temporary@v1", by=WHO, why="too old")
    store.purge("temporary@v2:b", reason="a key", by=WHO)
    shutil.rmtree(root / "temporary")
    (root / "last").write_bytes(dice.randbytes(30_000))
    store.commit("last", cwd=root, name="dropped")
    delete_branch(store, "dropped", by=WHO)
    store.gc(grace=0, by=WHO)
    (root / "last").unlink()
    with _one_process():
        store.stage(b"staged for a session to come\n" * 9)


@contextmanager
def _one_process() -> Iterator[None]:
    """What sessions note of their process has one length: pages are laid the same each time."""
    earlier = stages._started, stages._pids
    stages._started, stages._pids = lambda _pid: "0" * 9, lambda: 1 << 30
    try:
        yield
    finally:
        stages._started, stages._pids = earlier


def copy(source: Path, target: Path) -> None:
    """A store copied while it is closed, without its lock file."""
    target.mkdir(parents=True)
    for name in FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def questions(store: castore.Store) -> Iterator[tuple[str, Callable[[], object]]]:
    """What can be asked of a store; every answer is a plain value that can be compared.

    What `go_on` adds is in no answer but `stats`.
    """
    yield "log", lambda: [store.record(version) for version in _versions(store)]
    yield "tags", lambda: {name: version.id for name, version in store.tags()}
    yield "branches", lambda: {one.branch: one.id for one in store.branches() if _old(one)}
    yield "partials", lambda: [partial.as_json() for partial in store.partials()]
    yield "pins", lambda: [(pin.version.id, pin.why) for pin in store.pins()]
    yield "operations", lambda: _operations(store)
    yield "deployments", lambda: [str(one) for one in store.deployments()]
    yield "waiting", lambda: [one.version.id for one in store.waiting()]
    for table in ("forgotten", "purged", "stage"):
        yield table, partial(_rows, store, table)
    yield "audit", lambda: [version.id for version in store.audit(agent="writer@7")]
    yield "find", lambda: [(one.version.id, one.artifact.name) for one in store.find("*own*")]
    yield "lineage", lambda: str(store.lineage("weekly@v1"))
    yield "impact", lambda: str(store.impact("out@v1"))
    yield "diff", lambda: str(store.diff("out@v2"))
    yield "blame", lambda: str(store.blame("weekly:rows"))
    yield "stats", lambda: _stats(store)
    try:
        versions = _versions(store)
    except CastoreError:
        return
    known: dict[Id, object] = {}
    for version in versions:
        label = f"{version.branch}@v{version.number}"
        yield f"notes {label}", partial(_notes, store, version)
        yield f"status {label}", partial(_status, store, version)
        yield f"files {label}", partial(_files, store, version)
        yield f"bytes {label}", partial(_contents, store, version, known)


def _old(version: castore.Version) -> bool:
    return not version.branch.startswith(NEW)


def _versions(store: castore.Store) -> list[castore.Version]:
    return [version for version in store.log() if _old(version)]


def _operations(store: castore.Store) -> list[tuple[int, Id]]:
    heads = HEADS + NEW
    return [
        (one.sequence, one.hash)
        for one in store.operations()
        if not any(name.startswith(heads) for name, _, _ in one.refs)
    ]


def _rows(store: castore.Store, table: str) -> list[tuple[bytes, bytes]]:
    return store.database.read(lambda tables: list(tables.rows(table)))


def _stats(store: castore.Store) -> object:
    found = store.stats().as_json()
    # Not of content: how many pages there are, rows of caches among them.
    return {name: value for name, value in found.items() if name not in ("file_bytes", "rows")}


def _notes(store: castore.Store, version: castore.Version) -> object:
    return sorted((id, str(note)) for id, note in store.notes(version).items())


def _status(store: castore.Store, version: castore.Version) -> object:
    return str(store.status_of(version))


def _files(store: castore.Store, version: castore.Version) -> object:
    try:
        return [entry.as_json() for entry in store.files(version.id.hex())]
    except NotFound as error:
        return _let_go(error)


def _contents(store: castore.Store, version: castore.Version, known: dict[Id, object]) -> object:
    """The bytes of all files of a version, by digest; what is `known` is not read again."""
    found: dict[Id, object] = {}
    try:
        entries = [entry for entry in store.files(version.id.hex()) if entry.digest]
    except NotFound as error:
        return _let_go(error)
    for entry in entries:
        if entry.digest not in known:
            try:
                known[entry.digest] = b"".join(store.reader.stream(entry.digest, entry.size))
            except NotFound as error:
                known[entry.digest] = _let_go(error)
        found[entry.digest] = known[entry.digest]
    return found


def _let_go(error: NotFound) -> str:
    """What is said of content that was forgotten or purged; raises it if it is another error."""
    if error.attributes.get("forgotten") or error.attributes.get("state") == "purged":
        return error.message
    raise error


def ask(question: Callable[[], object]) -> object:
    """The answer, or how it failed."""
    try:
        return question()
    except CastoreError as error:
        return Failed(type(error).__name__, error.message, str(error.attributes.get("id", "")))
    except Exception as error:
        return Failed(type(error).__name__, str(error), known=False)


def answers(store: castore.Store) -> dict[str, object]:
    """Every answer of a store."""
    return {name: ask(question) for name, question in questions(store)}


def differences(
    before: dict[str, object], after: dict[str, object], *, but: frozenset[str] = frozenset()
) -> list[str]:
    """The questions that are answered otherwise now, and not by an error that castore knows.

    Where there is no log, nobody can ask about its versions.
    """
    asked = before if not isinstance(after["log"], Failed) else before.keys() & after.keys()
    return [
        name
        for name, answer in before.items()
        if name in asked
        and name not in but
        and after.get(name) != answer
        and not (isinstance(found := after.get(name), Failed) and found.known)
    ]


def go_on(store: castore.Store, root: Path, count: int) -> dict[str, bytes]:
    """Commit to a branch of its own: what was committed, by selector."""
    dice = random.Random(count)
    made = {}
    for number in range(count):
        (root / "more").write_bytes(data := dice.randbytes(dice.choice((50, 6_000, 40_000))))
        version = store.commit("more", cwd=root, name=f"{NEW}{number % 2}").version
        made[f"{version.id.hex()}:more"] = data
    return made
