"""Every command of `cas` with arguments that do something in the small store, run in a child."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from castore.cli.main import run
from castore.cli.program import COMMANDS
from tests.harness.children import Ended, forked

LINES: Final = (
    "init",
    "spec check weekly.spec.yaml",
    "spec schema",
    "spec init summary.md -o -",
    "commit -m more more",
    "commit -n more",
    "commit --spec weekly.spec.yaml --operation-id op-9",
    "run --name made -- sh -c true",
    "status weekly",
    "partial list",
    "partial show run-5",
    "partial discard run-5",
    "log",
    "log out --graph",
    "show out",
    "show weekly@v1:rows",
    "ls out -R",
    "tree out",
    "cat out:own.bin",
    "cat out@v1:big.txt",
    "diff out@v1 out@v2",
    "diff out --stat",
    "find own*",
    "lineage weekly@v1",
    "impact out@v1",
    "audit --agent writer",
    "blame weekly:rows",
    "stale",
    "stats",
    "stats out",
    "request-review out",
    "approve weekly",
    "reject weekly",
    "revoke weekly@v1",
    "dismiss {note}",
    "comment out -m text",
    "mark weekly published",
    "deploy weekly --to staging",
    "deploy",
    "review",
    "sign weekly",
    "verify-signatures",
    "gate weekly@v1",
    "branch",
    "branch other out",
    "tag",
    "tag second out",
    "pin",
    "pin out",
    "unpin out@v1",
    "why out",
    "forget out@v2 -y",
    "forget --keep-last 1 --name out -n",
    "gc --grace 0",
    "gc -n",
    "repack",
    "sql 'select count(*) from versions'",
    "export catalogue",
    "export intoto weekly",
    "export openlineage weekly",
    "export ro-crate weekly -o crate",
    "purge out@v3:own.bin --reason test -y",
    "checkout out -o there",
    "fsck",
    "fsck --full",
    "fsck --full out",
    "reindex",
    "backup copy",
    "op log",
    "op undo -n",
    "op undo",
    "completion bash",
)
"""At least one line for each command."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it wrote."""

    code: int
    out: bytes
    err: str


def load_commands() -> None:
    """Import every command, so that forked processes have them."""
    for entry in COMMANDS.values():
        importlib.import_module(entry.module)
    for name in ("platformdirs", "castore.store.runs"):
        importlib.import_module(name)


def run_line(
    arguments: list[str], folder: Path, limit: float, before: Callable[[], None] | None = None
) -> Ended:
    """Run a command in `folder`, in a forked process; its value is what it Said.

    `before` is done in that process first, in the folder.
    """
    out, err = folder.parent / "said.out", folder.parent / "said.err"

    def child() -> int:
        os.chdir(folder)
        for path, number in ((out, 1), (err, 2)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name in list(os.environ):
            if name.startswith("CAS_"):
                del os.environ[name]
        os.environ["CAS_AUTHOR"] = "ann@example.org"
        os.environ["HOME"] = os.environ["XDG_CONFIG_HOME"] = str(folder)
        if before is not None:
            before()
        return run(arguments)

    ended = forked(child, limit)
    if ended.error:
        text = f"{ended.text} {err.read_text('utf-8', 'replace') if err.exists() else ''}"
        return Ended(error=ended.error, text=text, promised=True)
    return Ended(Said(ended.value, out.read_bytes(), err.read_text("utf-8", "replace")))
