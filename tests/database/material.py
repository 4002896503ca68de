"""Objects, blocks and stores to fill the database with, all small and all different."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from castore.content.blocks import Block, Codec, Member, encode_block
from castore.content.sink import EncodedBlock
from castore.database.environment import Database
from castore.database.reading import Reading
from castore.database.writing import Payload, Writing
from castore.model.artifact_set import Artifact, FileContent, TreeContent, encode_set, make_set
from castore.model.ids import Id, Kind, content_id, object_id
from castore.model.manifest import Agent, Manifest, Source, SpecPin, encode_manifest
from castore.model.note import Note, encode_note
from castore.model.pages import FILE, Entry, encode_tree

PROJECT = b"p" * 16


def make_database(folder: Path) -> Database:
    """A new store in `folder`, with a clock that counts from 1,000."""
    clock = itertools.count(1000)
    return Database.create(folder, now=lambda: next(clock), entropy=os.urandom, project=PROJECT)


def block_of(*objects: tuple[Kind, bytes], bases: Sequence[Id] = ()) -> EncodedBlock:
    """One raw block; with `bases` it claims to be a delta, which is never decoded here."""
    members = tuple(Member(object_id(kind, data), kind, len(data)) for kind, data in objects)
    frame = b"".join(data for _, data in objects)
    block = Block(
        codec=Codec.DELTA if bases else Codec.RAW,
        metadata=objects[0][0] is not Kind.CHUNK,
        depth=1 if bases else 0,
        raw_size=len(frame),
        bases=tuple(bases),
        members=members,
        frame=frame,
    )
    return EncodedBlock(encode_block(block), members, len(frame), tuple(bases))


def payload_of(kind: Kind, data: bytes) -> Payload:
    """An object as the database wants it to be indexed."""
    return kind, object_id(kind, data), data


def chunks(*datas: bytes) -> EncodedBlock:
    """A content block."""
    return block_of(*((Kind.CHUNK, data) for data in datas))


def put(database: Database, *blocks: EncodedBlock) -> int:
    """Store blocks in one transaction."""
    return database.write(lambda tables: tables.put_blocks(blocks))


def put_objects(database: Database, *objects: tuple[Kind, bytes]) -> list[Id]:
    """Store each object in a block of its own; their ids."""
    put(database, *(block_of(item) for item in objects))
    return [object_id(kind, data) for kind, data in objects]


def tree(*names: str, seed: int = 0) -> bytes:
    """A folder page with one file for each name."""
    entries = [
        Entry(name.encode(), FILE, content_id(f"{seed}{name}".encode()), 3, 0)
        for name in sorted(names)
    ]
    return encode_tree(0, entries)


def set_of(*files: bytes, folder: Id | None = None, type: str = "dataset") -> bytes:
    """A set of files, and of one folder if given."""
    artifacts = [
        Artifact(f"a{n}", type, "binary", f"a{n}", FileContent(content_id(data), len(data)))
        for n, data in enumerate(files)
    ]
    if folder is not None:
        artifacts.append(Artifact("folder", "page", "folder", "folder", TreeContent(folder, 9)))
    return encode_set(make_set(artifacts))


def manifest(
    number: int = 1,
    parents: Sequence[Id] = (),
    *,
    set: Id = b"\1" * 32,
    at: int = 5,
    agent: Agent = Agent("writer", "7"),
    sources: Sequence[Source] = (),
    run: str = "run-1",
    operation: str = "",
    message: str = "",
    files: Sequence[tuple[str, Id]] = (),
) -> bytes:
    """A version."""
    return encode_manifest(
        Manifest(
            set=set,
            spec=SpecPin("report", "1.1", source=content_id(b"spec"), files=tuple(files)),
            branch="report",
            at=at,
            number=number,
            parents=tuple(parents),
            agent=agent,
            author="someone@example.org",
            run=run,
            trace="trace-1",
            operation=operation,
            message=message,
            sources=tuple(sources),
        )
    )


def note(target: Id, *, at: int = 7, subject: str = "review", value: str = "approved") -> bytes:
    """A statement about a version."""
    return encode_note(
        Note(
            scope=PROJECT,
            target=target,
            target_kind="manifest",
            subject=subject,
            value=value,
            by="reviewer@example.org",
            at=at,
        )
    )


def chain(length: int, *, side: int = 0) -> list[tuple[Id, bytes]]:
    """A line of versions, each the first parent of the next; `side` makes another line."""
    line: list[tuple[Id, bytes]] = []
    for number in range(1, length + 1):
        parents = [line[-1][0]] if line else []
        data = manifest(number, parents, at=100 + number, message=f"side {side}")
        line.append((object_id(Kind.MANIFEST, data), data))
    return line


def commit(database: Database, branch: str, dice: random.Random) -> Id:
    """One version on a branch, in one transaction with its content, ref and log entry."""
    data = dice.randbytes(dice.randrange(100, 9000))

    def transact(tables: Writing) -> Id:
        parent = tables.ref(f"heads/{branch}")
        step = tables.step(parent) if parent else None
        members = set_of(data)
        payload = manifest(
            step.number + 1 if step else 1,
            [parent] if parent else [],
            set=object_id(Kind.SET, members),
            message=branch,
        )
        id = object_id(Kind.MANIFEST, payload)
        tables.put_blocks(
            [chunks(data), block_of((Kind.SET, members)), block_of((Kind.MANIFEST, payload))]
        )
        assert tables.set_if_equals(f"heads/{branch}", parent, id)
        tables.append_operation(
            "commit",
            op_id=id.hex(),
            at=1,
            by="someone",
            refs=[(f"heads/{branch}", parent or b"", id)],
        )
        tables.bump_generation()
        return id

    return database.write(transact)


def dump(database: Database) -> dict[str, dict[bytes, bytes]]:
    """Every row of every derived table and of `objects`, for comparing stores."""

    def rows(reading: Reading) -> dict[str, dict[bytes, bytes]]:
        infos = {str(number).encode(): repr(info) for number, info in reading.block_infos()}
        return {
            "lookup": dict(reading.lookup_rows()),
            "blockinfo": {key: value.encode() for key, value in infos.items()},
            "objects": {id: repr(row).encode() for id, row in reading.object_rows()},
        }

    return database.read(rows)


def edit(database: Database, table: str, change: Callable[[dict[bytes, bytes]], None]) -> None:
    """Change the raw rows of a table behind the database's back, as damage would."""

    def transact(tables: Writing) -> None:
        handle = getattr(tables._tables, table)
        with tables._txn.cursor(handle) as cursor:
            rows = dict(iter(cursor))
        before = dict(rows)
        change(rows)
        for key in before.keys() - rows.keys():
            tables._txn.delete(key, db=handle)
        for key, value in rows.items():
            if before.get(key) != value:
                tables._txn.put(key, value, db=handle)

    database.write(transact)
