"""Makes the golden store of format 1: run once per format, never again once released.

    python -m tests.golden.make_store

Writes `format-1-indexes-3-store/store.zip` (a `.cas` folder) and `store.json` beside it. Those in
`format-1-indexes-2-store` and `format-1-store` were made before, without notes, the latter with the
rows of version 1 of the indexes and without deltas.
"""

from __future__ import annotations

import itertools
import json
import random
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import castore
from castore import errors
from castore.store.branches import create_branch

HERE = Path(__file__).parent / "format-1-indexes-3-store"
SPEC = """\
spec: weekly
version: "1.0"
artifacts:
  - {name: summary, type: document, format: markdown, path: summary.md, title: Summary}
  - {name: rows, type: dataset, format: csv, path: rows.csv}
  - {name: pages, type: page, format: html, path: "pages/*.html", required: false}
"""


def fill(root: Path, store: castore.Store) -> None:
    """A little of everything that format 1 writes."""
    dice = random.Random(1)
    out = root / "out"
    (out / "deep" / "er").mkdir(parents=True)
    (out / "empty").mkdir()
    (out / "big.bin").write_bytes(dice.randbytes(700_000))
    (out / "text.txt").write_bytes(b"the same line again\n" * 30_000)
    (out / "run.sh").write_text("#!/bin/sh\n")
    (out / "run.sh").chmod(0o755)
    for number in range(40):
        (out / "deep" / "er" / f"ä {number}.txt").write_text(f"file {number}\n")
    context = castore.Context(author="ann@example.org", run="run-1", trace="t" * 32)
    store.commit("out", cwd=root, message="first", context=context, meta={"n": 1, "b": b"\0"})
    (out / "run.sh").write_text("#!/bin/sh\necho\n")
    store.commit("out", cwd=root, message="second", context=castore.Context(run="run-2"))
    (root / "weekly.spec.yaml").write_text(SPEC)
    (root / "summary.md").write_text("# Summary\n")
    (root / "rows.csv").write_text("a,b\n1,2\n")
    agent = castore.Context(agent=castore.Agent("writer", "7"), run="run-3", operation="op-1")
    store.commit(spec=root / "weekly.spec.yaml", context=agent, sources=("out@v1:text.txt",))
    (root / "rows.csv").write_text("a,b\n1\n")
    with suppress(errors.IncompleteSet):
        store.commit(spec=root / "weekly.spec.yaml", context=castore.Context(run="run-4"))
    (root / "rows.csv").write_text("a,b\n3,4\n")
    last = castore.Context(run="run-5")
    store.commit(spec=root / "weekly.spec.yaml", only=("rows",), context=last)
    site = root / "site"
    site.mkdir()
    for number in range(300):
        (site / f"{number:03}.html").write_text(f"page {number}\n")
    store.commit("site=site", cwd=root, name="site", context=castore.Context(run="run-6"))
    (site / "150.html").write_text("another page\n")
    store.commit("site=site", cwd=root, name="site", context=castore.Context(run="run-7"))
    store.tag("first", "out@v1", by="ann@example.org")
    create_branch(store, "team/side", store.resolve("out@v1").version, by="ann@example.org")
    store.request_review("weekly", by="ann@example.org", agent="writer@7", text="please")
    store.approve("weekly@v1", by="Ben <ben@example.org>", text="checked")
    store.approve("weekly@v2", by="ann@example.org")
    note = store.reject("weekly@v2", by="ben@example.org")
    store.dismiss(note.id.hex(), by="ann@example.org")
    store.reject("site@v2", by="ben@example.org")
    store.mark("weekly@v1", "published", by="ann@example.org")
    store.deploy("weekly@v1", "production", by="ann@example.org")
    store.comment("out", "by hand", by="ann@example.org")


def answers(store: castore.Store) -> dict[str, object]:
    """What the store says of itself, in full."""
    return {
        "log": [store.record(version) for version in store.log()],
        "tags": {name: version.id.hex() for name, version in store.tags()},
        "partials": [partial.as_json() for partial in store.partials()],
        "files": {
            f"{version.branch}@v{version.number}": [
                entry.as_json() for entry in store.files(version.id.hex())
            ]
            for version in store.log()
        },
    }


def main() -> None:
    ticks = itertools.count(1_790_000_000_000_000, 1_000_000)
    dice = random.Random(7)
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with castore.init(root, now=lambda: next(ticks), entropy=dice.randbytes) as store:
            fill(root, store)
            told = answers(store)
        (HERE / "store.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
        with zipfile.ZipFile(HERE / "store.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("store.json", "data.mdb", "heads.log", "config.toml"):
                archive.write(root / ".cas" / name, f".cas/{name}")


if __name__ == "__main__":
    main()
