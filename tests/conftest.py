"""Settings of every test run: Hypothesis profiles, and a seed that changes with every run.

The seed is printed in the header; `pytest --hypothesis-seed=N` repeats a run.
`pytest --hypothesis-profile=long` is the long form, run by hand. At the end stands what the fault
harnesses of `tests/harness` found.
"""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import report
from tests.harness.frame import Result

TESTS = Path(__file__).parent
# What a test of a harness found, as text: the results of tests reach this from other processes.
HARNESS_RESULT = "harness result"

_COMMON = {
    "deadline": None,
    "print_blob": True,
    "derandomize": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("local", max_examples=100, **_COMMON)
settings.register_profile("ci", max_examples=200, database=None, **_COMMON)
settings.register_profile("long", max_examples=20_000, **_COMMON)
settings.load_profile("local")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose this run's seed before Hypothesis reads the option; let interrupts come.

    A shell has what it starts in the background ignore them, and all that this starts in turn.
    Castore is started thousands of times: it is compiled once, whatever the environment says.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(secrets.randbits(32))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long form of tests unless `-m` asks for it; what tests the whole goes first.

    It takes longest: no processor is to wait for it at the end.
    """
    items.sort(key=lambda item: item.path.parent != TESTS)
    if config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_report_header(config: pytest.Config) -> str:
    """How to repeat this run."""
    return f"repeat with: --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What each fault harness ran, lost and noticed."""
    results = [
        Result.from_json(text)
        for reports in terminalreporter.stats.values()
        for one in reports
        if isinstance(one, pytest.TestReport) and one.when == "call"
        for key, text in one.user_properties
        if key == HARNESS_RESULT
    ]
    results.sort(key=lambda result: (result.name, result.mutant))
    if results:
        terminalreporter.section("fault harnesses")
        for line in report.table(results):
            terminalreporter.line(line)
