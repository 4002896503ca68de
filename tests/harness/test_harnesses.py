"""Each fault harness finds nothing in castore, and finds each fault that is planted into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HARNESS_RESULT
from tests.harness.frame import Result
from tests.harness.registry import MODULES, load

ROOT = Path(__file__).parents[2]
# A change is judged by the same rounds each time; the long form goes on to others.
SEED = "1"
# What all of them may take without their mutants, and what one of them may to notice one.
SECONDS = 100.0
PATIENCE = 60.0


def run(request: pytest.FixtureRequest, name: str, *options: str) -> Result:
    """Run a harness in a process of its own, which has loaded castore and opened nothing."""
    command = [sys.executable, "-m", "tests.harness", name, "--seed", SEED, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout, f"{' '.join(command)}\n{done.stderr[-4000:]}"
    said = done.stdout.splitlines()[-1]
    request.node.user_properties.append((HARNESS_RESULT, said))
    result = Result.from_json(said)
    if result.skipped:
        pytest.skip(result.skipped)
    return result


def told(result: Result) -> str:
    """Each loss and the command that repeats it."""
    return "\n".join(f"{loss.what}\n{result.command(loss.round)}" for loss in result.losses)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_is_lost(request: pytest.FixtureRequest, name: str) -> None:
    result = run(request, name)
    assert not result.losses, told(result)
    assert result.cases > 0


@pytest.mark.parametrize(
    ("name", "mutant"),
    [(name, mutant) for name in sorted(MODULES) for mutant in load(name).mutants],
)
def test_the_mutant_is_caught(request: pytest.FixtureRequest, name: str, mutant: str) -> None:
    result = run(request, name, "--mutant", mutant, "--budget", str(PATIENCE))
    assert result.caught, f"{load(name).mutants[mutant]}: not noticed in {result.cases} cases"
    assert not any(loss.broken for loss in result.losses), told(result)


def test_every_harness_has_a_mutant_and_all_fit_their_time() -> None:
    harnesses = [load(name) for name in MODULES]
    assert all(harness.mutants and harness.shows for harness in harnesses)
    assert sum(harness.share for harness in harnesses) < SECONDS
