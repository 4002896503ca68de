"""Lineage and impact against a naive walk over all manifests, and each rule by an example."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import castore
from castore import errors
from castore.model.ids import Kind, content_id
from castore.model.manifest import Manifest, Source, SpecPin, encode_manifest
from castore.store.branches import create_branch
from castore.store.lineage import (
    CARRIED,
    HELD,
    SOURCE,
    Walking,
    _Step,
    _used,
    _users,
    impact,
    lineage,
)  # fmt: skip
from castore.store.publish import metadata_block
from castore.store.walk import Edge, Node, Walk, node_kind, walk_record
from tests.store.conftest import ticking

ARTIFACTS = ("a", "b")
Steps = Callable[[Walking, Node], Iterator[_Step]]
URIS = ("https://example.org/in", "https://example.org/other")


def commit(
    store: castore.Store,
    branch: str,
    sources: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    text: str = "",
) -> castore.Version:
    """A version with the artifacts a and b, or with some of them made anew and the rest carried."""
    with store.session(branch, sources=sources, only=only) as session:
        for name in only or ARTIFACTS:
            session.write(name, f"{name} {text or store.now()}")
        return session.commit()


def names(store: castore.Store, walk: Walk) -> list[str]:
    """The nodes as `label:artifact` or what they are called, in order."""
    return [_name(node.id, walk) for node in walk.nodes]


def _name(id: str, walk: Walk) -> str:
    node = next(node for node in walk.nodes if node.id == id)
    if node.version is None:
        return id
    return node.version.label + (f":{node.artifact}" if node.artifact else "")


def arrows(walk: Walk) -> list[str]:
    """The edges as `user <- used (relation)`, sorted."""
    return sorted(
        f"{_name(edge.user, walk)} <- {_name(edge.used, walk)} ({edge.relation})"
        for edge in walk.edges
    )


# By definition, over every manifest of the store.


def _id(version: bytes, artifact: str) -> str:
    return version.hex() + (f":{artifact}" if artifact else "")


def naive_used(manifest: Manifest, artifact: str) -> Iterator[tuple[str, str]]:
    """The (node, relation) that one node was made from."""
    carried = dict(manifest.carried)
    if artifact in carried:
        yield _id(carried[artifact], artifact), CARRIED
        return
    for source in manifest.sources:
        if "" in (source.artifact, artifact) or source.artifact == artifact:
            target = source.target
            yield _id(target, source.target_artifact) if target else source.uri, SOURCE
    if not artifact:
        yield from ((_id(id, name), CARRIED) for name, id in carried.items())


def naive_users(all: dict[bytes, Manifest], node: str, *, first: bool) -> Iterator[tuple[str, str]]:
    """The (node, relation) made from one node."""
    where, _, artifact = node.partition(":") if "://" not in node else (node, "", "")
    own = {} if "://" in node or first else dict(all[bytes.fromhex(where)].carried)
    for id, manifest in all.items():
        for source in manifest.sources:
            if (
                source.target.hex() == where
                and (
                    source.target_artifact in ("", artifact)
                    or (not artifact and source.target_artifact not in own)
                )
            ) or source.uri == node:
                yield _id(id, source.artifact), SOURCE
        for name, maker in manifest.carried:
            if maker.hex() == where and artifact in ("", name):
                yield _id(id, name), CARRIED


def naive(
    all: dict[bytes, Manifest], begin: str, back: bool, depth: int | None
) -> tuple[dict[str, int], set[tuple[str, str, str]]]:
    """Every node with its distance, and every edge as (user, used, relation)."""
    distances, edges, level = {begin: 0}, set(), [begin]
    while level and (depth is None or distances[level[0]] < depth):
        following = []
        for node in level:
            if back:
                where, _, artifact = node.partition(":")
                known = bytes.fromhex(where) if "://" not in node else b""
                steps = list(naive_used(all[known], artifact)) if known in all else []
            else:
                steps = list(naive_users(all, node, first=node == begin))
            for other, relation in steps:
                edges.add((node, other, relation) if back else (other, node, relation))
                if other not in distances:
                    distances[other] = distances[node] + 1
                    following.append(other)
        level = following
    return distances, edges


@st.composite
def histories(draw: st.DrawFn) -> list[Manifest]:
    """Versions of two branches in the order they were made, as sessions would record them."""
    all: list[Manifest] = []
    ids: list[bytes] = []
    tips: dict[str, int] = {}
    for number in range(draw(st.integers(2, 10))):
        branch = draw(st.sampled_from(["x", "y"]))
        above = tips.get(branch)
        only = draw(st.sampled_from([(), (), ("a",), ("b",)])) if above is not None else ()
        carried: dict[str, bytes] = {}
        if above is not None and only:
            earlier = dict(all[above].carried)
            carried = {n: earlier.get(n, ids[above]) for n in ARTIFACTS if n not in only}
        place = st.tuples(st.sampled_from(ids or [b""]), st.sampled_from(["", *ARTIFACTS]))
        chosen = draw(st.lists(st.one_of(place, st.sampled_from(URIS)), max_size=3, unique=True))
        made = st.sampled_from(["", *(only or ARTIFACTS)])
        sources = {
            Source(artifact=draw(made), uri=it, selector=it)
            if isinstance(it, str)
            else Source(artifact=draw(made), target=it[0], target_artifact=it[1], selector="s")
            for it in chosen
            if isinstance(it, str) or it[0]
        }
        manifest = Manifest(
            set=content_id(b"set %d" % number), spec=SpecPin(branch), branch=branch,
            at=1_000 + draw(st.integers(0, 2)) + 2 * number,
            number=all[above].number + 1 if above is not None else 1,
            parents=(ids[above],) if above is not None else (),
            sources=tuple(sources), carried=tuple(carried.items()), run=f"run-{number}",
        )  # fmt: skip
        tips[branch] = number
        all.append(manifest)
        ids.append(manifest.id)
    return all


@contextmanager
def stored(all: list[Manifest]) -> Iterator[tuple[castore.Store, dict[bytes, Manifest]]]:
    """A store of these versions, and what it holds by id."""
    with tempfile.TemporaryDirectory() as folder, castore.init(folder, now=ticking()) as store:
        blocks = [metadata_block(Kind.MANIFEST, encode_manifest(one)) for one in all]
        store.database.write(lambda tables: tables.put_blocks([block for block, _ in blocks]))
        yield store, {id: store.version(id).manifest for _, id in blocks}


@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_as_a_naive_walk_over_all_manifests(made: list[Manifest], data: st.DataObject) -> None:
    with stored(made) as (store, all):
        starts = [_id(id, artifact) for id in all for artifact in ("", *ARTIFACTS)]
        begins = data.draw(st.lists(st.sampled_from(starts), min_size=3, max_size=8))
        depth = data.draw(st.sampled_from([None, None, 0, 1, 2]))
        for begin in (*begins, *URIS):
            for walk, back in (
                (_walk(store, begin, _used, depth), True),
                (_walk(store, begin, _users, depth), False),
            ):
                distances, edges = naive(all, begin, back, depth)
                assert {node.id: node.distance for node in walk.nodes} == distances
                assert {(e.user, e.used, e.relation) for e in walk.edges} == edges
                assert len(set(walk.edges)) == len(walk.edges)
                whole, _ = naive(all, begin, back, None)
                assert walk.complete is (len(whole) == len(distances))
                assert walk.nodes[0].id == begin


def _walk(store: castore.Store, begin: str, steps: Steps, depth: int | None) -> Walk:
    """A walk from a node by its id; selectors would need refs and sets."""
    where, _, artifact = begin.partition(":") if "://" not in begin else ("", "", "")
    version = store.version(bytes.fromhex(where)) if where else None
    node = Node(begin, version, artifact, uri="" if where else begin)
    return Walking(store, depth, 1_000).walk(node, steps)


@settings(max_examples=30, deadline=None)
@given(histories(), st.integers(1, 12))
def test_a_limit_tells_of_the_nearest_and_that_there_is_more(
    made: list[Manifest], limit: int
) -> None:
    with stored(made) as (store, all):
        for verb in (store.lineage, store.impact):
            for id in all:
                whole = verb(id.hex())
                some = verb(id.hex(), limit=limit)
                assert some.nodes == whole.nodes[:limit]
                assert some.complete is (len(whole.nodes) <= limit)
                known = {node.id for node in some.nodes}
                assert all_known(some, known)


def all_known(walk: Walk, known: set[str]) -> bool:
    """Whether edges lead between nodes that are told."""
    return all(edge.user in known and edge.used in known for edge in walk.edges)


def test_back_through_sources_and_what_is_carried(store: castore.Store) -> None:
    commit(store, "raw", (URIS[0],))
    commit(store, "clean", ("a=raw:b",))
    commit(store, "clean", ("raw@v1",), ("b",))
    commit(store, "report", ("clean:a", "clean@v2:b"))
    walk = store.lineage("report")
    assert walk.complete
    assert names(store, walk) == [
        "report@v1", "clean@v2:a", "clean@v2:b", "clean@v1:a", "raw@v1", "raw@v1:b", URIS[0],
    ]  # fmt: skip
    assert arrows(walk) == [
        "clean@v1:a <- raw@v1:b (source)",
        "clean@v2:a <- clean@v1:a (carried)",
        "clean@v2:b <- raw@v1 (source)",
        f"raw@v1 <- {URIS[0]} (source)",
        f"raw@v1:b <- {URIS[0]} (source)",
        "report@v1 <- clean@v2:a (source)",
        "report@v1 <- clean@v2:b (source)",
    ]
    source = next(edge.source for edge in walk.edges if edge.used == URIS[0])
    assert source is not None
    assert source.uri == URIS[0]
    assert names(store, store.lineage("clean:a")) == [
        "clean@v2:a", "clean@v1:a", "raw@v1:b", URIS[0],
    ]  # fmt: skip


def test_forward_through_users_and_carriers(store: castore.Store) -> None:
    commit(store, "raw", (URIS[0],))
    commit(store, "clean", ("a=raw:b",))
    commit(store, "clean", (), ("b",))
    commit(store, "clean", (), ("b",))
    commit(store, "report", ("clean@v3:a",))
    commit(store, "other", ("clean@v3:b",))
    assert names(store, store.impact(URIS[0])) == [
        URIS[0], "raw@v1", "clean@v1:a", "clean@v2:a", "clean@v3:a", "report@v1",
    ]  # fmt: skip
    assert arrows(store.impact("clean@v1:a")) == [
        "clean@v2:a <- clean@v1:a (carried)",
        "clean@v3:a <- clean@v1:a (carried)",
        "report@v1 <- clean@v3:a (source)",
    ]
    assert names(store, store.impact("clean@v3")) == ["clean@v3", "other@v1", "report@v1"]
    assert names(store, store.impact("raw@v1:a")) == ["raw@v1:a"]


def test_forward_from_any_version_of_a_branch(store: castore.Store) -> None:
    for text in ("1", "2", "3", "4"):
        commit(store, "raw", text=text)
    commit(store, "report", ("raw@v1",))
    commit(store, "chart", ("raw@v3:b",))
    commit(store, "book", ("report",))
    walk = store.impact("raw")
    assert [(node_kind(node), node.distance) for node in walk.nodes] == [
        ("branch", 0), ("version", 0), ("version", 0),
        ("version", 1), ("version", 1), ("version", 2),
    ]  # fmt: skip
    assert names(store, walk)[1:] == ["raw@v3", "raw@v1", "chart@v1", "report@v1", "book@v1"]
    assert {(edge.used, edge.relation) for edge in walk.edges if edge.used == "raw"} == {
        ("raw", "version")
    }
    assert names(store, store.impact("raw:a"))[1:] == ["raw@v1:a", "report@v1", "book@v1"]
    assert store.impact("raw", depth=0).nodes == walk.nodes[:1]
    assert names(store, store.impact("raw@latest")) == ["raw@v4"]
    assert [node.id for node in store.impact("book").nodes] == ["book"]
    assert walk_record(store, walk)["nodes"][0]["label"] == "raw"
    with pytest.raises(errors.RefNotFound, match="no artifact 'c'"):
        store.impact("raw:c")


def test_forward_from_a_branch_to_what_another_one_carries_on(store: castore.Store) -> None:
    commit(store, "raw")
    commit(store, "raw", (), ("b",))
    commit(store, "raw", text="other")
    create_branch(store, "fork", store.resolve("raw@v2").version, by="ann")
    commit(store, "fork", (), ("b",))
    assert "fork@v3:a" in names(store, store.impact("raw"))
    assert "fork@v3:a" in names(store, store.impact("raw:a"))


def test_what_a_set_only_carries_was_not_made_from_its_sources(store: castore.Store) -> None:
    commit(store, "raw")
    commit(store, "clean")
    commit(store, "clean", ("raw",), ("b",))
    commit(store, "of-a", ("clean:a",))
    commit(store, "of-b", ("clean:b",))
    assert names(store, store.impact("raw@v1")) == ["raw@v1", "clean@v2", "of-b@v1"]
    assert names(store, store.lineage("of-a")) == ["of-a@v1", "clean@v2:a", "clean@v1:a"]


def test_a_content_begins_at_whoever_has_it(store: castore.Store) -> None:
    commit(store, "raw", (URIS[1],), text="fixed")
    commit(store, "raw", (), ("b",))
    commit(store, "report", ("raw@v2:a",))
    digest = blake3(b"a fixed").hexdigest()
    back = store.lineage(digest)
    assert arrows(back) == [
        f"{digest} <- raw@v1:a (held)",
        f"raw@v1:a <- {URIS[1]} (source)",
    ]
    assert names(store, store.impact(digest)) == [
        digest, "report@v1", "raw@v1:a", "raw@v2:a",
    ]  # fmt: skip
    relations = {edge.relation for edge in store.impact(digest).edges}
    assert relations == {HELD, CARRIED, SOURCE}


def test_a_file_outside_by_its_digest(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("1,2\n")
    commit(store, "report", (f"file://{tmp_path}/in.csv",))
    digest = blake3(b"1,2\n").hexdigest()
    walk = store.impact(digest)
    assert names(store, walk) == [digest, "report@v1"]
    assert store.lineage(digest).nodes[0].digest.hex() == digest
    used = store.lineage("report").nodes[1]
    assert (used.uri, used.digest.hex(), used.size) == (f"file://{tmp_path}/in.csv", digest, 4)


def test_a_file_on_disk_is_known_by_its_bytes(store: castore.Store, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("1,2\n")
    commit(store, "raw", (given.as_uri(),), text="fixed")
    commit(store, "report", ("raw:a",))
    assert names(store, store.impact(given))[1:] == ["raw@v1", "report@v1"]
    (tmp_path / "copy").write_text("a fixed")
    assert names(store, store.lineage(str(tmp_path / "copy")))[1:] == ["raw@v1:a", given.as_uri()]
    given.write_text("mended\n")
    assert names(store, store.impact(given)) == [given.as_uri(), "raw@v1", "report@v1"]
    (tmp_path / "new").write_text("nobody knows")
    for verb in (store.lineage, store.impact):
        with pytest.raises(errors.RefNotFound, match="holds the bytes"):
            verb(tmp_path / "new")
        with pytest.raises(errors.NotFound, match="does not exist"):
            verb("./not/there")


def test_a_folder_on_disk_is_an_artifact_or_a_version(
    store: castore.Store, out: Path, tmp_path: Path
) -> None:
    (out / "data" / ".casignore").write_text("scratch\n")
    (out / "data" / "scratch").write_text("never stored")
    store.commit(str(out))
    store.commit(str(out))
    assert names(store, store.lineage(out / "data"))[1:] == ["out@v2:data", "out@v1:data"]
    store.checkout("out", tmp_path / "release")
    assert names(store, store.lineage(tmp_path / "release")) == ["out@v2"]
    (tmp_path / "release" / "report.md").write_text("other")
    with pytest.raises(errors.RefNotFound, match=r"report\.md differs"):
        store.lineage(tmp_path / "release")


def test_a_walk_as_data(store: castore.Store) -> None:
    commit(store, "raw", (URIS[0],))
    gone = commit(store, "gone")
    commit(store, "report", ("b=raw:a", "gone"))
    store.database.write(lambda tables: tables.drop_object_row(gone.id))
    record = walk_record(store, store.lineage("report"))
    assert record["begin"] == record["nodes"][0]["id"] == store.resolve("report").version.id.hex()
    assert [(node["kind"], node["label"], node["stored"]) for node in record["nodes"]] == [
        ("version", "report@v1", True),
        ("version", "gone@v1", False),
        ("artifact", "raw@v1", True),
        ("uri", None, False),
    ]
    branch = walk_record(store, store.impact("raw"))["nodes"][0]
    assert (branch["kind"], branch["stored"]) == ("branch", True)
    assert [edge["relation"] for edge in record["edges"]] == ["source"] * 3
    assert record["edges"][1]["source"]["artifact"] == "b"


def test_versions_that_are_not_here_are_told_by_their_id(store: castore.Store) -> None:
    raw = commit(store, "raw")
    report = commit(store, "report", ("raw:a",))
    store.database.write(lambda tables: tables.drop_object_row(raw.id))
    walk = store.lineage("report")
    assert [node.id for node in walk.nodes] == [report.id.hex(), f"{raw.id.hex()}:a"]
    assert walk.nodes[1].version is None
    assert walk.nodes[1].artifact == "a"
    assert walk.complete


def test_many_users_of_one_moment_and_a_bound(store: castore.Store, tmp_path: Path) -> None:
    store.now = lambda: 1_800_000_000_000_000
    commit(store, "raw")
    for number in range(6):
        commit(store, f"user{number}", ("raw",))
    walk = store.impact("raw@v1", limit=4)
    assert not walk.complete
    assert len(walk.nodes) == 4
    assert len(store.impact("raw@v1").nodes) == 7


def test_batches_go_on_where_the_last_ended(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castore.store.lineage._BATCH", 2)
    commit(store, "raw")
    expected = [f"user{number}@v1" for number in range(7)]
    for number in range(7):
        commit(store, f"user{number}", ("raw",))
    assert names(store, store.impact("raw@v1")) == ["raw@v1", *reversed(expected)]


def test_what_is_read_is_bounded_as_well(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, "raw")
    for number in range(5):
        commit(store, f"user{number}", ("raw:b",))
    assert store.impact("raw@v1:a", limit=1).complete
    monkeypatch.setattr("castore.store.lineage._READS", 3)
    assert not store.impact("raw@v1:a", limit=1).complete
    monkeypatch.setattr("castore.store.lineage._EDGES", 0)
    assert store.impact("raw@v1:b", limit=10).edges == ()


@pytest.mark.parametrize(
    ("what", "error"),
    [("nobody", errors.RefNotFound), ("0" * 64, errors.RefNotFound), ("raw:z", errors.RefNotFound)],
)
def test_what_is_not_there(store: castore.Store, what: str, error: type[Exception]) -> None:
    commit(store, "raw")
    for verb in (lineage, impact):
        with pytest.raises(error):
            verb(store, what)


@pytest.mark.parametrize("options", [{"limit": 0}, {"depth": -1}])
def test_bounds_that_are_none(store: castore.Store, options: dict[str, int]) -> None:
    commit(store, "raw")
    with pytest.raises(errors.InvalidInput):
        store.lineage("raw", **options)  # type: ignore[arg-type]


def test_a_uri_that_nobody_used_ends_where_it_began(store: castore.Store) -> None:
    for walk in (store.impact("s3://none/at/all"), store.lineage("s3://none/at/all")):
        assert [node.uri for node in walk.nodes] == ["s3://none/at/all"]
        assert walk.complete
        assert walk.edges == ()


def test_edges_are_values() -> None:
    assert Edge("a", "b", SOURCE) == Edge("a", "b", SOURCE)
    with pytest.raises(AttributeError):
        Edge("a", "b", SOURCE).user = "c"  # type: ignore[misc]


@pytest.mark.parametrize("steps", [1, 2, 10_000])
@settings(max_examples=30, deadline=None)
@given(made=histories())
def test_a_branch_leads_to_what_each_of_its_versions_does(made: list[Manifest], steps: int) -> None:
    with stored(made) as (store, all), pytest.MonkeyPatch.context() as patch:
        patch.setattr("castore.store.lineage._STEPS", steps)
        line = {id for id, manifest in all.items() if manifest.branch == "x"}
        if not line:
            return
        tip = max(line, key=lambda id: all[id].number)
        store.database.write(lambda tables: tables.add_if_new("heads/x", tip))
        walk = Walking(store, None, 1_000).walk(Node("x", branch="x"), _users)
        used = {node.id for node in walk.nodes} - {"x"}
        expected = set[str]()
        for id in line:
            met = set(naive(all, id.hex(), False, None)[0])
            named = any(source.target == id for one in all.values() for source in one.sources)
            expected |= met if named else set()
        assert used == expected


def test_a_name_that_could_begin_an_id_is_told_with_what_is_near(store: castore.Store) -> None:
    commit(store, "facade")
    with pytest.raises(errors.RefNotFound, match="'facede'; did you mean facade") as caught:
        store.resolve("facede")
    assert caught.value.fix == "cas branch"
    with pytest.raises(errors.RefNotFound, match=r"begins with '012345'$") as caught:
        store.resolve("012345")
    assert caught.value.fix == "cas log"
