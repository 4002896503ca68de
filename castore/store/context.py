"""Context: who acts, in which run and trace, as the surroundings claim."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from castore.errors import InvalidInput
from castore.model.manifest import Agent
from castore.model.names import check_segment, quoted
from castore.model.values import frozen

_TRACEPARENT: Final = r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}"


@frozen
class Context:
    """What a session knows about its surroundings; "" is unknown. All of it is claimed."""

    author: str = ""
    agent: Agent = Agent()
    run: str = ""
    trace: str = ""
    workspace: str = ""
    operation: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Context:
        """The context that environment variables tell of, such as `os.environ`.

        Reads CAS_AUTHOR, CAS_AGENT, CAS_RUN, CAS_TRACE, CAS_WORKSPACE, CAS_OPERATION_ID,
        TRACEPARENT and what GitHub and GitLab set; a run that none tells of is named by the
        session. Raises InvalidName for a run that cannot be one, InvalidInput.
        """
        author = (
            environ.get("CAS_AUTHOR")
            or environ.get("GITHUB_ACTOR")
            or environ.get("GITLAB_USER_LOGIN")
            or ""
        )
        trace = environ.get("CAS_TRACE", "")
        if not trace:
            parent = re.fullmatch(_TRACEPARENT, environ.get("TRACEPARENT", "").strip())
            trace = parent[1] if parent else ""
        return cls(
            author=author,
            agent=parse_agent(environ.get("CAS_AGENT", "")),
            run=_run(environ),
            trace=trace,
            workspace=environ.get("CAS_WORKSPACE", ""),
            operation=environ.get("CAS_OPERATION_ID", ""),
        )


def parse_agent(text: str) -> Agent:
    """The agent written as `name` or `name@version`, neither empty; raises InvalidInput."""
    if not text:
        return Agent()
    name, sign, version = text.partition("@")
    if not name or "@" in version or (sign and not version):
        near = "@".join([part for part in text.split("@") if part][:2])
        raise InvalidInput(
            f"agent {text!r}: write NAME or NAME@VERSION, with one @ at the most",
            fix=f"--agent {quoted(near or 'NAME@VERSION')}, or CAS_AGENT",
        )
    return Agent(name, version)


def default_run(now: int, entropy: Callable[[int], bytes]) -> str:
    """A run name that no other run has: `<utc>-<6 hex>`."""
    stamp = datetime.fromtimestamp(now / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{entropy(3).hex()}"


def _run(environ: Mapping[str, str]) -> str:
    if environ.get("CAS_RUN"):
        return check_segment(environ["CAS_RUN"], "run (CAS_RUN)")
    if environ.get("GITHUB_RUN_ID"):
        return f"{environ['GITHUB_RUN_ID']}.{environ.get('GITHUB_RUN_ATTEMPT', '1')}"
    return environ.get("CI_JOB_ID", "")
