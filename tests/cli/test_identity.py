"""Who commits: option, variables, git, the OS user, in this order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from castore.cli.identity import author, git_email, os_user

LAYERS = [
    ("CAS_AUTHOR", "cas@example.org"),
    ("GITHUB_ACTOR", "octo"),
    ("GITLAB_USER_LOGIN", "lab"),
]


def test_the_option_wins() -> None:
    assert author("me", dict(LAYERS)) == "me"


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_variables_in_order(first: int) -> None:
    assert author("", dict(LAYERS[first:])) == LAYERS[first][1]


def test_git_then_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert author("", {}) == os_user({}) != ""
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", "config", "user.email", "git@example.org"], check=True)
    assert git_email() == "git@example.org"
    assert author("", {}) == "git@example.org"


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_email() == ""


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_294_967)
    assert os_user({"USER": "someone"}) == "someone"
    assert os_user({}) == ""
