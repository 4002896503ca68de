"""How a run of `cas` begins and ends: modules that wait until they are used, an end without ado."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.cli.quick import DEFERRED, Later
from tests.cli.conftest import Cas

RUN = "import sys; from castore.cli.main import main; sys.exit(main())"


def python(code: str, *arguments: str, code_expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Python that ran this code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code_expected, done.stderr
    return done


@pytest.mark.parametrize("name", DEFERRED)
def test_a_module_that_waits_is_loaded_when_it_is_used(name: str) -> None:
    code = (
        f"import sys, castore.cli, {name}\n"
        f"assert type({name}).__name__ == 'Later'\n"
        f"assert {name}.__dict__.get('__file__') is None\n"
        f"word = {'getsource' if name == 'inspect' else 'ip_address'!r}\n"
        f"used = getattr({name}, word)\n"
        f"assert used is getattr(sys.modules[{name!r}], word)\n"
        f"assert sys.modules[{name!r}].__file__\n"
        f"from {name} import *\n"
        f"assert not hasattr({name}, 'nothing_of_the_kind')\n"
    )
    python(code)


def test_a_module_that_is_loaded_is_left_alone() -> None:
    python("import inspect, castore.cli, sys; assert sys.modules['inspect'].__file__")


def test_many_threads_load_it_once() -> None:
    code = (
        "import sys, threading, castore.cli, inspect\n"
        "found, start = [], threading.Barrier(8)\n"
        "def use():\n"
        "    start.wait()\n"
        "    found.append(inspect.signature)\n"
        "threads = [threading.Thread(target=use) for _ in range(8)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "assert len(found) == 8 and len(set(found)) == 1, found\n"
    )
    python(code)


@given(st.text(alphabet=" \tab\n", max_size=30))
def test_help_texts_are_cleaned_as_inspect_does_it(text: str) -> None:
    assert Later("inspect").cleandoc(text) == inspect.cleandoc(text)


def test_the_exit_code_and_all_output_arrive(two: Path) -> None:
    shown = python(RUN, "log", "--json").stdout
    assert shown.count("\n") == 2
    assert python(RUN, "show", "nope", code_expected=3).stdout == ""
    assert python(RUN, "nope", code_expected=2).stderr


def test_what_was_registered_for_the_end_still_runs(cas: Cas) -> None:
    cas("init")
    code = "import atexit; atexit.register(lambda: print('at the end'))\n" + RUN
    assert python(code, "log").stdout == "at the end\n"


def test_a_thread_may_finish_what_it_does(cas: Cas) -> None:
    cas("init")
    work = "import threading, time\ndef work():\n    time.sleep(0.3)\n    print('done')\n"
    code = work + "threading.Thread(target=work).start()\n" + RUN
    assert python(code, "log").stdout == "done\n"


def test_a_daemon_is_not_waited_for_nor_taken_apart(cas: Cas) -> None:
    cas("init")
    code = (
        "import threading\n"
        "class Told:\n"
        "    def __del__(self): print('taken apart')\n"
        "told = Told()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    assert python(code).stdout == "taken apart\n"
    assert python(code + RUN, "log").stdout == ""


def test_a_profiler_gets_its_say(cas: Cas) -> None:
    cas("init")
    code = "import sys\nsys.setprofile(lambda *_: None)\n" + RUN + "\n"
    code = code.replace("sys.exit(main())", "code = main(); sys.setprofile(None); print(code)")
    assert python(code, "log").stdout == "0\n"


def test_starting_leaves_the_collector_at_work() -> None:
    assert gc.isenabled()
    code = "import castore.cli, gc; assert gc.isenabled(); print(gc.get_threshold()[0])"
    assert 1_000 < int(python(code).stdout) <= 100_000
