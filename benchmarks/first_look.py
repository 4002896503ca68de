"""First look: the figures of the README, on real source files and one big file, in a few minutes.

    python -m benchmarks.first_look [FOLDER]

Works in a new folder below FOLDER (default: the system's temporary folder), which it removes. Every
time stands beside a raw limit taken in the same run; JSON lines, one a figure.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

import castore
from benchmarks.stage import allow_secrets

FILES = 20_000
BIG = 1 << 30
INSERTED = 1024


def say(figure: str, **values: object) -> None:
    print(json.dumps({"figure": figure, **values}), flush=True)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 2)


def anonymous_memory() -> int:
    """Anonymous memory of this process now, in MiB: mapped pages of the database do not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) // 1024


def source_files() -> Iterator[Path]:
    """Real source files: the standard library, installed packages, then headers of the system."""
    places = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "/usr/lib", "/usr"]
    endings = {".py", ".h", ".c", ".js", ".pl", ".pm", ".rb", ".rs", ".md", ".txt", ".json"}
    seen: set[Path] = set()
    for place in places:
        for folder, _, names in os.walk(place):
            for name in names:
                path = Path(folder, name)
                if path.suffix in endings and path not in seen and not path.is_symlink():
                    seen.add(path)
                    yield path


def copy_sources(target: Path) -> int:
    size = count = 0
    for path in source_files():
        if count == FILES:
            break
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        place = target / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        size += place.stat().st_size
        count += 1
    say("corpus", files=count, bytes=size)
    return size


def write_big(path: Path) -> None:
    """Half text-like words, half noise, in pieces of 1 MiB."""
    dice = random.Random(7)
    words = [dice.randbytes(dice.randint(2, 5)).hex().encode() for _ in range(5000)]
    with path.open("wb") as file:
        while file.tell() < BIG:
            noise = dice.random() < 0.5
            text = b" ".join(dice.choices(words, k=150_000))[: 1 << 20]
            file.write(dice.randbytes(1 << 20) if noise else text)


def hash_file(path: Path) -> str:
    hasher = blake3()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def insert(path: Path, at: int, data: bytes) -> None:
    other = path.with_suffix(".new")
    with path.open("rb") as old, other.open("wb") as new:
        new.write(old.read(at) + data)
        shutil.copyfileobj(old, new, 1 << 20)
    other.replace(path)


def read_and_hash(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            blake3(path.read_bytes()).digest()


def many_files(store: castore.Store, work: Path) -> None:
    folder = work / "src"
    copy_sources(folder)
    read_and_hash(folder)
    limit = timed(lambda: read_and_hash(folder))
    reports = []
    first = timed(lambda: reports.append(store.commit("src", name="src", cwd=work)))
    time.sleep(0.1)
    again = timed(lambda: reports.append(store.commit("src", name="src", cwd=work)))
    out = timed(lambda: store.checkout("src", work / "back"))
    subprocess.run(["diff", "-r", folder, work / "back"], check=True)
    say("source files", commit_s=first, read_and_hash_s=limit, again_s=again, checkout_s=out,
        new=reports[0].new_bytes, known=reports[0].known_bytes, stored=reports[0].stored_bytes,
        again_new=reports[1].new_bytes, checkout="byte-identical")  # fmt: skip


def big_file(store: castore.Store, work: Path) -> None:
    path = work / "big.bin"
    write_big(path)
    reports = []
    digest = hash_file(path)
    limit = timed(lambda: hash_file(path))
    first = timed(lambda: reports.append(store.commit("big.bin", name="big", cwd=work)))
    held = anonymous_memory()
    out = timed(lambda: store.checkout("big", work / "big-back"))
    same = hash_file(work / "big-back" / "big.bin") == digest
    recorded = store.record(reports[0].version)["artifacts"][0]["digest"] == digest
    insert(path, 5000, random.Random(1).randbytes(INSERTED))
    edited = timed(lambda: reports.append(store.commit("big.bin", name="big", cwd=work)))
    say("1 GiB file", commit_s=first, blake3_one_thread_s=limit, anonymous_MiB=held, checkout_s=out,
        identical=same and recorded, stored=reports[0].stored_bytes, edited_commit_s=edited,
        new_after_1KiB_insert=reports[1].new_bytes)  # fmt: skip


def small_commits(store: castore.Store, work: Path) -> None:
    def synced() -> None:
        with (work / "raw").open("wb") as file:
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())

    def one(number: int) -> None:
        with store.session("small") as session:
            session.write("a", f"version {number}")
            session.commit()

    times = [timed_ms(lambda n=n: one(n)) for n in range(60)]  # type: ignore[misc]
    raw = statistics.median(timed_ms(synced) for _ in range(30))
    log = [sys.executable, "-m", "castore", "log", "-n", "50"]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled once
    subprocess.run(log, cwd=work, check=True, stdout=subprocess.DEVNULL)
    logs = [timed_ms(lambda: run(log, work)) for _ in range(9)]
    bare = [timed_ms(lambda: run([sys.executable, "-c", ""], work)) for _ in range(9)]
    say(
        "small commits",
        commit_ms=round(statistics.median(times[10:]), 2),
        fdatasync_ms=round(raw, 2),
        log_of_50_ms=round(statistics.median(logs)),
        bare_python_ms=round(statistics.median(bare)),
    )


def run(command: list[str], work: Path) -> None:
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)


def timed_ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    place = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="castore-first-look-", dir=place) as folder:
        work = Path(folder)
        with castore.init(work) as store:
            allow_secrets(store.folder)
            small_commits(store, work)
            many_files(store, work)
            big_file(store, work)
            report = store.fsck(full=True)
            say("fsck --full", ok=report.ok)
            say("store", data_file=store.database.file_bytes())


if __name__ == "__main__":
    main()
