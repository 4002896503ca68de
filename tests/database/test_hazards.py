"""Each hazard of LMDB in a process of its own: a named error, never a signal, a hang or a lie."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from castore.database.datafile import newest_meta
from castore.database.environment import Database
from castore.errors import CorruptObject
from tests.database.conftest import Child
from tests.database.material import commit, make_database
from tests.database.scene import ROOT, script

PAGE = 4096
ROUNDS = int(os.environ.get("CASTORE_KILL_ROUNDS", "12"))


def fill(home: Path, versions: int = 12) -> int:
    """A store with some versions; the size of its data file."""
    made = make_database(home)
    dice = random.Random(7)
    for _ in range(versions):
        commit(made, "a", dice)
    made.close()
    return os.path.getsize(home / "data.mdb")


def test_every_shorter_length_is_refused(home: Path, child: Child) -> None:
    size = fill(home)
    code = """
    size = os.path.getsize(DATA)
    lengths = [0, 1, 100, 4095, 4096, 8191, 8192, 12288, size // 2, size - 1, size - 4096]
    original = DATA.read_bytes()
    for length in lengths:
        DATA.write_bytes(original[:length])
        try:
            Database.open(HOME).close()
            print("opened", length)
        except CastoreError as error:
            print(type(error).__name__, error.code)
    """
    lines = child(code).split("\n")[:-1]
    assert size > 20 * PAGE
    assert lines == ["CorruptObject 7"] * 11


def test_every_page_cut_off_is_refused_or_free(home: Path, child: Child) -> None:
    fill(home)
    code = """
    original = DATA.read_bytes()
    for pages in range(len(original) // 4096 - 1, 1, -1):
        DATA.write_bytes(original[: pages * 4096])
        try:
            database = Database.open(HOME)
        except CastoreError as error:
            print(type(error).__name__)
            continue
        database.read(lambda reading: [len(data) for _, data in reading.blocks()])
        problems = database.check_pages().problems
        print("opened", problems)
        database.close()
    """
    lines = child(code).split("\n")[:-1]
    assert set(lines) <= {"CorruptObject", "opened []"}
    assert lines[-1] == "CorruptObject"


def test_a_file_that_ends_in_pages_never_written_is_sound(home: Path) -> None:
    """LMDB does not write pages allocated and freed within one transaction, even the last ones."""
    made = make_database(home)
    short = 0
    dice = random.Random(11)
    for _ in range(60):

        def transact(tables: object) -> None:
            for _ in range(dice.randrange(1, 60)):
                key = b"%d" % dice.randrange(200)
                if dice.random() < 0.5:
                    value = b"x" * dice.choice([10, 1000, 9000, 60000])
                    tables._put(tables._tables.uploads, key, value)  # type: ignore[attr-defined]
                else:
                    tables._delete(tables._tables.uploads, key)  # type: ignore[attr-defined]

        made.write(transact)
        with (home / "data.mdb").open("rb") as file:
            needed = newest_meta(file.fileno(), "data.mdb").bytes_needed
        if os.path.getsize(home / "data.mdb") < needed:
            short += 1
            assert made.check_pages().problems == []
            made.close()
            made = Database.open(home)
    made.close()
    assert short > 0


@pytest.mark.parametrize("compact", [False, True])
def test_a_writer_gives_up_while_a_copy_waits_for_it(
    home: Path, child: Child, compact: bool
) -> None:
    fill(home)
    code = """
    database = Database.open(HOME)
    commit(database, "a", random.Random(1))
    begun, copy = threading.Event(), HOME.parent / "copy"
    copy.mkdir()

    def give_up(writing):
        begun.set()
        time.sleep(0.5)
        raise CastoreError("no")

    writer = threading.Thread(target=lambda: attempt(lambda: database.write(give_up)))
    writer.start()
    begun.wait()
    database._engine.copy(copy, compact=bool(int(sys.argv[2])))
    writer.join()
    commit(database, "a", random.Random(2))
    print((copy / "data.mdb").stat().st_size > 20 * 4096)
    """
    said = child(code, str(int(compact)))
    assert said.split("\n") == ["CastoreError 1 no", "True", ""]


@pytest.mark.parametrize("length", [0, 4096, "half"])
def test_a_file_cut_while_it_is_open_is_refused(
    home: Path, child: Child, length: int | str
) -> None:
    size = fill(home)
    cut = size // 2 if length == "half" else int(length)
    code = """
    database = Database.open(HOME)
    database.read(lambda reading: reading.refs())
    os.truncate(DATA, int(sys.argv[2]))
    attempt(lambda: database.read(lambda reading: sum(len(d) for _, d in reading.blocks())))
    attempt(lambda: commit(database, "a", random.Random(2)))
    os._exit(0)
    """
    lines = child(code, str(cut)).split("\n")
    assert lines[0].startswith("CorruptObject 7")
    assert lines[1].startswith("CorruptObject 7")


@pytest.mark.parametrize("how", ["missing", "empty", "garbage", "text", "newer"])
def test_a_data_file_that_is_none_is_refused(home: Path, child: Child, how: str) -> None:
    fill(home, 2)
    data = home / "data.mdb"
    if how == "missing":
        data.unlink()
    elif how == "empty":
        data.write_bytes(b"")
    elif how == "garbage":
        data.write_bytes(random.Random(1).randbytes(1 << 20))
    elif how == "text":
        data.write_text("not a database\n" * 10000)
    else:
        whole = bytearray(data.read_bytes())
        whole[20] = 3
        data.write_bytes(whole)
    said = child("attempt(lambda: Database.open(HOME))")
    assert said.startswith("UnsupportedFormat 8" if how == "newer" else "CorruptObject 7")
    assert data.exists() == (how != "missing")


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_files_swapped_under_an_open_store_are_never_acknowledged(
    home: Path, child: Child, name: str, how: str
) -> None:
    fill(home, 3)
    code = """
    import shutil
    database = Database.open(HOME)
    commit(database, "a", random.Random(1))
    path = HOME / sys.argv[2]
    if sys.argv[3] == "replaced":
        shutil.copy(path, HOME / "new")
        os.replace(HOME / "new", path)
    else:
        path.unlink()
    attempt(lambda: commit(database, "a", random.Random(2)))
    """
    assert child(code, name, how).startswith("CorruptObject 7")


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_files_swapped_during_a_transaction_are_not_acknowledged(
    home: Path, child: Child, name: str
) -> None:
    fill(home, 3)
    code = """
    import shutil
    database = Database.open(HOME)
    path = HOME / sys.argv[2]
    def transact(tables):
        tables.add_if_new("heads/new", b"x" * 32)
        shutil.copy(path, HOME / "new")
        os.replace(HOME / "new", path)
    attempt(lambda: database.write(transact))
    os._exit(0)
    """
    assert child(code, name).startswith("CorruptObject 7")


def test_a_fork_cannot_use_the_store_and_can_open_its_own(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    database = Database.open(HOME)
    commit(database, "a", random.Random(1))
    if os.fork() == 0:
        attempt(lambda: database.read(lambda reading: len(reading.refs())))
        attempt(lambda: commit(database, "a", random.Random(2)))
        database.close()
        again = Database.open(HOME)
        commit(again, "child", random.Random(3))
        attempt(lambda: again.read(lambda reading: len(reading.refs())))
        again.close()
        os._exit(0)
    os.wait()
    commit(database, "a", random.Random(4))
    attempt(lambda: database.read(lambda reading: len(reading.refs())))
    print(database.check_pages().problems)
    """
    lines = child(code).split("\n")
    assert lines[0].startswith("ForkedProcess 75")
    assert "open the store again" not in lines[0]
    assert lines[1].startswith("ForkedProcess 75")
    assert lines[2:5] == ["ok 2", "ok 2", "[]"]


def test_a_fork_inside_a_transaction_leaves_the_parent_whole(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    database = Database.open(HOME)
    commit(database, "a", random.Random(1))
    def transact(tables):
        tables.add_if_new("heads/parent", b"x" * 32)
        if os.fork() == 0:
            attempt(lambda: database.read(lambda reading: len(reading.refs())))
            attempt(lambda: Database.open(HOME))
            try:
                tables.add_if_new("heads/child", b"x" * 32)
            except BaseException as error:
                print(type(error).__name__, flush=True)
            os._exit(0)
        os.wait()
    database.write(transact)
    attempt(lambda: [name for name, _ in database.read(lambda reading: reading.refs())])
    """
    lines = child(code).split("\n")
    assert lines[0].startswith("ForkedProcess")
    assert lines[1].startswith("ForkedProcess")
    assert lines[2] == "ForkedProcess"
    assert lines[3] == "ok ['heads/a', 'heads/parent']"


def test_a_fork_inside_a_view_leaves_it_as_it_was(home: Path, child: Child) -> None:
    """The child must not end the parent's reader: its pages would be written over."""
    fill(home, 12)
    code = """
    churn = '''
    database = Database.open(HOME)
    for _ in range(12):
        database.write(lambda tables: [tables.drop_block(n) for n in tables.block_numbers()])
        put(database, *(chunks(os.urandom(9000)) for _ in range(12)))
    print(flush=True)
    '''
    database = Database.open(HOME)
    def view(reading):
        before = list(reading.blocks())
        if os.fork() == 0:
            return None
        os.wait()
        assert other(churn).wait() == 0
        return before == list(reading.blocks())
    seen = database.read(view)
    if seen is None:
        os._exit(0)
    print(seen)
    """
    assert child(code) == "True\n"


def test_a_fork_waits_for_the_transactions_of_other_threads(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    database = Database.open(HOME)
    stop = False
    def work(name):
        dice = random.Random(name)
        while not stop:
            commit(database, name, dice)
    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(2)]
    for thread in threads: thread.start()
    for n in range(10):
        if os.fork() == 0:
            again = Database.open(HOME)
            commit(again, f"child{n}", random.Random(n))
            os._exit(0)
        assert os.wait()[1] == 0
    stop = True
    for thread in threads: thread.join()
    print(len(database.read(lambda reading: reading.refs())), database.check_pages().problems)
    """
    assert child(code) == "13 []\n"


def test_another_process_may_grow_the_map(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    database = Database.open(HOME, map_size=1 << 20)
    commit(database, "a", random.Random(1))
    grow = "put(Database.open(HOME), *(chunks(os.urandom(250_000)) for _ in range(20)))"
    other(grow).wait()
    attempt(lambda: database.read(lambda reading: reading.counts()["blocks"]))
    commit(database, "a", random.Random(2))
    attempt(lambda: database.read(lambda reading: len(list(reading.operations()))))
    """
    lines = child(code).split("\n")
    assert lines[0] == "ok 32"
    assert lines[1] == "ok 5"


def test_little_address_space_is_enough_or_named(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    database = Database.open(HOME)
    commit(database, "a", random.Random(1))
    attempt(lambda: database.read(lambda reading: reading.counts()["ops"]))
    database.close()
    # Less than a map of any use.
    database = Database.open(HOME, map_size=1 << 20)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), 1 << 30))
    attempt(lambda: put(database, *[chunks(bytes([n]) * 250_000) for n in range(8)]))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    attempt(lambda: commit(database, "a", random.Random(1)) and "again")
    """
    lines = child(code).split("\n")
    assert lines[0] == "ok 4"
    assert lines[1].startswith(("StoreFull 75", "ok"))
    assert lines[2] == "ok again"


def test_a_file_size_limit_is_a_full_store(home: Path, child: Child) -> None:
    size = fill(home, 3)
    code = """
    import resource
    database = Database.open(HOME)
    limit = int(sys.argv[2]) + 6_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    def some(): return [chunks(os.urandom(200_000)) for _ in range(10)]
    for _ in range(2): attempt(lambda: put(database, *some()))
    attempt(lambda: commit(database, "a", random.Random(1)) and "small")
    # What frees space is let in; LMDB itself is refused what goes beyond the limit.
    def little(tables): return tables.bump_generation() and "small"
    attempt(lambda: database.write(little, urgent=True))
    big = some() + some() + some()
    attempt(lambda: database.write(lambda tables: tables.put_blocks(big), urgent=True))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    attempt(lambda: put(database, chunks(os.urandom(200_000))))
    print(database.check_pages().problems)
    """
    lines = child(code, str(size)).split("\n")
    assert lines[0] == "ok 10"
    assert lines[1].startswith("StoreFull 75")
    assert lines[2].startswith("StoreFull 75")
    assert "the limit on the size of files" in lines[2]
    assert lines[3] == "ok small"
    assert lines[4].startswith("StoreFull 75")
    assert lines[5] == "ok 1"
    assert lines[6] == "[]"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_is_a_full_store_and_frees_again(tmp_path: Path, child: Child) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        code = """
        HOME = Path(sys.argv[2]) / ".cas"
        database = make_database(HOME)
        acknowledged = 0
        for _ in range(200):
            try:
                put(database, chunks(os.urandom(200_000)))
                acknowledged += 1
            except CastoreError as error:
                print(type(error).__name__, error.code)
                break
        assert 10 < acknowledged < 60, acknowledged
        def free(tables):
            for number in list(tables.block_numbers())[:20]:
                tables.drop_block(number)
        attempt(lambda: database.write(free, urgent=True))
        put(database, chunks(b"small"))
        # Two commits later the pages are free, and count as room.
        put(database, chunks(b"smaller"))
        attempt(lambda: put(database, chunks(os.urandom(200_000))))
        database.close()
        database = Database.open(HOME)
        n = database.read(lambda reading: reading.counts()["blocks"])
        print(n == acknowledged - 20 + 3, database.check_pages().problems)
        # Whatever is done against all advice, is named too.
        def stuff():
            while True:
                block = chunks(os.urandom(200_000))
                database.write(lambda tables: tables.put_blocks([block]), urgent=True)
        attempt(stuff)
        attempt(lambda: database.read(lambda reading: len(reading.refs())))
        print(database.check_pages().problems)
        """
        lines = child(code, str(small)).split("\n")
        assert lines[0] == "StoreFull 75"
        assert lines[1:4] == ["ok None", "ok 1", "True []"]
        assert lines[4].startswith("StoreFull 75")
        assert lines[5:7] == ["ok 0", "[]"]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_failed_meta_page_is_overcome_by_reopening(home: Path, child: Child) -> None:
    """LMDB answers every transaction with a panic after it, until the environment is reopened."""
    fill(home, 3)
    code = """
    import lmdb
    database = Database.open(HOME)
    commit(database, "a", random.Random(1))
    engine = database._engine
    class Failing:
        def __init__(self, environment): self.environment = environment
        def begin(self, **how): raise lmdb.PanicError("mdb_txn_begin", -30795)
        def __getattr__(self, name): return getattr(self.environment, name)
    engine._environment = Failing(engine._environment)
    attempt(lambda: commit(database, "a", random.Random(2)) and "committed")
    attempt(lambda: database.read(lambda reading: reading.counts()["ops"]))
    """
    assert child(code) == "ok committed\nok 5\n"


def test_a_killed_reader_frees_its_slot(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    database = Database.open(HOME)
    environment = database._engine._environment
    hold = "Database.open(HOME).read(lambda view: print(flush=True) or sys.stdin.readline())"
    reader = other(hold)
    reader.kill()
    reader.wait()
    print(str(reader.pid) in environment.readers())
    other("Database.open(HOME); print(flush=True)").wait()
    print(str(reader.pid) in environment.readers())
    """
    assert child(code) == "True\nFalse\n"


def test_opening_for_reading_does_not_wait_for_a_writer(home: Path, child: Child) -> None:
    fill(home, 3)
    code = """
    hold = "Database.open(HOME).write(lambda tables: print(flush=True) or sys.stdin.readline())"
    writer = other(hold)
    attempt(lambda: Database.open(HOME).read(lambda reading: len(reading.refs())))
    writer.communicate(b"go on")
    """
    assert child(code) == "ok 1\n"


def test_writers_of_several_processes_lose_nothing(home: Path) -> None:
    make_database(home).close()
    code = """
    database = Database.open(HOME, map_size=1 << 20)
    dice = random.Random(sys.argv[2])
    for _ in range(25): print(commit(database, "shared", dice).hex(), flush=True)
    """
    writers = [
        subprocess.Popen(
            [*script(code), str(home), str(n)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for n in range(6)
    ]
    acknowledged = [line for writer in writers for line in writer.communicate()[0].split()]
    assert [writer.returncode for writer in writers] == [0] * 6
    database = Database.open(home)
    tip = database.read(lambda reading: reading.ref("heads/shared"))
    assert tip is not None
    line = database.read(lambda reading: [reading.ancestor(tip, n) for n in range(1, 151)])
    assert sorted(acknowledged) == sorted(id.hex() for id in line if id)
    assert len(set(line)) == 150
    operations = database.read(lambda reading: [o.sequence for o in reading.operations()])
    assert operations == list(range(150, 0, -1))
    assert database.heads_log()[-1][0] == 150
    assert database.check_pages().problems == []
    database.close()


def test_killed_writers_lose_nothing_acknowledged(home: Path) -> None:
    make_database(home).close()
    code = """
    database = Database.open(HOME)
    dice = random.Random(sys.argv[2])
    while True: print(commit(database, sys.argv[3], dice).hex(), flush=True)
    """
    dice = random.Random()
    acknowledged: dict[str, list[str]] = {"a": [], "b": []}
    for round in range(ROUNDS):
        writers = {
            name: subprocess.Popen(
                [*script(code), str(home), f"{name}{round}", name],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for name in acknowledged
        }
        for writer in writers.values():
            assert writer.stdout is not None
            first = writer.stdout.readline().strip()
            acknowledged[next(n for n, w in writers.items() if w is writer)].append(first)
        time.sleep(dice.random() * 0.2)
        for name, writer in writers.items():
            writer.send_signal(signal.SIGKILL)
            acknowledged[name].extend(
                line for line in writer.communicate()[0].split() if len(line) == 64
            )
        database = Database.open(home)
        for name, ids in acknowledged.items():
            tip = database.read(lambda reading, name=name: reading.ref(f"heads/{name}"))
            assert tip is not None
            for number, id in enumerate(ids, 1):
                # One version may have been saved and not acknowledged in each round before.
                found = database.read(lambda reading, id=id: reading.step(bytes.fromhex(id)))
                assert found is not None
                assert found.number >= number
                above = database.read(
                    lambda reading, tip=tip, found=found: reading.ancestor(tip, found.number)
                )
                assert above == bytes.fromhex(id)
        assert database.check_pages().problems == []
        database.close()


def test_a_byte_copy_taken_back_is_noticed(home: Path, tmp_path: Path) -> None:
    made = make_database(home)
    dice = random.Random(1)
    commit(made, "a", dice)
    made.close()
    shutil.copy(home / "data.mdb", tmp_path / "old")
    made = Database.open(home)
    commit(made, "a", dice)
    made.close()
    shutil.copy(tmp_path / "old", home / "data.mdb")
    with pytest.raises(CorruptObject, match="rolled back"):
        Database.open(home)
    behind = Database.open(home, check_heads=False)
    with pytest.raises(CorruptObject, match="rolled back"):
        behind.check_heads_log()
    behind.close()
