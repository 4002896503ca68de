"""kill -9 in a reindex: the store is as it was, and the next reindex makes what it should."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import castore
from castore.database.indexes import Index
from tests.database.material import dump, edit

ROUNDS = int(os.environ.get("CASTORE_KILL_ROUNDS", "12"))
WORK = """
import sys
import castore
store = castore.open(sys.argv[1])
print("begin", flush=True)
store.reindex(progress=lambda done: print("blocks", flush=True))
print("end", flush=True)
"""


def test_a_killed_reindex_changes_nothing(tmp_path: Path) -> None:
    dice = random.Random(os.urandom(8))
    with castore.init(tmp_path) as store:
        for number in range(300):
            with store.session("out", agent=f"writer@{number % 3}") as session:
                session.write("a.json", str(number))
                session.commit()
        whole = dump(store.database)
        # Damage that only a reindex mends, and a write in between would not.
        edit(
            store.database,
            "lookup",
            lambda rows: [rows.pop(key) for key in list(rows) if key[0] == Index.AGENT],
        )
        damaged = dump(store.database)
    killed = 0
    typical = 0.3
    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        started = time.monotonic()
        time.sleep(dice.random() * typical)
        process.send_signal(signal.SIGKILL)
        ended = "end" in process.stdout.read()
        process.wait()
        process.stdout.close()
        with castore.open(tmp_path) as store:
            found = dump(store.database)
            assert found in (damaged, whole)
            if found == whole:
                # It may have ended without a chance to say so.
                typical = max(0.02, 0.7 * (time.monotonic() - started))
                edit(store.database, "lookup", lambda rows: rows.clear())
                edit(store.database, "lookup", lambda rows: rows.update(damaged["lookup"]))
            else:
                assert not ended
                killed += 1
    assert killed > ROUNDS // 4, f"only {killed} of {ROUNDS} were cut short"
    with castore.open(tmp_path) as store:
        assert not store.fsck(full=True).ok
        store.reindex()
        assert store.fsck(full=True).ok
        assert dump(store.database) == whole
