"""One full value of every kind, with every field in use, as the golden vectors have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from castore.model.artifact_set import (
    Artifact,
    ExternalContent,
    FileContent,
    TreeContent,
    decode_set,
    encode_set,
    make_set,
)
from castore.model.ids import Kind
from castore.model.manifest import (
    Agent,
    CheckResult,
    Manifest,
    Source,
    SpecPin,
    decode_manifest,
    encode_manifest,
)
from castore.model.note import Note, decode_note, encode_note
from castore.model.pages import (
    Branching,
    Entry,
    Part,
    decode_layout,
    decode_tree,
    encode_layout,
    encode_tree,
)


def some_id(number: int) -> bytes:
    """An id that is easy to tell from others."""
    return bytes([number]) * 32


SET = make_set(
    [
        Artifact("report", "document", "markdown", "report.md", FileContent(some_id(1), 14, 0)),
        Artifact("site", "page", "folder", "out/site", TreeContent(some_id(2), 9000)),
        Artifact("model", "binary", "binary", "model.bin", ExternalContent(some_id(3), 1 << 33)),
        Artifact("elsewhere", "dataset", "csv", "far.csv", ExternalContent()),
    ]
)
MANIFEST = Manifest(
    set=some_id(4),
    spec=SpecPin(
        "weekly-report", "1.1", some_id(5), some_id(6), "report.spec.yaml",
        (("summary.schema.json", some_id(7)),),
    ),
    branch="weekly-report",
    at=1_795_000_000_000_000,
    number=7,
    parents=(some_id(9), some_id(8)),
    state="partial",
    agent=Agent("writer", "7"),
    author="ana@example.org",
    run="run-81",
    trace="4bf92f3577b34da6a3ce929d0e0e4736",
    workspace="reports",
    operation="op-1",
    folder="out",
    message="October numbers",
    sources=(
        Source("report", some_id(10), "table", "sales-data@approved", "sales-data@v3", "",
               some_id(11), 512, True, "observed"),
        Source(uri="https://example.org/rates.csv"),
    ),
    checks=(
        CheckResult("report", "format", "passed"),
        CheckResult("site", "non_empty", "failed", "holds no file"),
    ),
    carried=(("model", some_id(12)),),
    missing=("appendix",),
    failed=("site",),
    titles={"report": "Weekly report"},
    locations=(("model", "s3://bucket/model.bin", "etag-1"),),
    attachments=(("log.txt", some_id(13), 77),),
    meta={"label.team": "sales", "attempt": 2, "dirty": False, "raw": b"\x00\xff"},
    ext={"x-later": b"kept"},
)  # fmt: skip
NOTE = Note(
    scope=bytes(range(16)),
    target=some_id(14),
    target_kind="manifest",
    subject="review",
    value="approved",
    by="Ana <ana@example.org>",
    at=1_795_000_000_000_001,
    text="Checked the numbers.",
    after=(some_id(15),),
    replaces=(some_id(16), some_id(17)),
    meta={"policy": "approvals=1"},
    ext={"x-later": b""},
)
TREE = [
    Entry(b"a.txt", "file", some_id(18), 5, 0),
    Entry(b"run.sh", "file", some_id(19), 31, 1),
    Entry(b"sub", "tree", some_id(20), 70_000, 0),
]
TREE_ABOVE = [Branching(b"a", some_id(21), 300, 1 << 20), Branching(b"k", some_id(22), 900, 0)]
LAYOUT = [Part(some_id(23), 65_536), Part(some_id(24), 16_384)]
LAYOUT_ABOVE = [Part(some_id(25), 1 << 24), Part(some_id(26), 1 << 35)]


def brief(value: object) -> str:
    """How a value is named in the list of tests."""
    return repr(value)[:60]


class Sample(NamedTuple):
    """An encoded sample and how its kind is read and written again."""

    kind: Kind
    payload: bytes
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def _tree(page: Any) -> bytes:
    return encode_tree(page.level, page.entries)


def _layout(page: Any) -> bytes:
    return encode_layout(page.level, page.parts)


SAMPLES = {
    "layout": Sample(Kind.LAYOUT, encode_layout(0, LAYOUT), decode_layout, _layout),
    "layout-above": Sample(Kind.LAYOUT, encode_layout(1, LAYOUT_ABOVE), decode_layout, _layout),
    "tree": Sample(Kind.TREE, encode_tree(0, TREE), decode_tree, _tree),
    "tree-above": Sample(Kind.TREE, encode_tree(1, TREE_ABOVE), decode_tree, _tree),
    "set": Sample(Kind.SET, encode_set(SET), decode_set, encode_set),
    "manifest": Sample(Kind.MANIFEST, encode_manifest(MANIFEST), decode_manifest, encode_manifest),
    "note": Sample(Kind.NOTE, encode_note(NOTE), decode_note, encode_note),
}
