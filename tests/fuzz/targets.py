"""What is fuzzed: each reader of bytes that castore did not just write, and what it may raise."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from castore.content.blocks import decode_block, encode_block
from castore.content.codecs import compress, decompress
from castore.content.deltas import raw_bytes
from castore.content.extents import block_length
from castore.content.stamps import Remembered, read_remembered
from castore.database.ancestry import Step, pack_step, read_step
from castore.database.datafile import HEADS_LOG, read_metas
from castore.database.headslog import last_head, read_heads
from castore.database.identity import (
    STORE_FILE,
    Features,
    Identity,
    decode_features,
    encode_features,
    identity_text,
    read_identity,
)
from castore.database.operations import decode_operation
from castore.database.tables import (
    BlockInfo,
    Removal,
    State,
    number_key,
    pack_block_info,
    pack_integer,
    pack_object,
    pack_removal,
    read_block_info,
    read_chunk_place,
    read_file,
    read_integer,
    read_number,
    read_object,
    read_objects,
    read_places,
    read_removal,
    read_text,
    split_ids,
)
from castore.errors import (
    CastoreError,
    CorruptObject,
    InvalidInput,
    InvalidSpec,
    ObjectNotFound,
    UnsupportedFormat,
)
from castore.model.artifact_set import Artifact, FileContent, decode_set, encode_set
from castore.model.ids import Id, Kind, parse_id
from castore.model.limits import KIB
from castore.model.manifest import decode_manifest, encode_manifest
from castore.model.note import decode_note, encode_note
from castore.model.pages import decode_layout, decode_tree, encode_layout, encode_tree
from castore.remote.bundle import BundleFile, decode_head
from castore.spec.parse import parse_policy, parse_spec
from castore.store.config import parse_config
from castore.store.context import parse_agent
from castore.store.moments import parse_age, parse_moment, parse_period
from castore.store.selectors import parse_selector
from castore.store.signatures import fingerprint, public_key
from castore.store.stages import (
    decode_header,
    decode_staged,
    encode_staged,
    worker_header,
)

GOLDEN: Final = Path(__file__).parents[1] / "golden"
NOW: Final = 1_795_000_000_000_000
_ID: Final = Id(bytes(range(32)))
_TEXT: Final = b"text of some length " * 50
_SPEC: Final = b"""\
spec: weekly-report
version: "1.1"
artifacts:
  - name: summary
    type: document
    format: markdown
    path: summary.md
    checks: {max_size: 5MB, non_empty: true, encoding: utf-8}
review: {approvals: 2, not_author: true, reviewers: [a@example.org]}
"""
_CONFIG: Final = b"""\
[gc]
grace = "30d"
[identity."a@example.org"]
kind = "person"
keys = ["ssh-ed25519 AAAA"]
[secrets]
allow = ["jwt"]
[signing]
key = "~/.ssh/id"
"""
_SIGNATURE: Final = (
    b"-----BEGIN SSH SIGNATURE-----\n"
    b"U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgAAECAwQFBgcICQoLDA0ODxAR\n"
    b"EhMUFRYXGBkaGxwdHh8AAAAHY2FzdG9yZQ==\n-----END SSH SIGNATURE-----\n"
)
_NEWER: Final = (CorruptObject, UnsupportedFormat)


class Target(NamedTuple):
    """A reader: what it is given, valid inputs to change, what it may raise for others."""

    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    raises: tuple[type[CastoreError], ...] = (CorruptObject,)


def _vectors(*names: str, field: str = "payload") -> list[bytes]:
    found = [json.loads((GOLDEN / "format-1" / f"{name}.json").read_text()) for name in names]
    return [bytes.fromhex(vector[field]["$hex"]) for vector in found]


def _exactly(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Any:
    """Decode; what is decoded must have these bytes and no others."""

    def read(data: bytes) -> object:
        value = decode(data)
        assert encode(value) == data
        return value

    return read


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Read what stands in a file of this name."""

    def decode(data: bytes) -> object:
        with tempfile.TemporaryDirectory(prefix="castore-fuzz-") as folder:
            Path(folder, name).write_bytes(data)
            return read(Path(folder))

    return decode


def _typed(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Read it as Python gives what was typed."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _metas(folder: Path) -> object:
    descriptor = os.open(folder / "data.mdb", os.O_RDONLY)
    try:
        return read_metas(descriptor, "data.mdb")
    finally:
        os.close(descriptor)


def _golden_file(name: str, size: int) -> bytes:
    with zipfile.ZipFile(GOLDEN / "format-1-store" / "store.zip") as packed:
        return packed.read(f".cas/{name}")[:size]


def _heads(folder: Path) -> object:
    found, last = read_heads(folder), last_head(folder)
    # Behind much that is no line it is not looked for.
    sought = (folder / HEADS_LOG).stat().st_size <= 4 * KIB
    assert last == (found[-1] if found else None) or (last is None and not sought)
    return found


def _bundle(path: Path) -> object:
    with BundleFile(path) as bundle:
        bundle.compare()
        return bundle.catalogue()


def _unloaded(id: Id) -> NoReturn:
    raise ObjectNotFound(f"{id.hex()} is not here")


def _salvaged(data: bytes) -> object:
    """What a salvage makes of a block whose check does not match."""
    block = decode_block(data, "block 1", checked=False)
    return raw_bytes(block, _unloaded, "block 1")


def _length(data: bytes) -> object:
    found = block_length(data)
    assert 0 <= found <= len(data)
    return found


def _remembered(data: bytes) -> object:
    row = read_remembered(data)
    return row.by_name() if row is not None else None


def _moments(text: str) -> object:
    first = parse_moment(text, NOW)
    assert 0 <= first <= parse_moment(text, NOW, last=True)
    return parse_period(text, NOW)


OBJECTS: Final[dict[str, Target]] = {
    "layout": Target(
        _exactly(decode_layout, lambda page: encode_layout(page.level, page.parts)),
        _vectors("layout", "layout-above"),
    ),
    "manifest": Target(
        _exactly(decode_manifest, encode_manifest), _vectors("manifest", "manifest-first"), _NEWER
    ),
    "note": Target(_exactly(decode_note, encode_note), _vectors("note"), _NEWER),
    "set": Target(_exactly(decode_set, encode_set), _vectors("set"), _NEWER),
    "tree": Target(
        _exactly(decode_tree, lambda page: encode_tree(page.level, page.entries)),
        _vectors("tree", "tree-above"),
    ),
}

BLOCKS: Final[dict[str, Target]] = {
    "block": Target(
        _exactly(lambda data: decode_block(data, "block 1"), encode_block),
        _vectors("block-content", "block-delta", "block-metadata", field="block"),
        _NEWER,
    ),
    "block-length": Target(_length, _vectors("block-content", "block-metadata", field="block")),
    "block-unchecked": Target(
        _salvaged,
        _vectors("block-content", "block-metadata", field="block"),
        (*_NEWER, ObjectNotFound),
    ),
    "zstd-frame": Target(
        lambda data: decompress(data, len(_TEXT), where="block 1"), [bytes(compress(_TEXT))]
    ),
    "remembered-files": Target(
        _remembered, [Remembered(1, b"a\0b", bytes(96), bytes(64)).pack()], ()
    ),
}

ROWS: Final[dict[str, Target]] = {
    "features": Target(
        _exactly(decode_features, encode_features),
        [encode_features(Features()), encode_features(Features(("a",), ("b", "c")))],
    ),
    "operation": Target(lambda data: decode_operation(1, data), _vectors("operation")),
    "row-block": Target(
        lambda data: read_block_info(data, 1), [pack_block_info(BlockInfo(9, 8, 7, True, (1, 2)))]
    ),
    "row-chunk": Target(read_chunk_place, [pack_object((1, 2, Kind.CHUNK, State.STORED))], ()),
    "row-file": Target(read_file, [bytes(12)], ()),
    "row-ids": Target(lambda data: split_ids(data, "objects"), [_ID, _ID + _ID]),
    "row-integer": Target(
        _exactly(lambda data: read_integer(data, "next block"), pack_integer), [pack_integer(7)]
    ),
    "row-number": Target(_exactly(read_number, number_key), [number_key(7)]),
    "row-object": Target(
        _exactly(lambda data: read_object(data, _ID), pack_object),
        [pack_object((1, 2, Kind.TREE, State.STORED))],
    ),
    "row-removal": Target(
        lambda data: read_removal(data, "purged"), [pack_removal(Removal(1, "a", "why", "op"))]
    ),
    "row-step": Target(
        _exactly(lambda data: read_step(data, _ID), pack_step),
        [pack_step(Step(1, b"", b"")), pack_step(Step(3, _ID, _ID))],
    ),
    "row-text": Target(lambda data: read_text(data, "meta"), ["naïve".encode()]),
    "rows-objects": Target(
        lambda data: (read_places(data), read_objects([data[:12], None])),
        [2 * pack_object((1, 2, Kind.TREE, State.STORED))],
    ),
    "stage-entry": Target(
        decode_staged,
        [encode_staged(Artifact("a", "data", "csv", "a.csv", FileContent(_ID, 9)))],
        _NEWER,
    ),
    "stage-header": Target(decode_header, [worker_header(1, 1)]),
}

FILES: Final[dict[str, Target]] = {
    "bundle": Target(
        _in_file("x.bundle", lambda folder: _bundle(folder / "x.bundle")),
        [*_vectors("bundle"), (GOLDEN / "format-1.bundle").read_bytes()],
        (CorruptObject, UnsupportedFormat),
    ),
    "bundle-head": Target(
        lambda data: decode_head(data, lambda _, __: b""), _vectors("bundle", field="head"), _NEWER
    ),
    "config": Target(lambda data: parse_config(data, "config.toml"), [_CONFIG], (InvalidInput,)),
    "heads-log": Target(
        _in_file(HEADS_LOG, _heads), [_golden_file(HEADS_LOG, 4096), b"1 " + b"ab" * 32], ()
    ),
    "identity": Target(
        _in_file(STORE_FILE, read_identity),
        [
            identity_text(Identity(bytes(16), bytes(range(16)))).encode(),
            b'{"project":"%b","format":1,"uuid":"%b"}' % (b"ab" * 16, b"cd" * 16),
        ],
        _NEWER,
    ),
    "meta-pages": Target(_in_file("data.mdb", _metas), [_golden_file("data.mdb", 8192)], _NEWER),
    "policy": Target(
        parse_policy,
        [b"review: {approvals: 2}\n", b"require: [approved, signed]\n"],
        (InvalidSpec,),
    ),
    "spec": Target(parse_spec, [_SPEC], (InvalidSpec,)),
}

TYPED: Final[dict[str, Target]] = {
    "age": Target(_typed(parse_age), [b"30d", b"0", b"12h"], (InvalidInput,)),
    "agent": Target(_typed(parse_agent), [b"writer", b"writer@7"], (InvalidInput,)),
    "id": Target(_typed(parse_id), [_ID.hex().encode()], (InvalidInput,)),
    "moment": Target(
        _typed(_moments),
        [b"2026-11-22", b"2026-11", b"last month", b"yesterday", b"this week"],
        (InvalidInput,),
    ),
    "selector": Target(
        _typed(parse_selector),
        [b"report@v3~1:summary/part.md", b"report@spec=1.1"],
        (InvalidInput,),
    ),
    "signature": Target(_typed(lambda text: fingerprint(public_key(text))), [_SIGNATURE], ()),
}

TARGETS: Final = {**OBJECTS, **BLOCKS, **ROWS, **FILES, **TYPED}
