"""Every harness, by name: a module of this package with a `HARNESS` in it."""

from __future__ import annotations

from importlib import import_module

from tests.harness.frame import Harness

MODULES = {
    "contents": "tests.harness.contents",
    "crash": "tests.harness.crash",
    "files": "tests.harness.files",
    "flips": "tests.harness.flips",
    "fuzz": "tests.harness.fuzz",
    "images": "tests.harness.images",
    "kill": "tests.harness.kill",
    "matrix": "tests.harness.matrix",
    "powercut": "tests.harness.powercut",
    "protocol": "tests.harness.protocol",
    "racing": "tests.harness.racing",
    "soak": "tests.harness.soak",
    "syscall": "tests.harness.syscall",
}


def load(name: str) -> Harness:
    """The harness of that name; raises KeyError."""
    harness: Harness = import_module(MODULES[name]).HARNESS
    assert harness.name == name
    return harness
