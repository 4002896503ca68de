"""What a version keeps of the run that made it, in its meta: command, end, output, surroundings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from castore.model.encoding import encode
from castore.model.fields import MetaValue
from castore.model.limits import META_BYTES
from castore.store.intent import CUT, EXIT, OUTPUT, RAN
from castore.store.processes import Ended
from castore.store.secrets_found import masked

ENVIRONMENT: Final = (
    "CI", "CI_COMMIT_SHA", "CI_PIPELINE_ID", "CI_PROJECT_PATH", "CONDA_DEFAULT_ENV",
    "CUDA_VISIBLE_DEVICES", "GITHUB_REF", "GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_WORKFLOW",
    "LANG", "LC_ALL", "OMP_NUM_THREADS", "PYTHONHASHSEED", "SOURCE_DATE_EPOCH", "TZ", "VIRTUAL_ENV",
)  # fmt: skip
"""The only variables whose values are kept: what changes a result, and where it ran. No secrets."""
_VALUE: Final = 200
_COMMAND: Final = 4 << 10
_GIT_SECONDS: Final = 10
_SHA: Final = 40


def run_meta(
    command: Sequence[str], env: Mapping[str, str], ended: Ended, git: Mapping[str, MetaValue]
) -> dict[str, MetaValue]:
    """The facts of a run under their keys in meta; of a resumed run they replace older ones."""
    kept = [f"{name}={_cut(env[name], _VALUE)}" for name in ENVIRONMENT if env.get(name)]
    return {
        RAN: masked(_cut(shlex.join(command), _COMMAND)),
        EXIT: ended.code,
        "run.milliseconds": round(1000 * ended.seconds),
        OUTPUT: masked(as_text(ended.tail)),
        "run.environment": shlex.join(kept),
        **git,
    }


def fitted(run: Mapping[str, MetaValue], others: Mapping[str, MetaValue]) -> dict[str, MetaValue]:
    """The facts of a run as far as they fit beside other meta; the output gives way first."""
    facts = dict(run)
    over = _size({**facts, **others}) - META_BYTES
    output = facts.get(OUTPUT, "")
    if over > 0 and isinstance(output, (str, bytes)):
        data = output.encode() if isinstance(output, str) else output
        facts[OUTPUT] = as_text(data[over:])
    for key in (OUTPUT, "run.environment", RAN, *facts):
        if _size({**facts, **others}) > META_BYTES:
            facts.pop(key, None)
    return facts


def as_text(data: bytes) -> str | bytes:
    """Output as text, less what is left of a character cut in two; bytes where it is no text."""
    for skip in range(4):
        if skip < len(data) and (skip == 0 or all(0x80 <= b < 0xC0 for b in data[:skip])):
            try:
                return data[skip:].decode("utf-8")
            except UnicodeDecodeError:
                continue
    return data if data else ""


def git_facts(env: Mapping[str, str]) -> dict[str, MetaValue]:
    """The commit that is checked out here, and whether tracked files differ from it.

    `git.commit` and `git.dirty`, the first as the CI says where git does not; else nothing.
    """
    # Loaded where git is asked: it takes longer than opening a store.
    import subprocess

    status = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        # No program that the repository's own configuration names is run, nothing is written.
        asked = subprocess.run(
            ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *status],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_SECONDS, check=False,
            env=dict(env),
        )  # fmt: skip
        lines = asked.stdout.decode("utf-8", "replace").splitlines()
    except (OSError, subprocess.TimeoutExpired, ValueError):
        lines = []
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    if len(commit) >= _SHA and not commit.strip("0123456789abcdef"):
        return {"git.commit": commit, "git.dirty": any(line[:1] != "#" for line in lines)}
    told = env.get("GITHUB_SHA") or env.get("CI_COMMIT_SHA") or ""
    return {"git.commit": told[:_VALUE]} if told else {}


def _cut(text: str, limit: int) -> str:
    """Text of at most `limit` bytes, marked where it was cut; never half a character."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def _size(meta: Mapping[str, MetaValue]) -> int:
    return len(encode(meta))
