"""Between two steps: a store killed while it is made, a log cut off from its commit."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from castore.database.environment import Database
from castore.errors import CorruptObject, StoreNotFound
from tests.database.conftest import Child
from tests.database.material import commit, make_database
from tests.database.scene import ROOT, script

KILL = "os.kill(os.getpid(), 9)"


def killed(code: str, home: Path) -> None:
    """Run code that must end by SIGKILL."""
    command = [*script(code), str(home)]
    done = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, (done.stdout, done.stderr)


@pytest.mark.parametrize("step", ["mkdir", "open", "write_text", "fsync", "rename", "renamed"])
def test_a_store_whose_making_was_killed_is_none_or_whole(home: Path, step: str) -> None:
    killed(
        f"""
    step = {step!r}
    def die(*_, **__): {KILL}
    if step == "renamed":
        rename = os.rename
        def die(*names): rename(*names); {KILL}
    if step in ("mkdir", "write_text"): setattr(Path, step, die)
    elif step == "open":
        import castore.database.environment as room
        room.open_environment = die
    else: setattr(os, "rename" if step == "renamed" else step, die)
    make_database(HOME)
    """,
        home,
    )
    if step == "renamed":
        Database.open(home).close()
        return
    with pytest.raises(StoreNotFound):
        Database.open(home)
    make_database(home).close()
    Database.open(home).close()


@pytest.mark.parametrize("when", ["before", "torn", "after"])
def test_a_commit_cut_off_from_its_line_in_heads_log_is_there(home: Path, when: str) -> None:
    """The commit point is the database: the line may lag behind, be torn, and is caught up with."""
    made = make_database(home)
    first = commit(made, "a", random.Random(1))
    made.close()
    killed(
        f"""
    import castore.database.environment as room
    append = room.append_head
    def die(folder, sequence, hash):
        if {when!r} == "after": append(folder, sequence, hash)
        if {when!r} == "torn":
            with open(folder / "heads.log", "ab") as file: file.write(b"2 0123")
        {KILL}
    room.append_head = die
    commit(Database.open(HOME), "a", random.Random(2))
    """,
        home,
    )
    again = Database.open(home)
    tip = again.read(lambda reading: reading.ref("heads/a"))
    assert tip not in (None, first)
    noted = [sequence for sequence, _ in again.heads_log()]
    assert noted == ([1, 2] if when == "after" else [1])
    again.check_heads_log()
    commit(again, "a", random.Random(3))
    assert [sequence for sequence, _ in again.heads_log()][-1] == 3
    last = again.read(lambda reading: reading.last_operation())
    assert last is not None
    assert again.heads_log()[-1] == (3, last.hash)
    again.close()


def test_the_lines_of_two_writers_cross(home: Path) -> None:
    """The later commit may note itself first: the earlier one then leaves the log as it is."""
    made = make_database(home)
    dice = random.Random(1)
    commit(made, "a", dice)
    noted = made._note_head
    late: list[tuple[int, bytes]] = []
    made._note_head = lambda *line: late.append(line)  # type: ignore[method-assign]
    commit(made, "a", dice)
    made._note_head = noted  # type: ignore[method-assign]
    commit(made, "b", dice)
    for line in late:
        made._note_head(*line)
    assert [sequence for sequence, _ in made.heads_log()] == [1, 3]
    made.check_heads_log()
    made.close()
    Database.open(home).close()


@pytest.mark.parametrize("back", [1, 2, 5])
def test_an_older_data_file_put_back_is_told_by_how_much(home: Path, back: int) -> None:
    made = make_database(home)
    dice = random.Random(1)
    for number in range(8):
        if number == 8 - back:
            made.close()
            shutil.copy(home / "data.mdb", home / "kept")
            made = Database.open(home)
        commit(made, "a", dice)
    made.close()
    (home / "kept").rename(home / "data.mdb")
    with pytest.raises(CorruptObject, match=rf"operation 8, .* ends at {8 - back}: it was rolled"):
        Database.open(home)
    behind = Database.open(home, check_heads=False)
    # Writing on would part the two histories: the lines of the log stay ahead.
    commit(behind, "a", dice)
    with pytest.raises(CorruptObject):
        behind.check_heads_log()
    behind.close()


def test_what_was_read_outlives_its_view_a_bigger_map_and_the_store(
    home: Path, child: Child
) -> None:
    """Only bytes leave the room: none shows other bytes later, or kills who looks at it."""
    make_database(home).close()
    code = """
    database = Database.open(HOME, map_size=1 << 20)
    put(database, *(chunks(os.urandom(20_000)) for _ in range(20)))
    taken = database.read(lambda view: list(view.blocks()))
    rows = database.read(lambda view: list(view.rows("objects")) + list(view.rows("meta")))
    copies = [(number, bytes(bytearray(data))) for number, data in taken]
    assert {type(data) for _, data in taken} | {type(v) for _, v in rows} == {bytes}
    database.write(lambda tables: [tables.drop_block(n) for n in tables.block_numbers()])
    put(database, *(chunks(os.urandom(250_000)) for _ in range(20)))
    database.close()
    print(taken == copies, database._engine._environment is not None)
    """
    assert child(code).startswith("True")


def test_a_write_transaction_of_another_thread_is_refused_and_the_next_writer_goes_on(
    home: Path, child: Child
) -> None:
    make_database(home).close()
    code = """
    database = Database.open(HOME)
    def transact(tables):
        said = []
        def elsewhere():
            try: tables.bump_generation()
            except RuntimeError as error: said.append(str(error))
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return said
    attempt(lambda: "only by the thread" in database.write(transact)[0])
    attempt(lambda: commit(database, "a", random.Random(1)) and "next")
    """
    assert child(code) == "ok True\nok next\n"


def test_long_walks_leave_no_reader_between_their_slices(home: Path, child: Child) -> None:
    """A reader that stays keeps every page that was freed since: the file grows without bound."""
    make_database(home).close()
    code = """
    from castore.database.check import check_structure
    database = Database.open(HOME)
    put(database, *(chunks(os.urandom(250_000)) for _ in range(100)))
    readers = []
    def look(_): readers.append(database._engine.oldest_reader())
    problems = list(check_structure(database, progress=look))
    print(problems, len(readers) > 1, set(readers))
    """
    assert child(code) == "[] True {None}\n"
