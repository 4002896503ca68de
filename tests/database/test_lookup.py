"""Look-ups: what they lead to, that they are a function of what is stored, and ancestors."""

from __future__ import annotations

import random
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.content.reader import ObjectReader
from castore.database import ancestry, conversion, derive, indexes
from castore.database.ancestry import Step, find_ancestor, make_step
from castore.database.check import check_structure
from castore.database.environment import Database
from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.database.rebuild import rebuild
from castore.database.tables import State
from castore.database.writing import Writing
from castore.errors import CorruptObject, InvalidName, UnsupportedFormat
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.manifest import Agent, Source
from castore.model.pages import tree_ids
from tests.database.material import (
    block_of,
    chain,
    chunks,
    dump,
    edit,
    make_database,
    manifest,
    note,
    put,
    put_objects,
    set_of,
    tree,
)


def ids_of(database: Database, index: Index, value: object = b"") -> list[Id]:
    """What a look-up leads to, newest first."""
    return database.read(lambda reading: [id for _, id in reading.lookup(index, value)])


def test_a_version_is_found_by_all_it_says(database: Database) -> None:
    target, digest = b"t" * 32, b"d" * 32
    sources = [Source(target=target), Source(digest=digest, uri="https://example.org/x")]
    (id,) = put_objects(
        database, (Kind.MANIFEST, manifest(sources=sources, at=9, operation="op-1"))
    )
    for index, value in [
        (Index.TIME, b""),
        (Index.AGENT, "writer"),
        (Index.AGENT_VERSION, ("writer", "7")),
        (Index.SPEC, "report"),
        (Index.SPEC_VERSION, ("report", "1.1")),
        (Index.RUN, "run-1"),
        (Index.TRACE, "trace-1"),
        (Index.AUTHOR, "someone@example.org"),
        (Index.OPERATION, "op-1"),
        (Index.SOURCE, target),
        (Index.SOURCE, digest),
        (Index.SOURCE, "https://example.org/x"),
        (Index.IN_MANIFEST, b"\1" * 32),
        (Index.IN_MANIFEST, content_id(b"spec")),
    ]:
        assert ids_of(database, index, value) == [id], index
    for index, value in [
        (Index.AGENT, "writ"),
        (Index.AGENT, ""),
        (Index.AGENT_VERSION, ("writer", "8")),
        (Index.SPEC, "writer"),
        (Index.OPERATION, ""),
        (Index.SOURCE, b"\1" * 32),
    ]:
        assert ids_of(database, index, value) == [], index


def test_what_is_unknown_has_no_rows(database: Database) -> None:
    put_objects(database, (Kind.MANIFEST, manifest(agent=Agent(), run="")))
    for index in (Index.AGENT, Index.AGENT_VERSION, Index.RUN):
        assert ids_of(database, index, "") == []
        assert ids_of(database, index, ("", "")) == []


def test_content_leads_to_its_containers(database: Database) -> None:
    page = tree("a")
    content, inner = content_id(b"0a"), object_id(Kind.TREE, page)
    outer = set_of(b"one", folder=inner)
    members = object_id(Kind.SET, outer)
    version = manifest(set=members)
    put_objects(database, (Kind.TREE, page), (Kind.SET, outer), (Kind.MANIFEST, version))
    find = database.read
    assert find(lambda r: list(r.containers(content))) == [(inner, Kind.TREE)]
    assert find(lambda r: list(r.containers(inner))) == [(members, Kind.SET)]
    assert find(lambda r: list(r.containers(content_id(b"one")))) == [(members, Kind.SET)]
    found = find(lambda r: list(r.containers(members)))
    assert found == [(object_id(Kind.MANIFEST, version), Kind.MANIFEST)]
    for index, value in [
        (Index.ARTIFACT_TYPE, "dataset"),
        (Index.ARTIFACT_TYPE, "page"),
        (Index.ARTIFACT_FORMAT, "binary"),
        (Index.ARTIFACT_FORMAT, "folder"),
    ]:
        assert ids_of(database, index, value) == [object_id(Kind.MANIFEST, version)], value
    assert ids_of(database, Index.ARTIFACT_TYPE, "binary") == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("gone", [0, 1])
def test_a_version_is_found_by_what_is_in_its_set_while_both_are_stored(
    database: Database, order: tuple[int, ...], gone: int
) -> None:
    outer = set_of(b"one")
    members = object_id(Kind.SET, outer)
    # The last one names the set without being a version of it.
    found = [manifest(set=members, at=1), manifest(set=members, at=2)]
    other = manifest(at=3, files=[("x", members)])
    objects = [(Kind.SET, outer), (Kind.MANIFEST, found[0]), (Kind.MANIFEST, found[1])]
    put_objects(database, *(objects[n] for n in order), (Kind.MANIFEST, other))
    both = [object_id(Kind.MANIFEST, data) for data in reversed(found)]
    assert ids_of(database, Index.ARTIFACT_TYPE, "dataset") == both
    assert list(check_structure(database)) == []
    kind, data = objects[gone]

    def remove(tables: Writing) -> None:
        row = tables.object_row(object_id(kind, data))
        assert row is not None
        tables.replace_block(row.block, (), [(kind, object_id(kind, data), data)])

    database.write(remove)
    left = ids_of(database, Index.ARTIFACT_TYPE, "dataset")
    assert left == (both[:1] if kind is Kind.MANIFEST else [])
    assert list(check_structure(database)) == []
    before = dump(database)
    database.write(rebuild)
    assert dump(database) == before


def test_ends_of_rows_come_in_order_and_go_on_below(database: Database) -> None:
    times = [5, 1, 5, 9, 0, 5]
    put_objects(
        database,
        *((Kind.MANIFEST, manifest(at=at, message=str(n))) for n, at in enumerate(times)),
        (Kind.MANIFEST, manifest(agent=Agent("another", "7"), at=7)),
    )
    tails = database.read(lambda r: r.tails(Index.AGENT, "writer", b"", 99))
    rows = database.read(lambda r: list(r.lookup(Index.AGENT, "writer")))
    assert [(int.from_bytes(tail[:8]), tail[8:]) for tail in tails] == rows
    for at in range(len(tails)):
        below = database.read(lambda r, at=at: r.tails(Index.AGENT, "writer", tails[at], 2))
        assert below == tails[at + 1 : at + 3]
    every = database.read(lambda r: r.tails(Index.TIME, b"", b"", 99))
    assert len(every) == 7
    assert database.read(lambda r: r.with_row(Index.AGENT, "writer", every)) == tails
    assert database.read(lambda r: r.tails(Index.AGENT, "nobody", b"", 9)) == []


def test_notes_are_found_by_target_and_subject(database: Database) -> None:
    target = b"v" * 32
    first, second = put_objects(
        database,
        (Kind.NOTE, note(target, at=1)),
        (Kind.NOTE, note(target, at=2, subject="deployment", value="production")),
    )
    assert ids_of(database, Index.TARGET, target) == [second, first]
    assert ids_of(database, Index.SUBJECT, ("review", "approved")) == [first]
    assert ids_of(database, Index.SUBJECT, ("deployment", "production")) == [second]


def test_times_bound_a_look_up(database: Database) -> None:
    times = [0, 1, 5, 5, 9, (1 << 63) - 1]
    put_objects(
        database,
        *((Kind.MANIFEST, manifest(at=at, message=str(n))) for n, at in enumerate(times)),
    )
    for since, until in [(0, None), (1, 9), (5, 6), (6, 9), (0, 0), (9, None)]:
        found = database.read(
            lambda r, since=since, until=until: [
                at for at, _ in r.lookup(Index.AGENT, "writer", since=since, until=until)
            ]
        )
        wanted = [at for at in times if at >= since and (until is None or at < until)]
        assert found == sorted(wanted, reverse=True)


# A rebuild equals what was written, in whatever order it came.


def some_objects(dice: random.Random) -> list[tuple[Kind, bytes]]:
    """Versions on two lines with a merge, their sets, folders, notes and contents."""
    found: list[tuple[Kind, bytes]] = []
    lines = [chain(dice.randrange(1, 40), side=side) for side in range(2)]
    for line in lines:
        found.extend((Kind.MANIFEST, data) for _, data in line)
    number = len(lines[0]) + 1
    merged = manifest(number, [lines[0][-1][0], lines[1][-1][0]], at=999)
    found.append((Kind.MANIFEST, merged))
    page = tree("a", "b", seed=dice.randrange(9))
    found.append((Kind.TREE, page))
    found.append((Kind.SET, set_of(dice.randbytes(4), folder=object_id(Kind.TREE, page))))
    found.append((Kind.NOTE, note(lines[0][0][0], at=dice.randrange(99))))
    found.extend((Kind.CHUNK, dice.randbytes(5)) for _ in range(5))
    return found


@given(st.integers(0, 1 << 32), st.sampled_from(["oldest", "newest", "any"]), st.integers(1, 30))
def test_a_rebuild_equals_what_was_written(seed: int, order: str, batch: int) -> None:
    dice = random.Random(seed)
    objects = some_objects(dice)
    if order == "newest":
        objects.reverse()
    elif order == "any":
        dice.shuffle(objects)
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / ".cas")
        for start in range(0, len(objects), batch):
            put(database, *(block_of(item) for item in objects[start : start + batch]))
        database.write(lambda writing: writing.append_operation("x", op_id="o", at=3, by=""))
        before = dump(database)
        assert before["lookup"]
        database.write(rebuild)
        assert dump(database) == before
        for table in ("lookup", "blockinfo"):
            database.write(lambda writing, table=table: writing.clear(table))
        edit(database, "objects", dict.clear)
        database.write(rebuild)
        assert dump(database) == before
        database.close()


def test_a_rebuild_keeps_what_no_block_tells(database: Database) -> None:
    ids = put_objects(database, (Kind.CHUNK, b"one"), (Kind.SET, set_of(b"one")))
    database.write(lambda writing: writing.set_state(ids[0], Kind.CHUNK, State.PURGED))
    database.write(lambda writing: writing.set_state(b"p" * 32, Kind.SET, State.PROMISED))
    put(database, chunks(b"two", b"three"), chunks(b"three", b"four"))
    before = dump(database)
    database.write(rebuild)
    assert dump(database) == before


# Rows that tell only how ids begin.


def short_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one byte of an id stand for it in the brief rows, so that many are alike."""
    for module in (derive, indexes):
        monkeypatch.setattr(module, "BRIEF_ID_BYTES", 1)
    monkeypatch.setattr(indexes, "BRIEF_BYTES", 3)


@pytest.mark.parametrize("seed", range(5))
def test_ids_that_begin_alike_lose_no_container(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    short_ids(monkeypatch)
    dice = random.Random(seed)
    pages = {
        object_id(Kind.TREE, page): page
        for page in (
            tree(*map(str, dice.sample(range(40), 8)), seed=dice.randrange(3)) for _ in range(120)
        )
    }
    sets = {object_id(Kind.SET, data): data for data in (set_of(bytes([n])) for n in range(60))}
    put(
        database,
        *(block_of((Kind.TREE, page)) for page in pages.values()),
        *(block_of((Kind.SET, data)) for data in sets.values()),
    )
    gone = dice.sample(sorted(pages), 70)
    erased = dice.sample(sorted(sets), 20)

    def remove(tables: Writing) -> None:
        for id in gone:
            row = tables.object_row(id)
            assert row is not None
            tables.replace_block(row.block, (), [(Kind.TREE, id, pages[id])])
        for id in erased:
            tables.set_state(id, Kind.SET, State.PURGED)

    database.write(remove)
    pages = {id: page for id, page in pages.items() if id not in gone}
    sets = {id: data for id, data in sets.items() if id not in erased}
    held = [(target, id) for id, page in pages.items() for target in tree_ids(page)]
    held += [(content_id(bytes([n])), id) for n in range(60) if (id := set_id(n)) in sets]
    for content, id in held:
        assert id in {found for found, _ in containers(database, content)}
    before = dump(database)
    assert list(check_structure(database)) == []
    database.write(rebuild)
    assert dump(database) == before
    assert any(key[0] == Index.IN_TREE for key in before["lookup"])


def containers(database: Database, content: Id) -> set[tuple[Id, Kind]]:
    return database.read(lambda reading: set(reading.containers(content)))


def set_id(number: int) -> Id:
    return object_id(Kind.SET, set_of(bytes([number])))


def widened(database: Database, version: int = 1) -> None:
    """Give a store the rows of an older version of the indexes."""

    def change(rows: dict[bytes, bytes]) -> None:
        for key in [key for key in rows if key[0] not in (Index.LOGGED, Index.JUMP)]:
            del rows[key]
        for kind, data in objects:
            keys = derive.lookup_keys(kind, object_id(kind, data), data, version)
            rows.update(dict.fromkeys(keys, b""))

    objects = database.read(indexed_objects)
    edit(database, "lookup", change)
    number = version.to_bytes(8, "little")
    edit(database, "meta", lambda rows: rows.update({b"indexes": number}))


def indexed_objects(reading: Reading) -> list[tuple[Kind, bytes]]:
    reader = ObjectReader(reading.load)
    return [
        (row.kind, reader.payload(id, row.kind))
        for id, row in reading.object_rows()
        if row.kind in derive.INDEXED
    ]


@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_older_rows_are_read_checked_and_brought_up_to_date(seed: int) -> None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / ".cas")
        put_objects(database, *some_objects(dice), *some_objects(dice))
        now = dump(database)
        contents = [
            content_id(f"{seed}{name}".encode()) for seed in range(9) for name in ("a", "b")
        ]
        holders = [containers(database, content) for content in contents]
        widened(database)
        assert database.read(lambda r: r.indexes()) == 1
        assert dump(database) != now
        assert [containers(database, content) for content in contents] == holders
        assert list(check_structure(database)) == []
        with pytest.raises(InvalidName):
            database.write(lambda writing: writing.add_if_new("", b"x" * 32))
        assert database.read(lambda r: r.indexes()) == 1
        database.write(lambda writing: None)
        assert database.read(lambda r: r.indexes()) == 3
        assert list(check_structure(database)) == []
        # Version 3 is written on, until a rebuild.
        put_objects(database, *some_objects(dice))
        assert database.read(lambda r: r.indexes()) == 3
        assert list(check_structure(database)) == []
        database.write(rebuild)
        assert database.read(lambda r: r.indexes()) == 4
        assert list(check_structure(database)) == []
        assert set(now["lookup"]) <= set(dump(database)["lookup"])
        database.close()


def test_many_older_rows_are_brought_up_to_date(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_STEP_ROWS", 7)
    put_objects(database, *((Kind.TREE, tree(*"abcdefgh", seed=seed)) for seed in range(9)))
    now = dump(database)
    widened(database)
    database.write(lambda writing: None)
    assert dump(database) == now


def test_a_wrong_version_of_rows_is_found(database: Database) -> None:
    put_objects(database, (Kind.TREE, tree("a", "b")))
    widened(database)
    edit(database, "meta", lambda rows: rows.update({b"indexes": (2).to_bytes(8, "little")}))
    # Editing wrote, and so brought the rows up to date: make them wide again.
    assert list(check_structure(database)) == []
    page = tree("a", "b")
    for key in derive.lookup_keys(Kind.TREE, object_id(Kind.TREE, page), page, 1):
        edit(database, "lookup", lambda rows, key=key: rows.update({key: b""}))
    assert {problem.where for problem in check_structure(database)} == {"lookup"}


def test_newer_rows_are_not_written_to(database: Database) -> None:
    put_objects(database, (Kind.TREE, tree("a")))
    edit(database, "meta", lambda rows: rows.update({b"indexes": (5).to_bytes(8, "little")}))
    with pytest.raises(UnsupportedFormat, match="version 5"):
        database.write(lambda writing: None)
    assert containers(database, content_id(b"0a"))


# Ancestors.


@pytest.mark.parametrize("length", [1, 2, 3, 4, 17, 400])
def test_every_ancestor_is_found(database: Database, length: int) -> None:
    line = chain(length)
    put(database, *(block_of((Kind.MANIFEST, data)) for _, data in line))
    tip = line[-1][0]
    found = database.read(lambda r: [r.ancestor(tip, n) for n in range(1, length + 1)])
    assert found == [id for id, _ in line]
    assert database.read(lambda r: r.ancestor(tip, 0)) is None
    assert database.read(lambda r: r.ancestor(tip, length + 1)) is None
    assert database.read(lambda r: r.ancestor(b"?" * 32, 1)) is None


def test_ancestors_are_few_steps_away() -> None:
    steps: dict[Id, Step] = {}
    count = 100_000
    for number in range(1, count + 1):
        id, parent = number.to_bytes(32, "big"), (number - 1).to_bytes(32, "big")
        steps[id] = make_step(number, parent if number > 1 else None, steps.get)
    reads = 0

    def read(id: Id) -> Step | None:
        nonlocal reads
        reads += 1
        return steps.get(id)

    dice = random.Random(2)
    for _ in range(200):
        high = dice.randrange(1, count + 1)
        low = dice.randrange(1, high + 1)
        reads = 0
        assert find_ancestor(high.to_bytes(32, "big"), low, read) == low.to_bytes(32, "big")
        assert reads < 120


def test_a_shallow_chain_ends_where_it_ends(database: Database) -> None:
    line = chain(30)
    put(database, *(block_of((Kind.MANIFEST, data)) for _, data in line[10:]))
    tip = line[-1][0]
    assert database.read(lambda r: r.ancestor(tip, 11)) == line[10][0]
    assert database.read(lambda r: r.ancestor(tip, 10)) is None
    put(database, *(block_of((Kind.MANIFEST, data)) for _, data in line[:10]))
    assert database.read(lambda r: r.ancestor(tip, 1)) == line[0][0]


def test_wrong_numbers_end_the_walk() -> None:
    a, b, c = b"a" * 32, b"b" * 32, b"c" * 32
    steps = {a: Step(9, b, b), b: Step(9, c, c), c: Step(9, a, a)}
    with pytest.raises(CorruptObject, match="number 9, its parent 9"):
        find_ancestor(a, 3, steps.get)


def test_a_malformed_jump_row_is_corruption(database: Database) -> None:
    (id,) = put_objects(database, (Kind.MANIFEST, manifest()))
    key = bytes((Index.JUMP,)) + id
    edit(database, "lookup", lambda rows: rows.update({key: b"x" * 9}))
    with pytest.raises(CorruptObject, match="jump row"):
        database.read(lambda r: r.ancestor(id, 1))


@given(st.integers(1, 1 << 60), st.booleans())
def test_steps_survive_packing(number: int, first: bool) -> None:
    step = Step(number, b"" if first else b"p" * 32, b"" if first else b"j" * 32)
    assert ancestry.read_step(ancestry.pack_step(step), b"") == step


def test_children_lead_forwards(database: Database) -> None:
    line = chain(5)
    put(database, *(block_of((Kind.MANIFEST, data)) for _, data in line))
    for (parent, _), (child, _) in pairwise(line):
        assert ids_of(database, Index.CHILD, parent) == [child]
