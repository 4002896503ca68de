"""What an attempt at a set says of itself, so that going on with it need not say it again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from castore.errors import InvalidInput
from castore.model.fields import MetaValue
from castore.model.ids import Id
from castore.model.limits import ID_BYTES
from castore.model.manifest import PARTIAL, Manifest, Source, SpecPin, encode_manifest
from castore.model.names import check_operation, near_names, quoted
from castore.store.context import Context
from castore.store.intent import Intent

_NO_SET: Final = Id(bytes(ID_BYTES))


def said(intent: Intent, message: str) -> tuple[Context, str, dict[str, MetaValue]]:
    """Who makes it, the message and the meta: as given now, else as an earlier attempt had them."""
    context = intent.context
    message = message or intent.message
    before = intent.resumed.said if intent.resumed else None
    if before is None:
        return context, message, dict(intent.meta)
    again = replace(
        context,
        agent=context.agent if context.agent.id else before.agent,
        trace=context.trace or before.trace,
        workspace=context.workspace or before.workspace,
    )
    return again, message or before.message, {**before.meta, **intent.meta}


def said_sources(
    intent: Intent, given: Sequence[Source], names: Collection[str] | None = None
) -> tuple[Source, ...]:
    """The sources given, after those of an earlier attempt that were not given again.

    Of the earlier ones those of artifacts beyond `names` are left out.
    """
    earlier = [
        source
        for source in (intent.resumed.sources if intent.resumed else ())
        if names is None or not source.artifact or source.artifact in names
    ]
    return _joined(earlier, given)


def check_bound(sources: Iterable[Source], names: Collection[str]) -> None:
    """Refuse sources of artifacts beyond `names`; raises InvalidInput with near matches."""
    for source in sources:
        if source.artifact and source.artifact not in names:
            near = near_names(source.artifact, names)
            raise InvalidInput(
                f"source {source.artifact}={source.selector}: the set has no artifact "
                f"{source.artifact!r}{near}",
                fix=f"--source {quoted(source.selector)} for the whole set",
            )


def later(earlier: Manifest | None, newer: Manifest) -> Manifest:
    """What two attempts said of themselves: the newer one, for what it left open the earlier."""
    if earlier is None:
        return newer
    return replace(
        newer,
        agent=newer.agent if newer.agent.id else earlier.agent,
        trace=newer.trace or earlier.trace,
        workspace=newer.workspace or earlier.workspace,
        message=newer.message or earlier.message,
        meta={**earlier.meta, **newer.meta},
        sources=_joined(earlier.sources, newer.sources),
    )


def _joined(earlier: Sequence[Source], newer: Sequence[Source]) -> tuple[Source, ...]:
    """The newer sources, after the earlier ones that are not among them."""
    again = {(source.artifact, source.selector) for source in newer}
    kept = [source for source in earlier if (source.artifact, source.selector) not in again]
    return (*kept, *newer)


def encode_said(intent: Intent, sources: Sequence[Source], at: int, message: str = "") -> bytes:
    """What an unfinished attempt says of itself, as an incomplete manifest of no set.

    Raises InvalidInput for what no manifest could say, such as a message that is too long.
    """
    context, message, meta = said(intent, message)
    check_operation(context.operation)
    return encode_manifest(
        Manifest(
            set=_NO_SET,
            spec=SpecPin(id=intent.branch),
            branch=intent.branch,
            at=at,
            state=PARTIAL,
            agent=context.agent,
            author=context.author,
            run=context.run,
            trace=context.trace,
            workspace=context.workspace,
            operation=context.operation,
            folder=intent.folder,
            message=message,
            sources=said_sources(intent, sources),
            meta=meta,
        )
    )
