"""Completion of paths: the shell itself knows what lies in a folder."""

from __future__ import annotations

from typing import Any

import click


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Whatever files and folders the shell finds."""
    return _found(incomplete, "file")


def folders(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Whatever folders the shell finds."""
    return _found(incomplete, "dir")


def _found(incomplete: str, type: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=type)]
