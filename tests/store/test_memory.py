"""Long work gives back the memory that it freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from castore.store.memory import giving_back

# Every other piece is freed: glibc alone keeps them all, for the pieces above them.
PROGRAM = """
from castore.store.memory import giving_back

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) >> 10

pieces = [bytearray(b"x" * 65_000) for _ in range(1500)]
del pieces[::2], pieces[:-1]
before = anonymous()
giving_back(lambda: None)()
print(before - anonymous())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_was_freed_goes_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 50


def test_work_is_what_it_was() -> None:
    @giving_back
    def work(first: int, *, second: str = "b") -> str:
        """Do it."""
        if first < 0:
            raise ValueError(first)
        return f"{first}{second}"

    assert work(1, second="c") == "1c"
    assert (work.__name__, work.__doc__) == ("work", "Do it.")
    with pytest.raises(ValueError, match="-1"):
        work(-1)
