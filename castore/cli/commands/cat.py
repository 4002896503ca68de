"""`cas cat`: the verified bytes of one file."""

from __future__ import annotations

import sys

import click

from castore.cli.access import opened
from castore.cli.invocation import Invocation
from castore.cli.verbs import verb
from castore.content.trees import look_up
from castore.errors import InvalidInput, RefNotFound, TypeMismatch
from castore.model.artifact_set import ExternalContent, FileContent
from castore.model.ids import Id
from castore.model.pages import FILE
from castore.store.records import location
from castore.store.selectors import Resolved, resolve
from castore.store.store import Store


@verb(
    "cat",
    examples=[
        ("cas cat report:summary.md", "the newest version's summary"),
        ("cas cat report@v3:pages/index.html > old.html", "a file in a folder artifact"),
    ],
)
@click.argument("selector", metavar="REV:ARTIFACT[/PATH]")
@click.pass_obj
def command(call: Invocation, selector: str) -> None:
    """Write the bytes of one file to stdout, exactly.

    Each part is verified before it is written, and the digest of the whole before the last part
    is: where the bytes are damaged the output ends early, with exit code 7.
    """
    if call.output.json:
        raise InvalidInput(
            "cat writes a file's bytes; they have no JSON form", fix=f"cas show {selector} --json"
        )
    with opened(call) as store:
        digest, size = _file(store, resolve(store, selector))
        target = sys.stdout.buffer
        for piece in store.reader.stream(digest, size):
            target.write(piece)
        target.flush()


def _file(store: Store, found: Resolved) -> tuple[Id, int]:
    """The digest and size of the file that is meant; raises what says why it is none."""
    text, artifact = found.selector.text, found.artifact
    if artifact is None:
        names = [member.name for member in store.set_of(found.version).artifacts]
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InvalidInput(
            f"{text!r} is a version; name one of its artifacts: {shown}",
            fix=f"cas cat {text}:{names[0]}" if names else f"cas ls {text}",
        )
    content = artifact.content
    if isinstance(content, ExternalContent):
        uri = location(found.version.manifest, artifact.name) or "an unknown place"
        raise TypeMismatch(f"{text!r} is external: its bytes are not here but at {uri}")
    if isinstance(content, FileContent):
        if found.path:
            raise RefNotFound(
                f"{text!r}: {artifact.name!r} is a file, not a folder",
                fix=f"cas cat {text.removesuffix('/' + found.path)}",
            )
        return content.digest, content.size
    entry = look_up(store.reader.tree_page, content.id, found.path) if found.path else None
    if found.path and entry is None:
        raise RefNotFound(
            f"artifact {artifact.name!r} of {found.version.label} holds no {found.path!r}",
            fix=f"cas ls {text.removesuffix('/' + found.path)}",
        )
    if entry is None or entry.kind != FILE:
        raise TypeMismatch(f"{text!r} is a folder; name a file in it", fix=f"cas ls {text}")
    return entry.id, entry.size
