"""Which names may be given to branches, tags, runs, remotes, artifacts and files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from castore.errors import CorruptObject, InvalidInput, InvalidName
from castore.model.limits import (
    COMPONENT_BYTES,
    FOLDER_DEPTH,
    NAME_BYTES,
    OPERATION_ID_BYTES,
    PATH_BYTES,
)

_SEGMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HEX: Final = "0123456789abcdefABCDEF"
_LINE: Final = 76
_FORBIDDEN_NAMES: Final = frozenset({".", "..", ".git", ".cas"})
_FORBIDDEN_CHARACTERS: Final = frozenset("/\\:@~")
SECRET_RULES: Final = (
    "age-key", "anthropic-key", "atlassian-token", "aws-access-key", "aws-secret-key",
    "azure-storage-key", "credentials-file", "databricks-token", "digitalocean-token",
    "discord-webhook", "docker-token", "env-file", "github-token", "gitlab-token",
    "google-api-key", "google-oauth-secret", "grafana-token", "groq-key", "huggingface-token",
    "jwt", "langsmith-key", "linear-key", "newrelic-key", "npm-token", "openai-key",
    "perplexity-key", "postman-key", "private-key", "private-key-file", "pulumi-token",
    "pypi-token", "rubygems-key", "sendgrid-key", "shopify-token", "slack-token", "slack-webhook",
    "stripe-key", "stripe-webhook-secret", "supabase-token", "terraform-token", "url-password",
    "vault-token", "xai-key",
)  # fmt: skip
"""The rules for secrets, in order; the configuration names them where none of them is loaded."""


@lru_cache(maxsize=256)
def check_branch(name: str, what: str = "branch") -> str:
    """`name` if it may name a branch, tag or spec; raises InvalidName otherwise."""
    _check_length(name, what)
    if not all(_SEGMENT.match(segment) for segment in name.split("/")):
        raise InvalidName(
            f"{what} {name!r}: use letters, digits, '.', '_', '-' in segments separated by '/', "
            "each beginning with a letter or digit"
        )
    number = name.startswith("v") and name[1:].isdigit()
    if number or (len(name) == 64 and not name.strip(_HEX)):
        near = f"; release-{name} would do" if number else ""
        raise InvalidName(f"{what} {name!r}: reads as a version number or an id{near}")
    return name


def check_segment(name: str, what: str) -> str:
    """`name` if it may name a run or a remote: one segment; raises InvalidName otherwise."""
    _check_length(name, what)
    if not _SEGMENT.match(name):
        raise InvalidName(
            f"{what} {name!r}: use letters, digits, '.', '_', '-', beginning with a letter or digit"
        )
    return name


def check_artifact_name(name: str) -> str:
    """`name` if it may name an artifact: printable NFC text of at most 100 bytes."""
    _check_length(name, "artifact name")
    bad = sorted({c for c in name if c in _FORBIDDEN_CHARACTERS or not c.isprintable()})
    if bad:
        raise InvalidName(f"artifact name {name!r}: may not hold {' '.join(map(repr, bad))}")
    if name.startswith("-"):
        raise InvalidName(f"artifact name {name!r}: may not begin with '-'")
    if name.casefold() in _FORBIDDEN_NAMES:
        raise InvalidName(f"artifact name {name!r}: reserved")
    if not name.isascii() and not _is_nfc(name):
        raise InvalidName(f"artifact name {name!r}: not in Unicode normal form NFC")
    return name


def _is_nfc(name: str) -> bool:
    # Loaded when it is needed: its tables are big, and reading history never needs them.
    import unicodedata

    return unicodedata.is_normalized("NFC", name)


def check_path(path: str, what: str = "path") -> str:
    """`path` if it may be an artifact's place: relative, `/`-separated, without `.` and `..`."""
    if not path or len(path.encode("utf-8", "replace")) > PATH_BYTES:
        raise InvalidName(f"{what} {path[:60]!r}: must have 1 to {PATH_BYTES} bytes")
    if path.startswith("/") or "\\" in path or re.match(r"[A-Za-z]:", path):
        raise InvalidName(f"{what} {path!r}: must be relative, with '/' between folders")
    if path.count("/") >= FOLDER_DEPTH:
        raise InvalidName(f"{what} {path[:60]!r}…: deeper than {FOLDER_DEPTH} folders")
    for component in path.split("/"):
        problem = component_problem(component.encode("utf-8", "surrogatepass"))
        if problem:
            raise InvalidName(f"{what} {path!r}: {problem}")
        if not component.isprintable():
            raise InvalidName(f"{what} {path!r}: holds unprintable characters")
        if component.casefold() in (".git", ".cas"):
            raise InvalidName(f"{what} {path!r}: {component!r} is reserved")
    return path


def component_problem(name: bytes) -> str:
    """Why `name` cannot be one component of a stored path, or "" if it can."""
    if (
        2 < len(name) <= COMPONENT_BYTES
        and name.isascii()
        and b"/" not in name
        and b"\0" not in name
    ):
        return ""
    if not name:
        return "empty component"
    if name in (b".", b".."):
        return f"component {name.decode()!r}"
    if b"/" in name or b"\0" in name:
        return "a component with '/' or NUL"
    if len(name) > COMPONENT_BYTES:
        return f"a component of more than {COMPONENT_BYTES} bytes"
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return f"a component that is not UTF-8: {name!r}"
    return ""


def check_stored_path(path: str, what: str) -> None:
    """Raise CorruptObject for a stored place that is not relative, climbs or is too deep."""
    components = path.encode().split(b"/")
    if len(components) > FOLDER_DEPTH:
        raise CorruptObject(f"{what}: path deeper than {FOLDER_DEPTH}")
    for component in components:
        problem = component_problem(component)
        if problem:
            raise CorruptObject(f"{what}: path: {problem}")


def near_names(name: str, known: Iterable[str]) -> str:
    """A question to end an error with, if something known is spelled nearly so, else "".

    Upper and lower case count as alike.
    """
    import difflib

    spelled: dict[str, list[str]] = {}
    for word in known:
        spelled.setdefault(word.casefold(), []).append(word)
    near = difflib.get_close_matches(name.casefold(), list(spelled), n=3)
    words = [word for found in near for word in dict.fromkeys(spelled[found])][:3]
    return f"; did you mean {' or '.join(words)}?" if words else ""


def quoted(word: str) -> str:
    """A word as a shell takes it."""
    plain = word and all(c.isalnum() or c in "@%+=:,./-_" for c in word)
    return word if plain else "'" + word.replace("'", "'\"'\"'") + "'"


def nested_paths(paths: Iterable[str]) -> tuple[str, str] | None:
    """The first two places of which one equals or contains the other, or None."""
    ordered = sorted(path.split("/") for path in paths)
    for path, following in itertools.pairwise(ordered):
        if following[: len(path)] == path:
            return "/".join(path), "/".join(following)
    return None


def _check_length(name: str, what: str) -> None:
    if not name:
        raise InvalidName(f"{what}: empty")
    if len(name.encode("utf-8", "replace")) > NAME_BYTES:
        raise InvalidName(f"{what} {name[:40]!r}…: more than {NAME_BYTES} bytes")


def check_secret_rules(ids: Collection[str], what: str) -> None:
    """Refuse ids that no rule for secrets has, with near ones; raises InvalidInput."""
    import textwrap

    for id in ids:
        if id not in SECRET_RULES:
            hint = near_names(id, SECRET_RULES)
            known = "\n".join(textwrap.wrap(", ".join(SECRET_RULES), _LINE))
            raise InvalidInput(
                f"{what} {id!r}: there is no such rule" + (hint or f"; these are:\n{known}")
            )


def check_operation(id: str) -> str:
    """An operation id, given back; raises InvalidInput unless short, printable text or empty."""
    if len(id.encode("utf-8", "replace")) > OPERATION_ID_BYTES:
        raise InvalidInput(f"operation id {id[:40]!r}…: more than {OPERATION_ID_BYTES} bytes")
    if not id.isprintable():
        raise InvalidInput(f"operation id {id!r}: use printable characters")
    return id
