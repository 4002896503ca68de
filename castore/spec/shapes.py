"""The right form of `artifacts:`, written with the names that somebody wrote in a wrong one."""

from __future__ import annotations

import json
from typing import Final

from castore.spec.faults import shown
from castore.spec.guess import guess_format
from castore.spec.loader import MapNode, Node, ScalarNode

_ARTIFACTS_SHOWN: Final = 3
_KEYS_SHOWN: Final = 6
_TEXT_SHOWN: Final = 60


def list_form(node: MapNode, *, with_store: bool) -> str:
    """The list that a mapping of name → settings should have been, `store:` beside it."""
    lines: list[str] = []
    store = node.get("store")
    if isinstance(store, ScalarNode) and with_store:
        lines.append(f"store: {_scalar(store)}")
    lines.append("artifacts:")
    artifacts = [(key, value) for key, value in node.items if isinstance(value, MapNode)]
    for key, value in artifacts[:_ARTIFACTS_SHOWN]:
        lines.append(f"  - name: {_scalar(key)}")
        lines += [
            f"    {name.text[:_TEXT_SHOWN]}: {_scalar(item)}"
            for name, item in value.items[:_KEYS_SHOWN]
            if isinstance(item, ScalarNode) and name.text != "name"
        ]
    if not artifacts:
        lines.append(text_form("summary.md"))
    elif len(artifacts) > _ARTIFACTS_SHOWN:
        lines.append("  …")
    return "\n".join(lines)


def text_form(path: str) -> str:
    """The list item that a bare file name should have been."""
    shown_path = path.strip() if len(path) <= _TEXT_SHOWN else ""
    shown_path = shown_path or "summary.md"
    name = shown_path.rstrip("/").rpartition("/")[2] or "summary"
    format, type = guess_format(shown_path)
    return (
        f"  - name: {_word(name)}\n    type: {type}\n    format: {format}\n"
        f"    path: {_word(shown_path)}"
    )


def _scalar(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        return "…"
    text = node.text if len(node.text) <= _TEXT_SHOWN else node.text[:_TEXT_SHOWN] + "…"
    return _word(text) if node.plain else json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    """Plain where that is safe to read, else quoted."""
    return text if text.isprintable() and ": " not in text and " #" not in text else shown(text)
