"""`cas completion`: the script that completes `cas` in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from castore.cli.invocation import Invocation
from castore.cli.verbs import verb
from castore.errors import InvalidInput

SHELLS = ("bash", "zsh", "fish")

# bash splits the line at colons: what stands together is put together, and only what follows the
# last colon goes back to it. A name ends with a blank, a folder does not; both are quoted.
_BASH = """\
_cas_completion() {
    local IFS=$'\\n' rest=$COMP_LINE words=() word response completion type value before
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 0 && -n $rest && $rest != [[:space:]]* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        rest=${rest#*"$word"}
    done
    word=${words[-1]} before=
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then before=${word%"${word##*:}"}; fi
    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        _CAS_COMPLETE=bash_complete $1)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == dir ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == file ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == plain ]]; then
            value=${value#"$before"}
            if [[ $value == */ ]]; then compopt -o nospace; fi
            COMPREPLY+=("$(printf %q "$value")")
        fi
    done
    return 0
}

complete -o nosort -F _cas_completion cas
"""


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
    if shell == "bash":
        script = _BASH
    if call.output.json:
        call.output.record({"shell": shell, "script": script})
    else:
        call.output.line(script)
