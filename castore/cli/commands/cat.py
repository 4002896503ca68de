"""`cas cat`: the verified bytes of one file."""

from __future__ import annotations

import sys

import click

from castore.cli.access import opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.verbs import verb
from castore.errors import InvalidInput, RefNotFound, TypeMismatch
from castore.model.artifact_set import ExternalContent, FileContent
from castore.store.listing import find_file
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
@click.argument("selector", metavar="REV:ARTIFACT[/PATH]", shell_complete=revisions)
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
        file = _file(store, resolve(store, selector))
        target = sys.stdout.buffer
        for piece in store.reader.stream(file.digest, file.size):
            target.write(piece)
        target.flush()


def _file(store: Store, found: Resolved) -> FileContent:
    """The file that is meant; raises what says why it is none."""
    text, artifact = found.selector.text, found.artifact
    if artifact is None:
        names = [member.name for member in store.set_of(found.version).artifacts]
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InvalidInput(
            f"{text!r} is a version; name one of its artifacts: {shown}",
            fix=f"cas cat {text}:{names[0]}" if names else f"cas ls {text}",
        )
    if isinstance(artifact.content, ExternalContent):
        uri = location(found.version.manifest, artifact.name) or "an unknown place"
        raise TypeMismatch(f"{text!r} is external: its bytes are not here but at {uri}")
    try:
        return find_file(store, artifact, found.path)
    except RefNotFound as error:
        error.fix = f"cas ls -R {text.removesuffix(f'/{found.path}')}"
        raise
