"""Finding artifacts by name, type, format and digest, newest first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

import castore
from castore import errors
from castore.store import find as find_module
from castore.store.find import Found, Wanted, find


@pytest.fixture
def versions(store: castore.Store, out: Path, tmp_path: Path) -> list[castore.Version]:
    (out / "data" / "deep" / "big.bin").write_bytes(os.urandom(800_000))
    first = store.commit("out", cwd=tmp_path).version
    (out / "report.md").write_text("changed")
    second = store.commit("out", cwd=tmp_path).version
    (tmp_path / "copy.csv").write_bytes((out / "data" / "a.csv").read_bytes())
    other = store.commit("copy.csv", name="other", cwd=tmp_path).version
    return [first, second, other]


def places(found: list[Found]) -> list[str]:
    return [
        f"{item.version.label}:{item.artifact.name}" + (f"/{item.path}" if item.path else "")
        for item in found
    ]


def test_by_name_with_wildcards(store: castore.Store, versions: list[castore.Version]) -> None:
    assert places(list(find(store, Wanted(name="report.*")))) == [
        "out@v2:report.md",
        "out@v1:report.md",
    ]
    assert places(list(find(store, Wanted(name="*.csv")))) == ["other@v1:copy.csv"]


def test_by_type_and_format_and_branch(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    by_format = places(list(find(store, Wanted(format="json"))))
    assert by_format == ["out@v2:metrics.json", "out@v1:metrics.json"]
    type = store.set_of(versions[0]).get("data")
    assert type is not None
    by_type = list(find(store, Wanted(type=type.type)))
    assert places(by_type) == ["out@v2:data", "out@v1:data"]
    assert places(list(find(store, Wanted(name="*", branch="other")))) == ["other@v1:copy.csv"]
    assert not list(find(store, Wanted(type=type.type, format="json")))


def test_by_branch_alone_and_a_branch_that_is_not_there(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    assert places(list(find(store, Wanted(branch="other")))) == ["other@v1:copy.csv"]
    assert not list(find(store, Wanted(name="nothing", branch="other")))
    with pytest.raises(errors.RefNotFound, match="did you mean other"):
        list(find(store, Wanted(branch="othre")))
    with pytest.raises(errors.InvalidInput, match="say what to find"):
        find(store, Wanted())


def test_by_digest_of_a_file_inside_folders_and_alone(
    store: castore.Store, versions: list[castore.Version], out: Path
) -> None:
    digest = blake3((out / "data" / "a.csv").read_bytes()).hexdigest()
    expected = ["other@v1:copy.csv", "out@v2:data/a.csv", "out@v1:data/a.csv"]
    assert places(list(find(store, Wanted(digest=digest)))) == expected
    assert places(list(find(store, Wanted(digest=digest[:8].upper())))) == expected
    assert places(list(find(store, Wanted(digest=digest, name="data")))) == expected[1:]
    assert places(list(find(store, Wanted(digest=digest), limit=1))) == expected[:1]


def test_by_digest_of_a_big_file_and_of_a_folder(
    store: castore.Store, versions: list[castore.Version], out: Path
) -> None:
    digest = blake3((out / "data" / "deep" / "big.bin").read_bytes()).hexdigest()
    assert places(list(find(store, Wanted(digest=digest)))) == [
        "out@v2:data/deep/big.bin",
        "out@v1:data/deep/big.bin",
    ]
    data = store.set_of(versions[1]).get("data")
    assert data is not None
    folder = data.content.id.hex()  # type: ignore[union-attr]
    assert places(list(find(store, Wanted(digest=folder)))) == ["out@v2:data", "out@v1:data"]


def test_a_digest_nobody_has_and_one_that_is_none(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    assert not list(find(store, Wanted(digest="0" * 64)))
    assert not list(find(store, Wanted(digest="0123456789")))
    for bad in ("abc", "xyzxyz", "0" * 65):
        with pytest.raises(errors.InvalidInput):
            list(find(store, Wanted(digest=bad)))


def test_forgotten_versions_are_left_out(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    from castore.database.tables import Removal

    store.database.write(
        lambda tables: tables.forget(versions[0].id, Removal(store.now(), "", "", ""))
    )
    assert places(list(find(store, Wanted(name="report.md")))) == ["out@v2:report.md"]


@pytest.mark.parametrize("batch", [1, 3, 256])
def test_every_version_is_looked_at_once_whatever_the_batch(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(find_module, "_BATCH", batch)
    moment = store.now()
    for number in range(8):
        # Pairs of versions share a moment: batches may not split or repeat them.
        monkeypatch.setattr(store, "now", lambda at=moment + number // 2 * 1000: at)
        with store.session(f"b{number}") as session:
            session.write("x.txt", f"{number}")
            session.commit()
    found = list(find(store, Wanted(name="x.*")))
    assert sorted(item.version.branch for item in found) == [f"b{n}" for n in range(8)]
    times = [item.version.manifest.at for item in found]
    assert times == sorted(times, reverse=True)


def test_a_find_as_data(store: castore.Store, versions: list[castore.Version]) -> None:
    (found,) = find(store, Wanted(name="copy.csv"))
    record = found.as_json()
    assert record["label"] == "other@v1"
    assert record["digest"] == blake3(store.read_bytes("other:copy.csv")).hexdigest()
    assert record["path"] is None


def test_incomplete_sets_are_not_found(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "s.spec.yaml").write_text(
        "spec: s\nversion: 1\nartifacts:\n"
        "  - {name: a, type: dataset, format: json, path: a.json}\n"
        "  - {name: b, type: dataset, format: json, path: b.json}\n"
    )
    (tmp_path / "a.json").write_text("[1]")
    spec = tmp_path / "s.spec.yaml"
    with pytest.raises(errors.IncompleteSet):
        store.commit(spec=spec, context=castore.Context(run="r1"))
    assert list(find(store, Wanted("a"))) == []
    (tmp_path / "b.json").write_text("[2]")
    store.commit(spec=spec, resume="r1")
    assert [found.version.manifest.complete for found in find(store, Wanted("a"))] == [True]
