"""An intent: what a session is for, and what it goes on from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from castore.model.artifact_set import Artifact
from castore.model.fields import MetaValue
from castore.model.ids import Id
from castore.model.manifest import Manifest, Source
from castore.model.names import quoted
from castore.store.context import Context
from castore.store.specs import SpecFile

UNKNOWN_RUN = "unknown"
RAN = "run.command"
OUTPUT = "run.output"
EXIT = "run.exit"
CUT = " …"


class AnyTip(Enum):
    """The default of `commit(expect=)`: whatever the tip is in the publishing transaction."""

    TIP = "tip"


@dataclass(frozen=True, slots=True)
class Resumed:
    """What an earlier attempt of a run left: good artifacts, and what success has to take away.

    `ref` is the partial ref and its value, None when only stages of killed commits were found;
    `sessions` are those stages; `locations` are the URIs and tags of external artifacts; `said` are
    the newest attempt's own words (a sealed manifest, or those of a stage), whose agent, trace,
    workspace, message and meta hold unless given anew; `parents` are those of the sealed one.
    """

    artifacts: Mapping[str, Artifact]
    titles: Mapping[str, str]
    locations: Mapping[str, tuple[str, str]]
    sources: tuple[Source, ...]
    ref: tuple[str, Id] | None
    sessions: tuple[bytes, ...]
    said: Manifest | None = None
    parents: tuple[Id, ...] | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """What a session is for: where it commits, under which spec, on whose behalf.

    `only` are the artifacts to make while the rest is carried from the parent (empty: all are
    made); `folder`, `arguments` (PATHs) and `spec_given`, both as typed, are what `status` and
    `partial list` show. `message` is what a commit without one of its own says. `allow_secrets` are
    rules by which secrets may be found and are let through.
    """

    branch: str
    spec: SpecFile | None = None
    context: Context = Context()
    sources: tuple[str | Source, ...] = ()
    meta: Mapping[str, MetaValue] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    folder: str = ""
    arguments: tuple[str, ...] = ()
    resumed: Resumed | None = None
    spec_given: str = ""
    message: str = ""
    allow_secrets: tuple[str, ...] = ()


def kept_notices(intent: Intent, made: Collection[str], parents: tuple[Id, ...]) -> list[str]:
    """What people must know about artifacts that an earlier attempt of the run left.

    They are kept as stored, whatever lies on disk and whatever was committed since.
    """
    resumed = intent.resumed
    kept = sorted(set(resumed.artifacts) - set(made)) if resumed else []
    if not resumed or not kept:
        return []
    run = intent.context.run
    notices = [f"kept from run {run} as stored: {', '.join(kept)}"]
    if resumed.parents is not None and resumed.parents != parents:
        notices.append(
            f"{intent.branch} moved since run {run} was refused: what is kept is older than "
            "the version before; compare with cas diff"
        )
    return notices


def resume_command(intent: Intent, run: str) -> str:
    """The command that goes on with an incomplete set of this intent."""
    words = ["cas commit", *(quoted(argument) for argument in intent.arguments)]
    if intent.spec:
        words.append(f"--spec {quoted(intent.spec_given or intent.spec.path.name)}")
    if not intent.spec or intent.spec.spec.id != intent.branch:
        words.append(f"--name {intent.branch}")
    words += [f"--only {quoted(name)}" for name in intent.only]
    return " ".join([*words, f"--resume {run}"])


def ran_command(meta: Mapping[str, MetaValue]) -> str:
    """The command of a run, as a shell takes it whatever the meta says; "" if it is not whole."""
    text = meta.get(RAN)
    if not isinstance(text, str) or text.endswith(CUT) or not text.isprintable():
        return ""
    import shlex

    try:
        return shlex.join(shlex.split(text))
    except ValueError:
        return ""
