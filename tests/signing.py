"""SSH keys made for a test, and the configuration that gives them to people."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def new_key(file: Path, passphrase: str = "") -> Path:
    """A new private key; its public half stands beside it."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-C", "", "-N", passphrase, "-f", str(file)]
    subprocess.run(words, check=True, timeout=60)
    return file


def public(key: Path) -> str:
    """The line of a key as in authorized_keys."""
    return key.with_name(key.name + ".pub").read_text().strip()


def know(config: Path, keys: dict[str, Path], *, signing: Path | None = None) -> None:
    """Configure whose keys these are, and by which one is signed here."""
    lines = []
    for name, key in keys.items():
        lines += [f'[identity."{name}"]', f'keys = ["{public(key)}"]']
    if signing is not None:
        lines += ["[signing]", f'key = "{signing}"']
    config.write_text("\n".join(lines) + "\n")
