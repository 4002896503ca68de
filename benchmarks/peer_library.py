"""Commits of one edited file through castore's library.

    python -m benchmarks.peer_library WORK SET N

A process as an agent is one: the store opened once. Prints the seconds of each commit, one a line;
the first, which loads modules and is not counted, is not among them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import castore
from benchmarks.peer_corpora import a_small_file, edit


def main() -> None:
    """Edit and commit, N times and once more."""
    work, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = a_small_file(work / name)
    with castore.open(work) as store:
        for turn in range(times + 1):
            edit(path, turn)
            start = time.perf_counter()
            store.commit(name, name=name, cwd=work)
            if turn:
                print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
