"""The guard of an ingest: text is searched for secrets before it is stored, and a finding ends it.

After a finding that is not let through nothing more is written: what holds the secret never is,
neither is anything that would name it. What the store holds already is not searched again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

from castore.content.secret_rules import REACH, rule_of_name
from castore.content.secret_search import Match, search_secrets
from castore.content.sink import Batch, Sink
from castore.model.ids import Id
from castore.model.limits import KIB, SECRETS_TOLD, SMALL_OBJECT_BYTES

_HEAD: Final = 8 * KIB
_BETWEEN: Final = b"\n\0\n"
_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


class Finding(NamedTuple):
    """A secret that was found: the artifact, the file in it ("" if it is the file), its line.

    `line` is None where it is not known, as in a pipe: `offset` is known always. `shown` is a
    start of it without the secret.
    """

    artifact: str
    path: str
    line: int | None
    offset: int
    rule: str
    shown: str


class SecretGuard:
    """What was found in one session; `allowed` gives the rules whose findings are let through.

    It is asked at the first finding. `artifact` is whom the next findings belong to, `root` the
    file or folder it comes from; with `more` not all are told. For one thread.
    """

    def __init__(self, allowed: Callable[[], Collection[str]]) -> None:
        self._ask = allowed
        self._told: set[tuple[str, str, int]] = set()
        self.artifact = ""
        self.root = ""
        self.findings: list[Finding] = []
        self.let_through: list[Finding] = []
        self.notices: list[str] = []
        self.refused = False
        self.more = False

    @cached_property
    def _allowed(self) -> Collection[str]:
        return self._ask()

    def look(
        self, files: Sequence[tuple[Id, bytes]], known: Collection[Id], paths: Sequence[str]
    ) -> None:
        """Search whole files before they are stored; those that are `known` are passed over."""
        small: list[tuple[bytes, str]] = []
        for (digest, data), path in zip(files, paths, strict=True):
            if digest in known or not data:
                continue
            self._look_at_name(path)
            text = _text_of(data)
            if text is None:
                continue
            if len(text) < SMALL_OBJECT_BYTES:
                small.append((text, path))
            else:
                self._search(text, path)
        self._look_at_many(small)

    def begin(self, path: str) -> StreamGuard:
        """Begin to search a file that comes in pieces; `path` is "" for one that has none."""
        return StreamGuard(self, path)

    def over(self, sink: Sink) -> Sink:
        """The sink as long as nothing is refused; what comes after is dropped."""
        return _GuardedSink(sink, self)

    def _look_at_name(self, path: str) -> None:
        rule = rule_of_name(path or self.artifact)
        if rule is not None:
            self._note(path, None, 0, rule, "the name of the file")

    def _look_at_many(self, files: Sequence[tuple[bytes, str]]) -> None:
        """Search many small files at once: a call for each would cost more than the search."""
        if not files:
            return
        joined = files[0][0] if len(files) == 1 else _BETWEEN.join([text for text, _ in files])
        found = search_secrets(joined)
        sizes = [len(text) + len(_BETWEEN) for text, _ in files]
        starts = [0, *accumulate(sizes)]
        for match in found.matches:
            at = bisect_right(starts, match.start) - 1
            text, path = files[at]
            self._note_match(match, path, text, match.start - starts[at])
        if not found.whole:
            self._cut_short(files[0][1] or self.artifact)

    def _search(self, text: bytes, path: str) -> None:
        found = search_secrets(text)
        for match in found.matches:
            self._note_match(match, path, text, match.start)
        if not found.whole:
            self._cut_short(path or self.artifact)

    def _note_match(self, match: Match, path: str, text: bytes, start: int) -> None:
        line = text.count(b"\n", 0, start) + 1
        self._note(path, line, start, match.rule, match.shown)

    def _note(self, path: str, line: int | None, offset: int, rule: str, shown: str) -> None:
        key = (path or self.artifact, rule, offset)
        if key in self._told:
            return
        self._told.add(key)
        allowed = rule in self._allowed
        where = self.let_through if allowed else self.findings
        if len(where) < SECRETS_TOLD:
            where.append(Finding(self.artifact, self._inside(path), line, offset, rule, shown))
        else:
            self.more = True
        self.refused = self.refused or not allowed

    def _inside(self, path: str) -> str:
        """A path as it is told: below the folder it is in, or the name of the file itself."""
        if path != self.root and path.startswith(self.root):
            return path[len(self.root) :].lstrip("/")
        return path.rpartition("/")[2]

    def _cut_short(self, path: str) -> None:
        self.notices.append(
            f"{path}: only a part was searched for secrets, so much in it looks like one"
        )


class StreamGuard:
    """The search of one file that comes in pieces, each after the one before."""

    def __init__(self, guard: SecretGuard, path: str) -> None:
        self._guard = guard
        self._path = path
        self._text: bool | None = None
        self._offset = 0
        self._tail = b""
        self._whole = True
        self._lines = _Lines(path)
        guard._look_at_name(path)

    def look(self, piece: Any, *, known: bool = False) -> bool:
        """Search the next piece, a buffer used again after the call; whether storing is refused.

        A `known` one is stored already: only what goes on from there is searched.
        """
        if self._text is None:
            self._text = bytes(piece[:_HEAD]).find(b"\0") < 0
        if not self._text or not len(piece):
            return self._guard.refused
        tail, size = self._tail, len(piece)
        if tail:
            # What one piece holds the beginning of and the next the end.
            self._search(tail + bytes(piece[:REACH]), self._offset - len(tail), len(tail))
        if not known:
            self._search(piece, self._offset, 0)
        self._tail = (tail + bytes(piece[-REACH:]))[-REACH:]
        self._offset += size
        return self._guard.refused

    def _search(self, data: Any, offset: int, seam: int) -> None:
        found = search_secrets(data)
        for match in found.matches:
            if not seam or match.start < seam < match.reach:
                start = offset + match.start
                line = self._lines.at(start)
                self._guard._note(self._path, line, start, match.rule, match.shown)
        if not found.whole and self._whole:
            self._whole = False
            self._guard._cut_short(self._path or self._guard.artifact)


class _GuardedSink:
    """A sink that writes nothing once something is refused."""

    def __init__(self, sink: Sink, guard: SecretGuard) -> None:
        self._sink = sink
        self._guard = guard

    def known(self, ids: Sequence[Id]) -> set[Id]:
        return self._sink.known(ids)

    def write(self, batch: Batch) -> set[Id]:
        return set() if self._guard.refused else self._sink.write(batch)


def _text_of(data: bytes) -> bytes | None:
    """The text of a file as UTF-8 or something like it; None if it is none."""
    if data[:2] in _BOMS:
        try:
            return data.decode("utf-16").encode("utf-8", "replace")
        except UnicodeDecodeError:
            return None
    return data if data.find(b"\0", 0, _HEAD) < 0 else None


class _Lines:
    """The lines of places in a file, each counted from the place asked for before it.

    Findings stand in order but for those over the end of a piece: a file with many is read once.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self._line = 1

    def at(self, offset: int) -> int | None:
        """The line that holds an offset; None for what cannot be read again."""
        if not self._path:
            return None
        try:
            between = _newlines(self._path, *sorted((offset, self._offset)))
        except OSError:
            return None
        self._line += between if offset > self._offset else -between
        self._offset = offset
        return self._line


def _newlines(path: str, start: int, end: int) -> int:
    """How many line feeds a file has from one offset to another."""
    count = 0
    with open(path, "rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(end - start, 1 << 20))):
            count += piece.count(b"\n")
            start += len(piece)
    return count
