"""The documents say what is so: every command and option, and every example line, which is run.

Convention: in a fenced block marked `console`, a line that begins with `$ ` is a command for bash.
The commands of one document run in order in one empty folder, each in a shell of its own. A comment
`# exit N` at its end says with which code it ends, else 0. Other lines are output, not compared.
A block marked `python` is run in its turn, as a program; one marked `yaml` or `python` that begins
with a comment `# NAME` is saved there as the file NAME.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from castore.cli.options import GLOBAL_OPTIONS
from castore.cli.program import COMMANDS
from castore.cli.verbs import Family

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "docs/cli.md", "docs/tutorial.md", "docs/library.md", "docs/spec.md")
_BLOCK = re.compile(r"^```(console|python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w.-]+\.(?:yaml|py))\n")
_EXIT = re.compile(r"#.*\bexit (\d+)\s*$")


def commands() -> dict[str, click.Command]:
    """Every command by its words: `cas log`, `cas op log` …"""
    found: dict[str, click.Command] = {}
    for name, entry in COMMANDS.items():
        command = importlib.import_module(entry.module).command
        found[f"cas {name}"] = command
        if isinstance(command, Family):
            found |= {f"cas {name} {below}": each for below, each in command.commands.items()}
    return found


def sections() -> dict[str, str]:
    """The text of each section of docs/cli.md about a command, by its heading."""
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    pieces = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)[1:]
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    return {heading: body for heading, body in pairs if heading.startswith("cas ")}


def documented(text: str) -> set[str]:
    """The options that the list in a section names."""
    names: set[str] = set()
    for match in re.finditer(r"^- `(-[^`]*)`:", text, re.MULTILINE):
        names |= {word.split()[0] for word in match[1].split(", ")}
    return names


def test_every_command_is_documented_and_no_other() -> None:
    assert set(sections()) == set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_is_documented_and_no_other(name: str) -> None:
    taken = {
        option
        for parameter in commands()[name].params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
    }
    assert documented(sections()[name]) == taken


def test_the_global_options_are_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("## Options of every command")
    taken = {word.split()[0] for names, _ in GLOBAL_OPTIONS for word in names.split(", ")}
    assert documented(rest.partition("\n## ")[0]) == taken


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_an_example(name: str) -> None:
    if isinstance(commands()[name], Family):
        return
    lines = [line for line, _ in examples((ROOT / "docs/cli.md").read_text(encoding="utf-8"))]
    assert any(re.search(rf"\b{name}\b", line) for line in lines)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_runs(document: str, tmp_path: Path) -> None:
    path = ROOT / document
    shims, home = tmp_path / "bin", tmp_path / "home"
    for folder in (shims, home, tmp_path / "work"):
        folder.mkdir()
    _install(shims)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CAS_", "GITHUB_", "GITLAB_", "CI_", "GIT_"))
    }
    environment = {
        **inherited,
        "PATH": f"{shims}{os.pathsep}{inherited.get('PATH', '')}",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "CAS_AUTHOR": "alice@example.org",
    }
    for line, expected in examples(path.read_text(encoding="utf-8")):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        told = f"{document}: $ {line}\n{done.stdout.decode()}{done.stderr.decode()}"
        assert done.returncode == expected, told
        assert b"Traceback" not in done.stderr, told


def examples(text: str) -> Iterator[tuple[str, int]]:
    """The command lines of a document, and the exit code that each says it ends with."""
    for kind, block in _BLOCK.findall(text):
        if kind == "console":
            yield from _typed(block)
        elif name := _FILE.match(block):
            yield f"cat > {name[1]} <<'END'\n{block}END", 0
        elif kind == "python":
            yield f"python - <<'END'\n{block}END", 0


def _typed(block: str) -> Iterator[tuple[str, int]]:
    for line in block.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            code = _EXIT.search(line)
            yield line.removeprefix("$ "), int(code[1]) if code else 0


def _install(folder: Path) -> None:
    """`cas` and `python` as this test's interpreter has them."""
    run = "import sys; from castore.cli.main import main; sys.exit(main())"
    for name, words in (("cas", f"-c '{run}'"), ("python", ""), ("python3", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        script.chmod(0o755)


def test_examples_are_read_as_the_convention_says() -> None:
    text = "```console\n$ a b   # exit 5\nout\n$ c \\\n  d # five\n```\n```\n$ no\n```\n"
    assert list(examples(text)) == [("a b   # exit 5", 5), ("c   d # five", 0)]
    text = "```python\n# p.py\nprint(2)\n```\n"
    assert list(examples(text)) == [("cat > p.py <<'END'\n# p.py\nprint(2)\nEND", 0)]
    text = "```python\nprint(1)\n```\n```yaml\n# s.yaml\na: 1\n```\n```yaml\nb: 2\n```\n"
    assert list(examples(text)) == [
        ("python - <<'END'\nprint(1)\nEND", 0),
        ("cat > s.yaml <<'END'\n# s.yaml\na: 1\nEND", 0),
    ]


def test_a_line_that_fails_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text("```console\n$ cas init\n$ cas show nope\n```\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "castore").symlink_to(Path(__file__).parent.parent / "castore")
    with pytest.raises(AssertionError, match="show nope"):
        test_every_example_runs("README.md", tmp_path)
