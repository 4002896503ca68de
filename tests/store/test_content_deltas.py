"""Content stored as deltas of the version before: through sessions, branches and collections."""

from __future__ import annotations

from pathlib import Path

import pytest

import castore
from castore.content.blocks import Block, decode_block
from castore.database.reading import Reading
from tests.store.gcscene import drop, whole


def deltas_of(store: castore.Store) -> list[Block]:
    """Every delta of content that is stored."""

    def read(tables: Reading) -> list[Block]:
        blocks = [decode_block(data, "") for _, data in tables.blocks()]
        return [block for block in blocks if block.bases and not block.metadata]

    return store.database.read(read)


def text(version: int, rows: int = 3000) -> bytes:
    lines = [f"row {n} of a report, {n * 7919 % 10007}\n" for n in range(rows)]
    for edit in range(version):
        lines[edit * 37 % rows] = f"row edited in {edit}\n"
    return "".join(lines).encode()


def commit(store: castore.Store, branch: str, data: bytes, **more: bytes) -> castore.Version:
    with store.session(branch) as session:
        session.write("report", data)
        for name, other in more.items():
            session.write(name, other)
        return session.commit()


def test_an_artifact_is_a_delta_of_the_one_before(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        for version in range(5):
            commit(store, "weekly", text(version), other=b"another")
        assert len(deltas_of(store)) == 4
        for version in range(5):
            assert store.read_bytes(f"weekly@v{version + 1}:report") == text(version)
        whole(store)


def test_an_artifact_of_another_number_is_a_delta_of_the_one_before(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        for version, name in enumerate(("report-5.0.9", "report-5.0.10", "report-5.1", "summary")):
            with store.session("weekly") as session:
                session.write(name, text(version))
                session.commit()
            assert len(deltas_of(store)) == min(version, 2)
            assert store.read_bytes(f"weekly@latest:{name}") == text(version)
        whole(store)


SPEC = """spec: weekly
version: '{}'
artifacts:
  - name: report
    type: document
    format: markdown
    path: report.md
"""


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_new_branch_goes_on_from_the_newest_of_the_spec(tmp_path: Path, version: str) -> None:
    spec = tmp_path / "weekly.spec.yaml"
    with castore.init(tmp_path) as store:
        for at, branch in enumerate(("main", "attempt")):
            spec.write_text(SPEC.format("1" if not at else version))
            with store.session(branch, spec=spec) as session:
                session.write("report", text(at))
                session.commit()
        assert [block.depth for block in deltas_of(store)] == [1]
        whole(store)


def test_folders_and_streams_too(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    (folder / "deep").mkdir(parents=True)
    with castore.init(tmp_path) as store:
        for version in range(3):
            for number in range(9):
                rows = 40 + 900 * number
                (folder / "deep" / f"{number}.txt").write_bytes(text(version, rows))
            with store.session("site") as session:
                session.add("site", folder)
                session.add("stream", iter([text(version), text(version)]))
                session.commit()
        assert {block.depth for block in deltas_of(store)} <= {1, 2}
        for number in range(9):
            found = store.read_bytes(f"site@v2:site/deep/{number}.txt")
            assert found == text(1, 40 + 900 * number)
        assert store.read_bytes("site:stream") == 2 * text(2)
        whole(store)


def test_versions_stay_whole_when_those_below_go(tmp_path: Path) -> None:
    with castore.init(tmp_path) as store:
        for version in range(6):
            commit(store, "weekly" if version % 2 else "other", text(version))
            commit(store, f"kept-{version}", text(version))
        drop(store, "weekly")
        drop(store, "kept-1")
        drop(store, "kept-2")
        store.gc(grace=0)
        whole(store)
        for version in (0, 3, 4, 5):
            assert store.read_bytes(f"kept-{version}:report") == text(version)
