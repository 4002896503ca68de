"""Identity: who commits, where neither an option nor a variable says so."""

from __future__ import annotations

import os
from collections.abc import Mapping

_SECONDS = 5


def author(option: str, environ: Mapping[str, str]) -> str:
    """The author: the option, CAS_AUTHOR, the CI's user, git's e-mail, the OS user; "" if unknown.

    Asks git by a subprocess, in the current folder, only when nothing before it answers.
    """
    return (
        option
        or environ.get("CAS_AUTHOR", "")
        or environ.get("GITHUB_ACTOR", "")
        or environ.get("GITLAB_USER_LOGIN", "")
        or git_email()
        or os_user(environ)
    )


def git_email() -> str:
    """The `user.email` that git would use here, or ""."""
    import subprocess

    try:
        asked = subprocess.run(
            ["git", "config", "--get", "user.email"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.decode("utf-8", "replace").strip() if asked.returncode == 0 else ""


def os_user(environ: Mapping[str, str]) -> str:
    """The name of the operating system's user, or "" if it has none."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError):
        return environ.get("USERNAME", "") or environ.get("USER", "")
