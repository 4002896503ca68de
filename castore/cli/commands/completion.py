"""`cas completion`: the script that completes `cas` in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from castore.cli.invocation import Invocation
from castore.cli.verbs import verb
from castore.errors import InvalidInput

SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    examples=[
        ('eval "$(cas completion bash)"', "in ~/.bashrc; zsh likewise in ~/.zshrc"),
        ("cas completion fish > ~/.config/fish/completions/cas.fish", "for fish"),
    ],
)
@click.argument("shell", required=False, type=click.Choice(SHELLS), metavar="bash|zsh|fish")
@click.pass_obj
def command(call: Invocation, shell: str | None) -> None:
    """Print the completion script for a shell."""
    if shell is None:
        raise InvalidInput(f"for which shell? {', '.join(SHELLS)}", fix="cas completion bash")
    kind = get_completion_class(shell)
    assert kind is not None
    # click's `source()` runs bash to look at its version; the template alone needs no process.
    completion = kind(click.Group("cas"), {}, "cas", "_CAS_COMPLETE")
    script = completion.source_template % completion.source_vars()
    if call.output.json:
        call.output.record({"shell": shell, "script": script})
    else:
        call.output.line(script)
