"""The vectors of format 1, by an independent encoder, against castore's code and docs."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

import castore
from castore.content.blocks import Codec, decode_block, encode_block
from castore.content.codecs import decompress
from castore.content.trees import build_tree
from castore.database import tables
from castore.database.headslog import append_head, read_heads
from castore.database.indexes import Index
from castore.database.operations import decode_operation, encode_operation
from castore.database.tables import State, Tables
from castore.model.encoding import decode, encode
from castore.model.ids import Kind, derive_key, object_id, operation_hash
from castore.model.limits import SET_BYTES
from castore.model.pages import Entry
from castore.remote.bundle import BundleFile, BundleWriter, PartType
from castore.remote.index import Index as RemoteIndex
from castore.remote.index import IndexWriter, PackName
from castore.remote.pack import PackType, PackWriter, read_pack
from castore.remote.root import decode_root, encode_root, seal_notes
from castore.spec.contract import contract, contract_payload
from castore.spec.declaration import Checks, Declared, ReviewPolicy, Spec
from tests.golden import make_vectors
from tests.model.samples import SAMPLES, Sample

FOLDER = Path(__file__).parent / "format-1"
DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
OBJECTS = [
    "chunk", "layout", "layout-above", "tree", "tree-above", "set", "manifest-first", "manifest",
    "note",
]  # fmt: skip
BLOCKS = ["block-content", "block-metadata", "block-delta"]


def as_bytes(value: Any) -> Any:
    """JSON with {"$hex": …} as bytes."""
    if isinstance(value, dict):
        if value.keys() == {"$hex"}:
            return bytes.fromhex(value["$hex"])
        return {key: as_bytes(item) for key, item in value.items()}
    return [as_bytes(item) for item in value] if isinstance(value, list) else value


def vector(name: str) -> dict[str, Any]:
    """A vector as it lies on disk."""
    loaded: dict[str, Any] = as_bytes(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))
    return loaded


def reader(kind: Kind) -> Sample:
    """How objects of a kind are decoded and encoded."""
    return next(sample for sample in SAMPLES.values() if sample.kind is kind)


def test_the_script_still_makes_these_files() -> None:
    made = make_vectors.vectors()
    assert {path.stem for path in FOLDER.glob("*.json")} == set(made)
    for name, value in made.items():
        assert vector(name) == as_bytes(make_vectors.plain(value)), name


def test_the_script_shares_no_code_with_castore() -> None:
    source = Path(make_vectors.__file__).read_text("utf-8")
    imports = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    assert set(imports) == {
        "__future__", "blake3", "collections", "functools", "itertools", "json", "pathlib",
        "struct", "typing",
    }  # fmt: skip
    assert "__import__" not in source
    assert "importlib" not in source


def test_keys() -> None:
    assert vector("keys") == {name: derive_key(name) for name in vector("keys")}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name: str) -> None:
    golden = vector(name)
    kind = Kind[golden["kind"].upper()]
    payload: bytes = golden["payload"]
    assert object_id(kind, payload) == golden["id"]
    if kind is Kind.CHUNK:
        assert payload == golden["value"]
        return
    assert encode(golden["value"]) == payload
    assert decode(payload, limit=SET_BYTES) == golden["value"]
    value = reader(kind).decode(payload)
    assert reader(kind).encode(value) == payload
    if name in SAMPLES:
        assert SAMPLES[name].payload == payload


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    golden = vector(name)
    stored: bytes = golden["block"]
    block = decode_block(stored, name)
    assert encode_block(block) == stored
    assert block.metadata == (name == "block-metadata")
    assert list(block.bases) == golden.get("bases", [])
    raw = block.frame
    if block.codec is Codec.DELTA:
        raw = decompress(block.frame, block.raw_size, golden["dictionary"], where=name)
    assert len(raw) == block.raw_size
    found = [
        [member.kind.name.lower(), raw[slice(*block.span(slot))]]
        for slot, member in enumerate(block.members)
    ]
    assert found == golden["members"]
    for member, (kind, payload) in zip(block.members, golden["members"], strict=True):
        assert member.id == object_id(Kind[kind.upper()], payload)


def test_operations(tmp_path: Path) -> None:
    golden = vector("operation")
    first = decode_operation(1, golden["payload"])
    assert first.hash == golden["hash"] == operation_hash(golden["payload"])
    value = golden["value"]
    assert encode_operation(value.pop("op"), **value) == golden["payload"]
    second = decode_operation(2, golden["next_payload"])
    assert second.prev == first.hash
    assert second.hash == golden["next_hash"]
    append_head(tmp_path, 1, first.hash)
    assert (tmp_path / "heads.log").read_text() == golden["heads_log"]
    assert read_heads(tmp_path) == [(1, first.hash)]


def test_pack_and_index() -> None:
    pack, index = vector("pack"), vector("index")
    type, blocks = read_pack(pack["payload"], pack["id"])
    found = list(blocks)
    assert type is PackType.DATA
    assert [placed.block for placed in found] == pack["blocks"]
    assert [placed.offset for placed in found] == pack["offsets"]
    writer, rows = PackWriter(PackType.DATA, bytes(range(16))), IndexWriter()
    name = PackName(index["upload"], pack["id"])
    for data, offset in zip(pack["blocks"], pack["offsets"], strict=True):
        assert writer.add(data) == offset
        rows.add_block(name, offset, len(data), decode_block(data, "golden"), [0])
    assert writer.finish() == (pack["id"], pack["payload"])
    assert rows.finish(bytes(range(16, 32))) == (index["id"], index["payload"])
    read = RemoteIndex(index["payload"], index["id"])
    assert [member.id for member in read.members()] == index["members"]
    assert read.block(1).bases == (decode_block(pack["blocks"][0], "golden").members[0].id,)


def test_root() -> None:
    golden = vector("root")
    pages = {page["id"]: page["payload"] for page in golden["pages"]}
    root = decode_root(golden["payload"], lambda _, id: pages[id])
    assert len(root.tombs) == 2500
    assert root.refs == {"heads/out": b"\6" * 32, "tags/t": b"\7" * 32}
    assert (root.serial, root.gc_round, root.optional) == (41, 2, ("seen-by",))
    value = golden["value"]
    assert [list(index) for index in root.indexes] == value["indexes"]
    assert root.notes == (value["notes"]["count"], value["notes"]["hash"])
    assert root.notes == seal_notes([b"\x08" * 32])
    assert root.uploads == {b"u" * 16: 1}
    assert root.writes == {b"c" * 16: (b"w" * 16,)}
    assert root.forgotten == {b"\5" * 32: (7, "ana", "forget", "not needed")}
    assert encode(value) == golden["payload"]
    written: dict[bytes, bytes] = {}

    def write_page(id: bytes, data: bytes) -> bytes:
        written[id] = data
        return b"u" * 16

    assert encode_root(replace(root, pages=()), write_page) == golden["payload"]
    assert written == pages
    assert encode_root(root, lambda _, __: b"") == golden["payload"]


def test_bundle(tmp_path: Path) -> None:
    golden, pack, index = vector("bundle"), vector("pack"), vector("index")
    (tmp_path / "golden").write_bytes(golden["payload"])
    with BundleFile(tmp_path / "golden") as bundle:
        assert bundle.id == golden["id"]
        assert bundle.uuid == index["upload"]
        assert [part.type for part in bundle.parts] == [
            PartType.PACK, PartType.INDEX, PartType.HEAD
        ]  # fmt: skip
        assert bundle.catalogue().indexes[0].data == index["payload"]
        bundle.compare()
        head = bundle.head
    assert head.needs == ((b"\6" * 32, "out@v2"),)
    assert (head.at, head.by) == (golden["value"]["at"], golden["value"]["by"])
    assert head.root.refs == {"heads/out": b"\6" * 32}
    with (tmp_path / "made").open("wb") as file:
        writer = BundleWriter(file, index["upload"])
        writer.add(PartType.PACK, pack["id"], pack["payload"])
        writer.add(PartType.INDEX, index["id"], index["payload"])
        assert writer.finish(head) == golden["id"]
    assert (tmp_path / "made").read_bytes() == golden["payload"]


def test_a_bundle_of_this_format_is_taken_in(tmp_path: Path) -> None:
    path = FOLDER.with_name("format-1.bundle")
    assert castore.verify_bundle(path).ok
    told = json.loads(FOLDER.with_name("format-1-bundle.json").read_text("utf-8"))
    assert castore.read_bundle(path).as_json() == {**told, "bundle": str(path)}
    with castore.from_bundle(path, tmp_path / "made") as store:
        refs = store.database.read(lambda tables: tables.refs())
        assert {ref: id.hex() for ref, id in refs} == told["refs"]
        assert store.read_bytes("out@v1:text") == b"one " * 9_000
        assert store.read_bytes("out:folder/deep/b.txt") == b"two\n"
        assert {note.by for note in store.notes(next(store.log("out"))).values()} == {"bob"}


def test_contract() -> None:
    golden = vector("contract")
    artifact = golden["value"]["artifacts"][0]
    checks = {**artifact["checks"], "schema": "summary.schema.json"}
    declared = Declared(**{**artifact, "checks": Checks(**checks), "title": "not part", "line": 3})
    spec = Spec(
        id=golden["value"]["spec"],
        version=golden["value"]["version"],
        description="not part",
        store=".cas",
        base="out",
        artifacts=(declared,),
        review=ReviewPolicy(approvals=2),
    )
    files = {"summary.schema.json": artifact["checks"]["schema"]}
    assert contract_payload(spec, files) == golden["payload"]
    assert contract(spec, files) == golden["id"]


@pytest.mark.parametrize("name", ["tree-paged", "tree-unlucky"])
def test_big_folders(name: str) -> None:
    golden = vector(name)
    count = golden["files"]
    numbers = make_vectors.unlucky_numbers(count) if name == "tree-unlucky" else range(count)
    assert len(golden["pages"]) > 1
    built = build_tree(Entry(b"file-%d" % n, "file", n.to_bytes(32, "big"), n, 0) for n in numbers)
    assert built.root == golden["root"]
    assert len(built.pages) == sum(golden["pages"])


def documented() -> dict[str, tuple[str, bytes]]:
    """The hex examples of docs/format.md: name → (id as written, bytes)."""
    found = re.findall(
        r"<!-- example: ([a-z-]+) -->\n(?:id `([0-9a-f]{64})`\n\n)?```\n([0-9a-f\s]+)```",
        DOCUMENT.read_text("utf-8"),
    )
    return {name: (id, bytes.fromhex(text)) for name, id, text in found}


def test_the_document_shows_every_kind_and_only_true_bytes() -> None:
    shown = documented()
    assert DOCUMENT.read_text("utf-8").count("<!-- example: ") == len(shown)
    for name, (id, data) in shown.items():
        golden = vector(name)
        assert data == golden["block" if name in BLOCKS else "payload"], name
        expected = golden.get("id", golden.get("hash", b""))
        assert id == expected.hex(), name
    assert {*BLOCKS, "operation", "manifest-first"} <= set(shown)
    assert {vector(name).get("kind") for name in shown} >= {kind.name.lower() for kind in Kind}


@pytest.mark.parametrize("names", [Kind, State, Index], ids=["kinds", "states", "indexes"])
def test_the_document_numbers_every(names: type[IntEnum]) -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    numbered = {(int(number), name.upper()) for number, name in rows}
    assert {(member.value, member.name) for member in names} <= numbered
    assert len(rows) == len(Kind) + len(State) + len(Index)


def test_the_document_names_every_table_and_counter() -> None:
    text = DOCUMENT.read_text("utf-8")
    section = text.split("\n## Local store\n")[1].split("\n## ")[0]
    for name in Tables._fields:
        assert f"`{name}`" in section, name
    counters = (tables.FORMAT_KEY, tables.UUID_KEY, tables.PROJECT_KEY, tables.FEATURES_KEY)
    names = [key.decode() for key in (*counters, tables.NEXT_BLOCK_KEY)]
    for name in (*names, tables.GENERATION, tables.GC_EPOCH, tables.CREATED_KEY.decode()):
        assert f"`{name}`" in section, name


def test_the_document_quotes_every_limit() -> None:
    limits = importlib.import_module("castore.model.limits")
    units = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| ([\d,]+) ?(KiB|MiB|) *\|", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    quoted = {name: int(number.replace(",", "")) * units[unit] for name, number, unit in rows}
    assert len(quoted) == len(rows)
    actual = {name: value for name, value in vars(limits).items() if name.isupper()}
    del actual["KIB"], actual["MIB"]
    assert quoted == actual
