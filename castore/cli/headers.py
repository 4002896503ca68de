"""The head of a spec, its id and its store, read at a glance: commands that only need these two
must not wait for a YAML parser."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from castore.errors import InvalidInput
from castore.model.limits import SPEC_BYTES
from castore.model.names import near_names, quoted

SUFFIXES: Final = (".spec.yaml", ".spec.yml")
_KEY: Final = r"^(?:{key}|\"{key}\"|'{key}')[ \t]*:(?:[ \t]+(?P<value>.*?))?[ \t]*$"
_FORMS: Final = (
    r"(?P<text>[^ \t#\"'>|&*!%@`{\[,](?:[^#]|(?<![ \t])#)*?)(?:[ \t]+#.*)?",
    r"'(?P<text>(?:[^']|'')*)'(?:[ \t]+#.*)?",
    r'"(?P<text>[^"\\]*)"(?:[ \t]+#.*)?',
)


class SpecHead(NamedTuple):
    """Where a spec lies, its id, and the store it names ("" if none)."""

    path: Path
    id: str
    store: str

    @property
    def local_store(self) -> Path | None:
        """The `.cas` folder it names, relative to the spec; a URL names none."""
        if not self.store or "://" in self.store:
            return None
        return self.path.parent / self.store


def head_here() -> SpecHead | None:
    """The head of the one `*.spec.yaml` in the current folder, or None."""
    found = [path for path in Path().iterdir() if path.name.endswith(SUFFIXES) and path.is_file()]
    return read_head(found[0]) if len(found) == 1 else None


def read_head(path: Path) -> SpecHead:
    """The head of a spec file; raises InvalidInput for one that cannot be read at a glance."""
    try:
        with path.open("rb") as file:
            text = file.read(SPEC_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise _unreadable(path, error) from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if text.lstrip().startswith("{"):
        return _from_json(path, text)
    return SpecHead(path, _value(path, text, "spec"), _value(path, text, "store"))


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    """What `castore.content.absent` says of such a file, which few commands need to load."""
    text = quoted(str(path))
    near, fix = "", f"ls -ld {text}"
    if not os.path.lexists(path):
        above = next((folder for folder in path.parents if folder.is_dir()), path.parent)
        fix = f"ls {quoted(str(above))}"
        if path.parent.is_dir():
            near = near_names(path.name, sorted(os.listdir(path.parent)))
    return InvalidInput(f"spec {str(path)!r} cannot be read: {error.strerror}{near}", fix=fix)


def _from_json(path: Path, text: str) -> SpecHead:
    import json

    try:
        head = json.loads(text)
    except ValueError:
        head = None
    if not isinstance(head, dict):
        raise _unclear(path, "spec")
    return SpecHead(path, str(head.get("spec", "")), str(head.get("store", "")))


def _value(path: Path, text: str, key: str) -> str:
    """The scalar under a top-level key; "" if the key or its value is not there."""
    found = re.search(_KEY.format(key=key), text, re.MULTILINE)
    if found is None:
        return ""
    value = found["value"] or ""
    if not value or value.startswith("#"):
        return ""
    for form in _FORMS:
        match = re.fullmatch(form, value)
        if match:
            return match["text"].replace("''", "'") if value[0] == "'" else match["text"]
    raise _unclear(path, key)


def _unclear(path: Path, key: str) -> InvalidInput:
    return InvalidInput(
        f"{path.name}: the value of `{key}:` cannot be read at a glance; write it on one line",
        fix=f"cas spec check {quoted(str(path))}",
    )
