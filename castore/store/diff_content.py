"""Diffs of contents: text by lines, JSON by path, CSV by row, and sizes and digests of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from castore.errors import ObjectNotFound
from castore.model.artifact_set import FileContent
from castore.model.ids import short
from castore.model.pages import FILE, Entry
from castore.spec.guess import guess_format
from castore.store import diff_csv, diff_json
from castore.store.diff import ArtifactChange
from castore.store.diff_text import TextDiff, diff_text
from castore.store.removals import purged_ids
from castore.store.store import Store

CONTENT_BYTES: Final = 8 << 20
"""The largest file, on either side, that is compared by its content."""
_DELIMITERS: Final = {"csv": ",", "tsv": "\t"}

Body: TypeAlias = TextDiff | diff_json.JsonDiff | diff_csv.CsvDiff


@dataclass(frozen=True, slots=True)
class ContentDiff:
    """How one file differs; `form` is text, json, csv, or binary where only sizes and digests are.

    `name` is the artifact, with `/path` for a file in a folder; `note` says why a form was left.
    """

    name: str
    form: str
    old: FileContent | None
    new: FileContent | None
    body: Body | None = None
    note: str = ""

    def lines(self) -> Iterator[str]:
        """The difference as text: unified, by JSON path, by row, or sizes and digests."""
        yield f"--- {self.name}" if self.old else "--- /dev/null"
        yield f"+++ {self.name}" if self.new else "+++ /dev/null"
        if self.old and self.new and self.old.mode != self.new.mode:
            yield f"mode {self.old.mode} → {self.new.mode}"
        if self.body is None:
            yield f"{_size_and_digest(self.old)} → {_size_and_digest(self.new)}"
        else:
            yield from self.body.lines()
        if self.note:
            yield f"({self.note})"

    def as_json(self) -> dict[str, Any]:
        """The difference as data; `diff` has the shape of its form, null for binary."""
        return {
            "name": self.name,
            "form": self.form,
            "old": _content_record(self.old),
            "new": _content_record(self.new),
            "note": self.note or None,
            "diff": self.body.as_json() if self.body is not None else None,
        }


def diff_contents(
    store: Store, changes: Sequence[ArtifactChange], *, content_bytes: int = CONTENT_BYTES
) -> Iterator[ContentDiff]:
    """How the contents of changed artifacts differ, file by file, as they are asked for."""
    for change in changes:
        old = change.old.content if change.old else None
        new = change.new.content if change.new else None
        formats = {side.format for side in (change.old, change.new) if side}
        format = formats.pop() if len(formats) == 1 else "text"
        if isinstance(old, FileContent) or isinstance(new, FileContent):
            left = old if isinstance(old, FileContent) else None
            right = new if isinstance(new, FileContent) else None
            if left is None or right is None or left.digest != right.digest:
                yield diff_content(
                    store, change.name, left, right, format, content_bytes=content_bytes
                )
        for file in change.files:
            left, right = _file(file.old), _file(file.new)
            if (left or right) and file.change != "mode":
                name = f"{change.name}/{file.path}"
                format = guess_format(file.path)[0]
                yield diff_content(store, name, left, right, format, content_bytes=content_bytes)


def diff_content(
    store: Store,
    name: str,
    old: FileContent | None,
    new: FileContent | None,
    format: str,
    *,
    content_bytes: int = CONTENT_BYTES,
) -> ContentDiff:
    """How two files differ, in the form that suits `format`; None is a file that is not there.

    Files of more than `content_bytes`, and what is no text, are compared by size and digest.
    """
    if max(side.size for side in (old, new) if side) > content_bytes:
        note = f"larger than {content_bytes} bytes: not compared by content"
        return ContentDiff(name, "binary", old, new, note=note)
    try:
        before, after = _text(store, old), _text(store, new)
    except ObjectNotFound as error:
        gone = store.database.read(purged_ids)
        if not any(side.digest in gone for side in (old, new) if side):
            raise
        note = f"{error.message}: not compared by content"
        return ContentDiff(name, "binary", old, new, note=note)
    if before is None or after is None:
        return ContentDiff(name, "binary", old, new)
    note = ""
    if old and new:
        try:
            if format == "json":
                return ContentDiff(name, "json", old, new, diff_json.diff_json(before, after))
            if format in _DELIMITERS:
                body = diff_csv.diff_csv(before, after, delimiter=_DELIMITERS[format])
                return ContentDiff(name, "csv", old, new, body)
        except (diff_json.Unreadable, diff_csv.Unreadable) as reason:
            note = f"compared as text: {reason}"
    return ContentDiff(name, "text", old, new, diff_text(before, after), note)


def _file(entry: Entry | None) -> FileContent | None:
    if entry is None or entry.kind != FILE:
        return None
    return FileContent(entry.id, entry.size, entry.mode)


def _text(store: Store, content: FileContent | None) -> str | None:
    """The text of a file, "" for none, or None for what is no text."""
    if content is None:
        return ""
    data = store.reader.read(content.digest, content.size, content.size)
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _size_and_digest(content: FileContent | None) -> str:
    return f"{content.size} bytes {short(content.digest)}" if content else "none"


def _content_record(content: FileContent | None) -> dict[str, Any] | None:
    if content is None:
        return None
    return {
        "digest": content.digest.hex(),
        "size": content.size,
        "executable": bool(content.mode),
    }
