"""Diffs: of text, JSON, CSV, folders, and whole versions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import castore
from castore.content.trees import build_tree, walk_tree
from castore.model.ids import Id, content_id
from castore.model.pages import TREE, Entry
from castore.store.diff import diff_versions
from castore.store.diff_content import diff_contents
from castore.store.diff_csv import Unreadable as NoTable
from castore.store.diff_csv import diff_csv
from castore.store.diff_json import Unreadable as NoJson
from castore.store.diff_json import diff_json
from castore.store.diff_text import Budget, diff_text, gaps, match
from castore.store.diff_trees import diff_folders

LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n", "é\r\n"]), max_size=40)
TAIL = st.sampled_from(["", "end", "a"])


def patched(old: str, diff: list[str]) -> str:
    """What `patch` makes of a text: the inverse of what is tested, written the other way round."""
    before = old.split("\n")
    last = before.pop()
    lines = [line + "\n" for line in before] + ([last] if last else [])
    result: list[str] = []
    at = 0
    for index, line in enumerate(diff):
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            first = int(start) - (1 if count != "0" else 0)
            result += lines[at:first]
            at = first
            continue
        bare = index + 1 < len(diff) and diff[index + 1].startswith("\\")
        text = line[1:] + ("" if bare else "\n")
        if line[0] in " -":
            assert lines[at] == text
            at += 1
        if line[0] in " +":
            result.append(text)
    return "".join(result + lines[at:])


@given(LINES, LINES, TAIL, TAIL, st.sampled_from([0, 3]), st.sampled_from([5, 40, 10_000]))
def test_a_text_diff_applied_to_the_old_text_gives_the_new(
    old: list[str], new: list[str], old_tail: str, new_tail: str, context: int, steps: int
) -> None:
    before, after = "".join(old) + old_tail, "".join(new) + new_tail
    found = diff_text(before, after, context=context, steps=steps)
    lines = [line for hunk in found.hunks for line in (hunk.header, *hunk.lines)]
    assert patched(before, lines) == after
    assert found.added == sum(line[0] == "+" for line in lines)
    assert found.removed == sum(line[0] == "-" for line in lines)


@given(st.lists(st.integers(0, 4), max_size=25), st.lists(st.integers(0, 4), max_size=25))
def test_matches_are_common_runs_in_order_and_gaps_are_the_rest(
    old: list[int], new: list[int]
) -> None:
    matches = match(old, new, Budget())
    rebuilt_old: list[int] = []
    spans = sorted(
        [("=", m.old, m.old + m.length, m.new, m.new + m.length) for m in matches]
        + [("!", *gap) for gap in gaps(matches, len(old), len(new))],
        key=lambda span: (span[1], span[3]),
    )
    at_new = 0
    for kind, i, i_end, j, j_end in spans:
        assert j == at_new
        at_new = j_end
        rebuilt_old += old[i:i_end]
        if kind == "=":
            assert old[i:i_end] == new[j:j_end]
    assert rebuilt_old == old
    assert at_new == len(new)


def test_one_changed_line_in_many_is_one_small_hunk() -> None:
    old = "".join(f"{number}\n" for number in range(50_000))
    found = diff_text(old, old.replace("\n25000\n", "\nchanged\n"))
    assert (found.added, found.removed, len(found.hunks)) == (1, 1, 1)
    assert found.hunks[0].header == "@@ -24998,7 +24998,7 @@"
    assert not found.note


def test_texts_too_different_to_compare_within_the_budget_say_so() -> None:
    old = "".join("ab"[number % 3 % 2] + "\n" for number in range(60_000))
    new = "".join("ba"[number % 7 % 2] + "\n" for number in range(60_000))
    found = diff_text(old, new)
    assert "too different" in found.note


def test_a_line_without_end_is_marked() -> None:
    assert list(diff_text("a\nb\n", "a\nb").lines()) == [
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+b",
        "\\ No newline at end of file",
    ]


def test_an_added_text_starts_at_line_zero_of_nothing() -> None:
    assert list(diff_text("", "a\n").lines()) == ["@@ -0,0 +1 @@", "+a"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "x", "", "~/"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab/~"), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_json_has_changes_exactly_when_it_differs(old: object, new: object) -> None:
    before, after = json.dumps(old), json.dumps(new)
    found = diff_json(before, after)
    assert bool(found.changes) == (
        json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True)
    )
    json.dumps(found.as_json())


def test_json_is_compared_by_path_and_lists_are_aligned() -> None:
    old = {"rows": [{"id": 1}, {"id": 2}, {"id": 3}], "a/b": 1, "gone": [1]}
    new = {"rows": [{"id": 0}, {"id": 1}, {"id": 2}, {"id": 4}], "a/b": 2, "new": {"x": None}}
    assert list(diff_json(json.dumps(old), json.dumps(new)).lines()) == [
        '+ /rows/0: {"id": 0}',
        "~ /rows/3/id: 3 → 4",
        "~ /a~1b: 1 → 2",
        "- /gone: [1]",
        '+ /new: {"x": null}',
    ]


def test_json_numbers_and_booleans_are_not_mixed_up() -> None:
    assert list(
        diff_json('{"a": 1, "b": true, "c": 1.0}', '{"a": true, "b": 1, "c": 1.00}').lines()
    ) == [
        "~ /a: 1 → true",
        "~ /b: true → 1",
        "~ /c: 1.0 → 1.00",
    ]


@pytest.mark.parametrize(
    "text", ["{", '{"a": 1, "a": 2}', "NaN", "[" * 100_000, "[" * 300 + "]" * 300, "9" * 5000]
)
def test_what_is_no_plain_json_is_refused(text: str) -> None:
    with pytest.raises(NoJson):
        diff_json(text, "1")


def test_long_json_values_are_cut_on_screen_and_left_out_of_data() -> None:
    found = diff_json('{"a": 1}', json.dumps({"a": "x" * 5000}))
    (line,) = found.lines()
    assert len(line) < 300
    assert found.as_json()["changes"][0] == {
        "path": "/a",
        "change": "changed",
        "old": 1,
        "omitted": True,
    }


def test_csv_rows_are_told_apart_by_a_unique_first_column() -> None:
    found = diff_csv("id,n\n1,a\n2,b\n3,c\n", "id,n,z\n3,c,9\n1,A,9\n4,d,9\n")
    assert found.key == "first column id"
    assert found.columns_added == ("z",)
    assert [row.line() for row in found.rows] == ["- 2: 2, b", "~ 1: n: a → A", "+ 4: 4, d, 9"]


def test_csv_rows_without_a_key_are_told_apart_by_position() -> None:
    found = diff_csv("k,n\nx,1\nx,2\nx,3\n", "k,n\nx,0\nx,1\nx,2\nx,4\n")
    assert found.key == "row position"
    assert [row.line() for row in found.rows] == ["+ 1: x, 0", "~ 4: n: 3 → 4"]


def test_csv_quotes_delimiters_and_ragged_rows() -> None:
    found = diff_csv('a\tb\n1\t"x\ty"\n', 'a\tb\n1\t"x\tz"\textra\n', delimiter="\t")
    assert [cell.column for row in found.rows for cell in row.cells] == ["b", "(beyond the header)"]
    for text in ("", "a,a\n1,2\n", 'a,b\n"unclosed'):
        with pytest.raises(NoTable):
            diff_csv(text, "a,b\n1,2\n")


# Folders.

Folder = dict[str, "bytes | Folder"]
CONTENTS = st.sampled_from([b"1" * 32, b"2" * 32, b"3" * 32])
FOLDERS = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), CONTENTS, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), CONTENTS | inner, max_size=4),
    max_leaves=12,
)


class Pages:
    """Folders built in memory, and the pages of them that were read."""

    def __init__(self) -> None:
        self.stored: dict[Id, bytes] = {}
        self.read: list[Id] = []

    def build(self, folder: Folder) -> Entry:
        rows = []
        for name, item in folder.items():
            if isinstance(item, bytes):
                rows.append(Entry(name.encode(), "file", item, len(item), 0))
            else:
                rows.append(self.build(item)._replace(name=name.encode()))
        built = build_tree(rows)
        self.stored.update(built.pages)
        return Entry(b"", TREE, built.root, built.size, 0)

    def page(self, id: Id) -> bytes:
        self.read.append(id)
        return self.stored[id]

    def flat(self, root: Id) -> dict[str, Id]:
        """Files by path, and empty folders by path with a slash."""
        found: dict[str, Id] = {}
        entries = list(walk_tree(self.stored.__getitem__, root))
        for path, entry in entries:
            if entry.kind != TREE:
                found[path.decode()] = entry.id
            elif not any(other.startswith(path + b"/") for other, _ in entries):
                found[path.decode() + "/"] = b""
        return found


@given(FOLDERS, FOLDERS)
def test_folder_diff_is_the_difference_of_their_files(old: Folder, new: Folder) -> None:
    pages = Pages()
    left, right = pages.build(old).id, pages.build(new).id
    before, after = pages.flat(left), pages.flat(right)
    # A folder that is there on both sides neither appeared nor went when it is empty on one.
    for one, other in ((before, after), (after, before)):
        for path in [path for path in one if path.endswith("/")]:
            if any(found.startswith(path) for found in other):
                del one[path]
                other.pop(path, None)
    found = list(diff_folders(pages.page, left, right))
    assert {c.path for c in found if c.change == "added"} == after.keys() - before.keys()
    assert {c.path for c in found if c.change == "removed"} == before.keys() - after.keys()
    assert {c.path for c in found if c.change == "changed"} == {
        path for path in before.keys() & after.keys() if before[path] != after[path]
    }


@given(st.data())
def test_big_folders_read_only_the_pages_that_differ(data: st.DataObject) -> None:
    pages = Pages()
    seed = data.draw(st.integers(0, 1000))
    old: Folder = {f"{content_id(b'%d %d' % (seed, n)).hex()[:9]}": b"1" * 32 for n in range(5000)}
    names = sorted(old)
    new: Folder = dict(old)
    changed = data.draw(st.lists(st.sampled_from(names[:50]), max_size=3, unique=True))
    for name in changed:
        new[name] = b"2" * 32
    gone = data.draw(st.lists(st.sampled_from(names[50:100]), max_size=2, unique=True))
    for name in gone:
        del new[name]
    left, right = pages.build(old).id, pages.build(new).id
    pages.read.clear()
    found = {change.path: change.change for change in diff_folders(pages.page, left, right)}
    assert found == {**dict.fromkeys(changed, "changed"), **dict.fromkeys(gone, "removed")}
    assert len(pages.read) <= 4 + 4 * (len(changed) + len(gone))


def test_a_changed_mode_is_its_own_change() -> None:
    pages = Pages()
    rows = [Entry(b"f", "file", b"1" * 32, 4, mode) for mode in (0, 1)]
    roots = [build_tree([row]) for row in rows]
    for built in roots:
        pages.stored.update(built.pages)
    (change,) = diff_folders(pages.page, roots[0].root, roots[1].root)
    assert change.change == "mode"


# Versions.


@pytest.fixture
def versions(store: castore.Store, out: Path, tmp_path: Path) -> list[castore.Version]:
    (out / "blob.bin").write_bytes(b"\0\1\2")
    (out / "old.txt").write_text("bye\n")
    first = store.commit("out", cwd=tmp_path, message="one").version
    (out / "report.md").write_text("# Report\n\nAll is better.\n")
    (out / "metrics.json").write_text('{"rows": 4, "ok": true}\n')
    (out / "data" / "a.csv").write_text("id,value\n1,2\n2,5\n")
    (out / "data" / "new.txt").write_text("new\n")
    (out / "blob.bin").write_bytes(b"\0\1\3")
    (out / "old.txt").unlink()
    (out / "data" / "deep" / "run.sh").chmod(0o644)
    second = store.commit("out", cwd=tmp_path, message="two").version
    return [first, second]


def test_versions_differ_in_artifacts_and_files(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    found = diff_versions(store, versions[0], versions[1])
    changes = {change.name: change for change in found.artifacts}
    assert {name: change.change for name, change in changes.items()} == {
        "blob.bin": "changed",
        "data": "changed",
        "metrics.json": "changed",
        "old.txt": "removed",
        "report.md": "changed",
    }
    assert [(file.path, file.change) for file in changes["data"].files] == [
        ("a.csv", "changed"),
        ("deep/run.sh", "mode"),
        ("new.txt", "added"),
    ]
    assert found.unchanged == 0
    assert not found.identical
    record = json.loads(json.dumps(found.as_json()))
    assert record["artifacts"][3]["new"] is None
    assert any(line.startswith("- old.txt") for line in found.lines())


def test_contents_are_compared_in_the_form_of_their_format(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    found = diff_versions(store, versions[0], versions[1])
    contents = {content.name: content for content in diff_contents(store, found.artifacts)}
    assert {name: content.form for name, content in contents.items()} == {
        "blob.bin": "binary",
        "data/a.csv": "csv",
        "data/new.txt": "text",
        "metrics.json": "json",
        "old.txt": "text",
        "report.md": "text",
    }
    assert "~ /rows: 3 → 4" in list(contents["metrics.json"].lines())
    assert "+All is better." in list(contents["report.md"].lines())
    assert list(contents["old.txt"].lines())[1] == "+++ /dev/null"
    for content in contents.values():
        json.dumps(content.as_json())


def test_big_contents_are_compared_by_size_and_digest(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    found = diff_versions(store, versions[0], versions[1])
    contents = list(diff_contents(store, found.artifacts, content_bytes=2))
    assert {content.form for content in contents} == {"binary"}
    assert all("larger than 2 bytes" in content.note for content in contents)


def test_a_first_version_is_compared_with_nothing_and_one_with_itself(
    store: castore.Store, versions: list[castore.Version]
) -> None:
    first = diff_versions(store, None, versions[0])
    assert {change.change for change in first.artifacts} == {"added"}
    assert len(first.artifacts) == 5
    same = diff_versions(store, versions[0], versions[0])
    assert same.identical
    assert same.unchanged == 5
    assert list(same.lines()) == []


def test_spec_checks_and_sources_differ(store: castore.Store, tmp_path: Path) -> None:
    spec = tmp_path / "s.spec.yaml"
    text = (
        "spec: s\nversion: {}\nartifacts:\n"
        "  - {{name: a, type: document, format: text, path: a.txt{}}}\n"
    )
    (tmp_path / "a.txt").write_text("a\n")
    source = store.commit("in=a.txt", name="input", cwd=tmp_path).version
    spec.write_text(text.format(1, ""))
    old = store.commit(spec=spec, cwd=tmp_path).version
    spec.write_text(text.format(2, ", checks: {non_empty: true}"))
    new = store.commit(spec=spec, cwd=tmp_path, sources=("input",)).version
    found = diff_versions(store, old, new)
    assert found.identical
    assert [change.field for change in found.spec] == ["version", "contract"]
    assert [source.target for source in found.sources_added] == [source.id]
    assert [(check.check, check.old, check.new) for check in found.checks] == [
        ("non_empty", "", "passed")
    ]
    back = diff_versions(store, new, old)
    assert len(back.sources_removed) == 1
    assert back.checks[0].new == ""
    assert any("version: 1 → 2" in line for line in found.lines())


def test_file_and_folder_of_one_name(store: castore.Store, out: Path, tmp_path: Path) -> None:
    old = store.commit("out", cwd=tmp_path).version
    (out / "report.md").unlink()
    (out / "report.md").mkdir()
    (out / "report.md" / "page.md").write_bytes(os.urandom(10) + b"\0")
    new = store.commit("out", cwd=tmp_path).version
    (change,) = diff_versions(store, old, new).artifacts
    assert [(file.path, file.change) for file in change.files] == [("page.md", "added")]
    assert "content" in change.fields
    names = [content.name for content in diff_contents(store, [change])]
    assert names == ["report.md", "report.md/page.md"]
