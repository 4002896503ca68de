"""Writes `format-1/`: values, their bytes and ids, by an encoder that shares no code with castore.

Run it only for a new format; a test compares its output with the files and with castore's encoders.
In the JSON files bytes stand as {"$hex": "…"}.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from blake3 import blake3

FOLDER = Path(__file__).parent / "format-1"
CONTEXT = "castore format 1 object: "
NUMBERS = {"chunk": 1, "layout": 2, "tree": 3, "set": 4, "manifest": 5, "note": 6}


def head(count: int, fix: int, fix_max: int, codes: list[int]) -> bytes:
    """A msgpack header: one byte up to `fix_max`, else a code and 1, 2 or 4 bytes of length."""
    if count <= fix_max:
        return bytes([fix | count])
    for width, code in zip((1, 2, 4)[-len(codes):], codes, strict=True):  # fmt: skip
        if count < 1 << 8 * width:
            return bytes([code]) + count.to_bytes(width, "big")
    raise ValueError(count)


def integer(value: int) -> bytes:
    """An integer in its shortest form."""
    if -32 <= value <= 127:
        return struct.pack("b", value)
    for form, code in (("B", 0xCC), (">H", 0xCD), (">I", 0xCE), (">Q", 0xCF)):
        if 0 <= value < 1 << 8 * struct.calcsize(form):
            return bytes([code]) + struct.pack(form, value)
    for form, code in (("b", 0xD0), (">h", 0xD1), (">i", 0xD2), (">q", 0xD3)):
        if -(1 << 8 * struct.calcsize(form) - 1) <= value < 0:
            return bytes([code]) + struct.pack(form, value)
    raise ValueError(value)


def canonical(value: Any) -> bytes:
    """The canonical bytes of a value."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, str):
        data = value.encode()
        return head(len(data), 0xA0, 31, [0xD9, 0xDA, 0xDB]) + data
    if isinstance(value, bytes):
        return head(len(value), 0, -1, [0xC4, 0xC5, 0xC6]) + value
    if isinstance(value, list):
        return head(len(value), 0x90, 15, [0xDC, 0xDD]) + b"".join(map(canonical, value))
    rows = sorted((key.encode(), key, item) for key, item in value.items())
    body = b"".join(canonical(key) + canonical(item) for _, key, item in rows)
    return head(len(rows), 0x80, 15, [0xDE, 0xDF]) + body


def listed(*items: Any) -> list[Any]:
    """A list in stored order: by the canonical bytes of its items."""
    return sorted(items, key=canonical)


def key(name: str) -> bytes:
    """The key of structures called `name`."""
    return blake3(b"", derive_key_context=CONTEXT + name).digest()


def name_of(kind: str, payload: bytes) -> bytes:
    """The id of an object."""
    return blake3(payload).digest() if kind == "chunk" else blake3(payload, key=key(kind)).digest()


def block(
    codec: int, flags: int, depth: int, bases: list[bytes], members: list[tuple[str, bytes]],
    frame: bytes,
) -> bytes:  # fmt: skip
    """A stored block; members are (kind, raw bytes)."""
    table = b"".join(bases)
    for kind, raw in members:
        table += name_of(kind, raw) + struct.pack("<BI", NUMBERS[kind], len(raw))
    size = sum(len(raw) for _, raw in members)
    start = struct.pack("<BBBBIHH", 1, codec, flags, depth, size, len(bases), len(members))
    checked = start + bytes(8) + table + (frame if flags & 1 else b"")
    return start + blake3(checked, key=key("block")).digest(8) + table + frame


def delta_frame() -> bytes:
    """A zstd frame for b"new " + the first 60 bytes of a 64-byte dictionary, by hand (RFC 8878).

    One compressed block: 4 raw literals, then one sequence: literal length 4 (code 4), match length
    60 (code 39, which is 59, and 1 in 3 bits), offset 68 = 4 written + 64 back (value 71 = code 6,
    which is 64, and 7 in 6 bits); the three tables are one repeated code each.
    """
    literals = bytes([4 << 3]) + b"new "
    sequences = bytes([1, 0b01_01_01_00, 4, 6, 39]) + struct.pack("<H", 1 << 9 | 7 << 3 | 1)
    body = literals + sequences
    header = b"\x28\xb5\x2f\xfd" + bytes([0x20, 64])
    return header + (len(body) << 3 | 2 << 1 | 1).to_bytes(3, "little") + body


def some_id(number: int) -> bytes:
    """An id that is easy to tell from others."""
    return bytes([number]) * 32


def file(number: int, size: int, mode: int) -> dict[str, Any]:
    """The content of a file artifact."""
    return {"kind": "file", "digest": some_id(number), "size": size, "mode": mode}


def artifact(name: str, type: str, format: str, path: str, content: Any) -> dict[str, Any]:
    """One artifact of a set."""
    return {"name": name, "type": type, "format": format, "path": path, "content": content}


SET = {
    "artifacts": [
        artifact("elsewhere", "dataset", "csv", "far.csv",
                 {"kind": "external", "digest": b"", "size": -1}),
        artifact("model", "binary", "binary", "model.bin",
                 {"kind": "external", "digest": some_id(3), "size": 1 << 33}),
        artifact("report", "document", "markdown", "report.md", file(1, 14, 0)),
        artifact("site", "page", "folder", "out/site",
                 {"kind": "tree", "id": some_id(2), "size": 9000}),
    ],
    "ext": {},
}  # fmt: skip
FIRST: dict[str, Any] = {
    "agent": {"id": "", "version": ""}, "at": 1_795_000_000_000_000, "attachments": [],
    "author": "unknown", "branch": "out", "carried": [], "checks": [], "ext": {}, "failed": [],
    "folder": "out", "locations": [], "message": "", "meta": {}, "missing": [], "number": 1,
    "operation": "", "parents": [], "run": "unknown", "set": some_id(4), "sources": [],
    "spec": {"contract": b"", "files": [], "id": "out", "path": "", "source": b"", "version": ""},
    "state": "complete", "titles": {}, "trace": "", "workspace": "",
}  # fmt: skip
MANIFEST: dict[str, Any] = {
    **FIRST,
    "agent": {"id": "writer", "version": "7"},
    "attachments": [["log.txt", some_id(13), 77]],
    "author": "ana@example.org",
    "branch": "weekly-report",
    "carried": [["model", some_id(12)]],
    "checks": listed(
        ["report", "format", "passed", ""], ["site", "non_empty", "failed", "holds no file"]
    ),
    "ext": {"x-later": b"kept"},
    "failed": ["site"],
    "locations": [["model", "s3://bucket/model.bin", "etag-1"]],
    "message": "October numbers",
    "meta": {"label.team": "sales", "attempt": 2, "dirty": False, "raw": b"\x00\xff"},
    "missing": ["appendix"],
    "number": 7,
    "operation": "op-1",
    "parents": [some_id(9), some_id(8)],
    "run": "run-81",
    "sources": listed(
        {"artifact": "report", "target": some_id(10), "target_artifact": "table", "uri": "",
         "selector": "sales-data@approved", "label": "sales-data@v3", "digest": some_id(11),
         "size": 512, "pinned": True, "evidence": "observed"},
        {"artifact": "", "target": b"", "target_artifact": "", "selector": "", "label": "",
         "uri": "https://example.org/rates.csv", "digest": b"", "size": -1, "pinned": False,
         "evidence": "claimed"},
    ),
    "spec": {"contract": some_id(6), "files": [["summary.schema.json", some_id(7)]],
             "id": "weekly-report", "path": "report.spec.yaml", "source": some_id(5),
             "version": "1.1"},
    "state": "partial",
    "titles": {"report": "Weekly report"},
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
    "workspace": "reports",
}  # fmt: skip
NOTE = {
    "after": [some_id(15)], "at": 1_795_000_000_000_001, "by": "Ana <ana@example.org>",
    "ext": {"x-later": b""}, "meta": {"policy": "approvals=1"},
    "replaces": [some_id(16), some_id(17)], "scope": bytes(range(16)), "subject": "review",
    "target": {"id": some_id(14), "kind": "manifest"}, "text": "Checked the numbers.",
    "value": "approved",
}  # fmt: skip
OBJECTS: dict[str, tuple[str, Any]] = {
    "chunk": ("chunk", b"# Weekly report\n"),
    "layout": ("layout", {"level": 0, "parts": [[some_id(23), 65_536], [some_id(24), 16_384]]}),
    "layout-above": (
        "layout", {"level": 1, "parts": [[some_id(25), 1 << 24], [some_id(26), 1 << 35]]},
    ),
    "tree": ("tree", {"level": 0, "entries": [
        [b"a.txt", "file", some_id(18), 5, 0], [b"run.sh", "file", some_id(19), 31, 1],
        [b"sub", "tree", some_id(20), 70_000, 0],
    ]}),
    "tree-above": ("tree", {"level": 1, "entries": [
        [b"a", some_id(21), 300, 1 << 20], [b"k", some_id(22), 900, 0],
    ]}),
    "set": ("set", SET),
    "manifest-first": ("manifest", FIRST),
    "manifest": ("manifest", MANIFEST),
    "note": ("note", NOTE),
}  # fmt: skip
CONTRACT = {
    "artifacts": [{
        "checks": {"encoding": "utf-8", "max_size": 5_000_000, "min_size": -1, "non_empty": True,
                   "schema": some_id(7)},
        "format": "json", "name": "summary", "path": "summary.json", "required": True,
        "storage": "stored", "type": "document", "uri": "",
    }],
    "spec": "weekly-report", "version": "1.10",
}  # fmt: skip
OPERATION = {
    "at": 1_795_000_000_000_002, "by": "ana@example.org", "detail": {"number": 7}, "op": "commit",
    "op_id": "op-1", "prev": b"", "refs": [["heads/weekly-report", some_id(9), some_id(27)]],
    "why": "October numbers",
}  # fmt: skip


def object_vector(kind: str, value: Any) -> dict[str, Any]:
    """A vector of one object."""
    payload = value if isinstance(value, bytes) else canonical(value)
    return {"kind": kind, "value": value, "payload": payload, "id": name_of(kind, payload)}


def operation_vector() -> dict[str, Any]:
    """Two records of the operation log, the second chained to the first."""
    first = canonical(OPERATION)
    hash = name_of("operation", first)
    following = canonical({**OPERATION, "op": "undo", "op_id": "op-2", "prev": hash})
    return {
        "value": OPERATION, "payload": first, "hash": hash, "next_payload": following,
        "next_hash": name_of("operation", following), "heads_log": f"1 {hash.hex()}\n",
    }  # fmt: skip


def cut(rows: list[list[Any]], least: int) -> list[list[list[Any]]]:
    """Rows in pages, by the rule of docs/format.md."""
    if len(rows) <= 1024:
        return [rows]
    pages: list[list[list[Any]]] = [[]]
    for row in rows:
        last = pages[-1]
        if len(last) == 1024 or (len(last) >= least and blake3(last[-1][0]).digest()[0] == 0):
            pages.append([])
        pages[-1].append(row)
    if len(pages[-1]) < least:
        short = pages.pop()
        if len(pages[-1]) + len(short) <= 1024:
            pages[-1] += short
        else:
            lacking = least - len(short)
            pages.append(pages[-1][-lacking:] + short)
            del pages[-2][-lacking:]
    return pages


@cache
def unlucky_numbers(count: int) -> list[int]:
    """The first numbers N for which a page may end after the name `file-N`."""
    found = (n for n in itertools.count() if blake3(b"file-%d" % n).digest()[0] == 0)
    return list(itertools.islice(found, count))


def paged_vector(numbers: Iterable[int]) -> dict[str, Any]:
    """A folder of files `file-N` (N without leading zeros) of N bytes, ids N as 32 bytes."""
    names = sorted((b"file-%d" % n, n) for n in numbers)
    rows: list[list[Any]] = [[name, "file", n.to_bytes(32, "big"), n, 0] for name, n in names]
    level, pages = 0, []
    totals = {name: (1, n) for name, n in names}
    while True:
        above = []
        groups = cut(rows, 2 if level else 1)
        for group in groups:
            page = name_of("tree", canonical({"entries": group, "level": level}))
            entries = sum(totals[row[0]][0] for row in group)
            above.append([group[0][0], page, entries, sum(totals[row[0]][1] for row in group)])
        pages.append(len(groups))
        if len(above) == 1:
            return {"files": len(names), "pages": pages, "root": above[0][1]}
        rows, level = above, level + 1
        totals = {row[0]: (row[2], row[3]) for row in rows}


def block_vectors() -> dict[str, dict[str, Any]]:
    """Blocks of content, of metadata, and a delta against the content."""
    base = bytes(range(64))
    new = b"new " + base[:60]
    pair = [("tree", canonical(OBJECTS["tree"][1])), ("note", canonical(NOTE))]
    return {
        "block-content": {
            "members": [["chunk", base]], "block": block(0, 0, 0, [], [("chunk", base)], base),
        },
        "block-metadata": {
            "members": [list(member) for member in pair],
            "block": block(0, 1, 0, [], pair, pair[0][1] + pair[1][1]),
        },
        "block-delta": {
            "members": [["chunk", new]], "bases": [name_of("chunk", base)], "dictionary": base,
            "block": block(
                2, 0, 1, [name_of("chunk", base)], [("chunk", new)], delta_frame()
            ),
        },
    }  # fmt: skip


def pack_vector(upload: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pack of content and a delta against it, and the index of both."""
    made = block_vectors()
    blocks = [made["block-content"]["block"], made["block-delta"]["block"]]
    pack = bytes.fromhex("894341 53504b 0d0a") + struct.pack("<BBHI", 1, 2, 0, 0) + bytes(range(16))
    offsets = []
    for data in blocks:
        pack += struct.pack("<I", len(data))
        offsets.append(len(pack))
        pack += data
    pack += struct.pack("<II", 0, len(blocks))
    id = blake3(pack, key=key("pack")).digest()
    raws = [made[name]["members"][0][1] for name in ("block-content", "block-delta")]
    base, new = [name_of("chunk", raw) for raw in raws]
    index = bytes.fromhex("894341 534958 0d0a") + struct.pack("<BBHI", 1, 0, 0, 0)
    index += bytes(range(16, 32)) + struct.pack("<IIII", 1, 2, 1, 2) + upload + id
    row = "<IQIIBBBBIHH"
    index += struct.pack(row, 0, offsets[0], len(blocks[0]), len(raws[0]), 0, 0, 0, 0, 0, 0, 1)
    index += struct.pack(row, 0, offsets[1], len(blocks[1]), len(raws[1]), 2, 0, 1, 0, 0, 1, 1)
    index += base
    for member, at, raw in sorted([(base, 0, raws[0]), (new, 1, raws[1])]):
        index += member + struct.pack("<IHBBI", at, 0, 1, 0, len(raw))
    found = {"type": 2, "blocks": blocks, "offsets": offsets, "payload": pack, "id": id}
    return found, {
        "upload": upload, "pack": id, "members": sorted([base, new]), "payload": index,
        "id": blake3(index, key=key("index")).digest(),
    }  # fmt: skip


def root_vector(index: dict[str, Any]) -> dict[str, Any]:
    """A root that lists an index, and has tags that stand in a page."""
    names = [f"tags/v{n}-old" for n in range(1000, 3500)]
    parts = [canonical({"rows": part}) for part in (names[:2000], names[2000:])]
    pages = [{"payload": p, "id": blake3(p, key=key("list")).digest()} for p in parts]
    value: dict[str, Any] = {
        "features": {"optional": ["seen-by"], "read": [], "write": []},
        "forgotten": {"lists": [], "rows": [[some_id(5), 7, "ana", "forget", "not needed"]]},
        "format": 1,
        "gc_round": 2,
        "indexes": [[index["upload"], index["id"], 2, 2, len(index["payload"])]],
        "notes": {"count": 1, "hash": blake3(some_id(8), key=key("notes")).digest()},
        "project": bytes(range(32, 48)),
        "purged": {"lists": [], "rows": []},
        "refs": {"lists": [], "rows": [["heads/out", some_id(6)], ["tags/t", some_id(7)]]},
        "serial": 41,
        "tombs": {
            "lists": [
                [page["id"], index["upload"], rows]
                for page, rows in zip(pages, (2000, 500), strict=True)
            ],
            "rows": [],
        },
        "uploads": {(b"u" * 16).hex(): 1},
        "uuid": bytes(range(48, 64)),
        "writes": {(b"c" * 16).hex(): [b"w" * 16]},
    }
    return {"value": value, "pages": pages, "payload": canonical(value)}


def bundle_vector(pack: dict[str, Any], index: dict[str, Any]) -> dict[str, Any]:
    """A bundle of that pack and index, with a ref to a version that it begins after."""
    empty = {"lists": [], "rows": []}
    root = {
        "features": {"optional": [], "read": [], "write": []},
        "forgotten": empty,
        "format": 1,
        "gc_round": 0,
        "indexes": [[index["upload"], index["id"], 2, 2, len(index["payload"])]],
        "notes": {"count": 0, "hash": blake3(b"", key=key("notes")).digest()},
        "project": bytes(range(32, 48)),
        "purged": empty,
        "refs": {"lists": [], "rows": [["heads/out", some_id(6)]]},
        "serial": 1,
        "tombs": empty,
        "uploads": {},
        "uuid": index["upload"],
        "writes": {},
    }
    value = {
        "at": 1_790_000_000_000_000,
        "by": "ana@example.org",
        "needs": [[some_id(6), "out@v2"]],
        "root": canonical(root),
    }
    head = canonical(value)
    id = blake3(head, key=key("bundle")).digest()
    payload = bytes.fromhex("894341 534244 0d0a") + struct.pack("<BBHI", 1, 0, 0, 0)
    payload += index["upload"]
    for type, part, data in (
        (1, pack["id"], pack["payload"]), (2, index["id"], index["payload"]), (4, id, head),
    ):  # fmt: skip
        payload += struct.pack("<B7xQ", type, len(data)) + part + data
    return {"value": value, "head": head, "payload": payload, "id": id}


def vectors() -> dict[str, dict[str, Any]]:
    """Every vector by the name of its file."""
    names = (
        "layout", "tree", "set", "manifest", "note", "contract", "operation", "block", "pack",
        "index", "list", "notes", "bundle",
    )  # fmt: skip
    made: dict[str, dict[str, Any]] = {"keys": {name: key(name) for name in names}}
    made |= {name: object_vector(kind, value) for name, (kind, value) in OBJECTS.items()}
    contract = canonical(CONTRACT)
    made["contract"] = {"value": CONTRACT, "payload": contract, "id": name_of("contract", contract)}
    made["tree-paged"] = paged_vector(range(3000))
    made["tree-unlucky"] = paged_vector(unlucky_numbers(2101))
    pack, index = pack_vector(b"u" * 16)
    made |= {"pack": pack, "index": index, "root": root_vector(index)}
    made["bundle"] = bundle_vector(pack, index)
    return made | {"operation": operation_vector()} | block_vectors()


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, vector in vectors().items():
        text = json.dumps(plain(vector), indent=1, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
