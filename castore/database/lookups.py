"""Table `lookup` read: from values to objects, from objects to what holds them, to ancestors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from castore.database import ancestry, indexes, tables
from castore.database.ancestry import Step
from castore.database.indexes import BRIEF, Index, Value
from castore.database.tables import State
from castore.database.view import View
from castore.model.ids import Id, Kind
from castore.model.limits import ID_BYTES

_LAST: Final = b"\xff" * (8 + ID_BYTES + 1)


class LookupView(View):
    """What `lookup` leads to. Rows are hints: whoever shows a result compares the object itself."""

    __slots__ = ()

    def lookup(
        self, index: Index, value: Value = b"", *, since: int = 0, until: int | None = None
    ) -> Iterator[tuple[int, Id]]:
        """The (time, id) of what `index` leads to from `value`, newest first.

        Times are microseconds UTC, `since` included, `until` not. Sets have time 0. What IN_TREE
        and IN_SET lead to is told by `containers`.
        """
        prefix = indexes.lookup_prefix(index, value)
        for at, id in self._lookup(prefix, until):
            if at < since:
                return
            yield at, id

    def _lookup(self, prefix: bytes, until: int | None = None) -> Iterator[tuple[int, bytes]]:
        end = prefix + (_LAST if until is None else indexes.time_bytes(until))
        for key, _ in self._walk(self._tables.lookup, end, backwards=True):
            if not key.startswith(prefix):
                return
            yield indexes.split_key(key, prefix)

    def ids_under(self, index: Index) -> Iterator[Id]:
        """Every id that an index leads to, from whatever value, some perhaps twice."""
        for key, _ in self._with_prefix(self._tables.lookup, bytes((index,))):
            yield key[-ID_BYTES:]

    def tails(self, index: Index, value: Value, below: bytes, limit: int) -> list[bytes]:
        """The ends of at most `limit` rows of an index for `value`: time and id, newest first.

        With `below` only those that come after it in this order, itself left out.
        """
        self._check()
        prefix = indexes.lookup_prefix(index, value)
        with self._txn.cursor(self._tables.lookup) as cursor:
            after = cursor.set_range(prefix + (below or _LAST))
            if not (cursor.prev() if after else cursor.last()):
                return []
            keys = list(islice(cursor.iterprev(keys=True, values=False), limit))
        while keys and not keys[-1].startswith(prefix):
            keys.pop()
        return [key[len(prefix) :] for key in keys]

    def with_row(self, index: Index, value: Value, tails: Sequence[bytes]) -> list[bytes]:
        """Those of `tails`, in their order, that are rows of an index for `value`."""
        self._check()
        prefix = indexes.lookup_prefix(index, value)
        with self._txn.cursor(self._tables.lookup) as cursor:
            found = cursor.getmulti([prefix + tail for tail in tails])
        return [key[len(prefix) :] for key, _ in found]

    def containers(self, id: Id) -> Iterator[tuple[Id, Kind]]:
        """What holds this content, tree or set directly: trees, then sets, then manifests.

        A container may be named that holds another object whose id begins with the same 8 bytes:
        look into it where that matters.
        """
        for index, kind in BRIEF.items():
            for holder in self._holders(index, kind, id):
                yield holder, kind
        for _, holder in self.lookup(Index.IN_MANIFEST, id):
            yield holder, Kind.MANIFEST

    def _holders(self, index: Index, kind: Kind, id: Id) -> Iterator[Id]:
        for key, _ in self._with_prefix(self._tables.lookup, indexes.brief_prefix(index, id)):
            if len(key) == indexes.BRIEF_BYTES:
                yield from self.alike(key[-indexes.BRIEF_ID_BYTES :], kind)
            elif key.startswith(indexes.lookup_prefix(index, id)):
                # As indexes of version 1 have it.
                yield key[-ID_BYTES:]

    def alike(self, prefix: bytes, kind: Kind) -> Iterator[Id]:
        """The stored objects of a kind whose ids begin with these bytes: nearly always one."""
        for id, value in self._with_prefix(self._tables.objects, prefix):
            row = tables.read_object(value, id)
            if row.kind is kind and row.state is State.STORED:
                yield id

    def indexes(self) -> int:
        """The version of the rows of `lookup`: 4, or in an older store less until a rebuild."""
        return self.integer(tables.INDEXES) or 1

    def step(self, id: Id) -> Step | None:
        """Number, first parent and jump pointer of a version, without reading its manifest."""
        value = self._get(self._tables.lookup, indexes.lookup_jump(id))
        return None if value is None else ancestry.read_step(value, id)

    def ancestor(self, id: Id, number: int) -> Id | None:
        """The version with this number among `id` and its first parents; None if not stored."""
        return ancestry.find_ancestor(id, number, self.step)

    def has_lookup(self, key: bytes) -> bool:
        """Whether this very row of `lookup` is there."""
        return self._get(self._tables.lookup, key) is not None

    def lookup_rows(self, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every row of `lookup` from this key on, as stored."""
        return self._walk(self._tables.lookup, start)
