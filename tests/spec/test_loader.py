"""Strict YAML: what is refused, where the fault is said to be, and that nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.cli.failure import describe_faults
from castore.errors import InvalidSpec
from castore.model.limits import SPEC_BYTES
from castore.spec.faults import Faults
from castore.spec.loader import ListNode, MapNode, ScalarNode, load
from castore.spec.parse import parse_spec
from tests.spec.samples import HEAD, ONE, faults, places

LAUGH = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 24)
)

HOSTILE = {
    "alias bomb": (LAUGH.encode(), "alias"),
    "merge bomb": (MERGE.encode(), "merge key"),
    "deep lists": (b"[" * 262_000, "nested deeper"),
    "deep mappings": (b"{a: " * 65_000, "nested deeper"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(700)).encode(), "nested deeper"),
    "deep dashes": (b"- " * 130_000, "nested deeper"),
    "question marks": (b"? " * 130_000, "as a key"),
    "huge scalar": (b"spec: " + b"a" * 250_000, "more than 65536 bytes"),
    "huge key": (b"? " + b"a" * 250_000 + b"\n: 1", "more than 65536 bytes"),
    "too long": (b"a" * (SPEC_BYTES + 1), "at most 262144"),
    "python tag": (b"!!python/object/apply:os.system [touch /tmp/owned]", "a tag"),
    "own tag": (b"spec: !x a", "a tag"),
    "non-specific tag": (b"spec: ! a", "a tag"),
    "tag directive": (b"%TAG ! tag:x,2000:\n---\nspec: a", "%TAG"),
    "many directives": (b"%TAG !e! a\n" * 20_000, "%TAG"),
    "anchor": (b"spec: &x a", "an anchor"),
    "undefined alias": (b"spec: *x", "an alias"),
    "recursive alias": (b"&a [*a]", "an alias"),
    "duplicate key": (b"spec: a\nspec: b", "stands here twice"),
    "duplicate keys": (b"a: 1\n" * 50_000, "stands here twice"),
    "many values": (b"- a: b\n" * 36_000, "values"),
    "second document": (b"spec: a\n---\nspec: b", "a second document"),
    "many documents": (b"--- a\n" * 40_000, "a second document"),
    "complex key": (b"? [a, b]\n: c", "as a key"),
    "NUL": (b"spec: a\0b", "NUL"),
    "control character": (b"spec: a\x1bb", "control character"),
    "binary": (bytes(range(256)) * 900, "not UTF-8"),
    "not UTF-8": (b"spec: \xff", "not UTF-8"),
    "UTF-16": ("spec: a".encode("utf-16"), "UTF-16"),
    "surrogate": (b'spec: "\\ud800"', "not YAML"),
    "tab": (b"spec:\n\ta: b", "not YAML"),
    "open quote": (b"spec: 'a", "not YAML"),
    "nothing": (b"", "empty"),
    "comments": (b"#\n" * 130_000, "empty"),
    "a list": (b"- a", "not a mapping"),
    "a word": (b"a", "not a mapping"),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused(name: str) -> None:
    data, expected = HOSTILE[name]
    messages = [fault["message"] for fault in faults(data)]
    assert any(expected in message for message in messages), messages[:5]
    assert len(messages) <= 1001


def test_scalars_stay_as_written() -> None:
    found = Faults()
    node = load(b"{a: 1.10, b: NO, c: 1e3, d: 12:30:45, e: 2024-01-01, f: 017, g: 1_000}", found)
    assert isinstance(node, MapNode)
    texts = [value.text for _, value in node.items if isinstance(value, ScalarNode)]
    assert texts == ["1.10", "NO", "1e3", "12:30:45", "2024-01-01", "017", "1_000"]
    assert not found


def test_nodes_know_their_place() -> None:
    node = load("# first\na:\n  - é: x\n    b: [1, 2]\n".encode(), Faults())
    assert isinstance(node, MapNode)
    inner = node.get("a")
    assert isinstance(inner, ListNode)
    item = inner.items[0]
    assert isinstance(item, MapNode)
    assert (item.line, item.column) == (3, 5)
    (_, x), (_, numbers) = item.items
    assert (x.line, x.column) == (3, 8)
    assert isinstance(numbers, ListNode)
    assert [(one.line, one.column) for one in numbers.items] == [(4, 9), (4, 12)]


def test_a_byte_order_mark_is_left_out() -> None:
    assert parse_spec(b"\xef\xbb\xbf" + (HEAD + ONE).encode()).id == "report"


def test_columns_count_characters() -> None:
    assert places(HEAD + ONE + "description: 'ééé' x\n") == [(5, 20)]
    assert faults("é: \xff".encode("latin-1"))[0]["column"] == 1


def test_a_bad_byte_has_its_line_and_column() -> None:
    (fault,) = faults("spec: é\nversion: ü".encode() + b"\xe9\n")
    assert (fault["line"], fault["column"]) == (2, 11)


def test_several_traps_are_all_reported() -> None:
    text = HEAD + "description: &a x\nstore: !t y\nbase: *a\nversion: 2\n" + ONE
    assert places(text) == [(3, 14), (4, 8), (5, 7), (6, 1)]


def test_faults_are_shown_with_line_and_caret() -> None:
    text = HEAD + "stoer: x\n" + ONE
    shown = describe_faults(faults(text), "s.yaml", text)
    assert shown == (
        "s.yaml:3:1: unknown key 'stoer' in spec\n    stoer: x\n    ^\n  fix: write store"
    )


def test_a_long_fix_and_a_long_line_are_shown_too() -> None:
    text = HEAD + ONE + f"x{'é' * 300}: [\n"
    shown = describe_faults(faults(text), text=text)
    assert all(len(line) < 200 for line in shown.splitlines())
    assert describe_faults([]) == ""


def test_the_message_shows_the_first_few() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(b"a: 1\nb: 1\nc: 1", "x.spec.yaml")
    assert "x.spec.yaml:1:1: " in caught.value.message
    assert "… 3 more" in caught.value.message
    assert len(caught.value.faults) == 6
    assert caught.value.fix


@given(st.binary(max_size=400))
def test_any_bytes_give_a_spec_or_invalid_spec(data: bytes) -> None:
    _spec_or_faults(data)


@given(st.text(max_size=300))
def test_any_text_gives_a_spec_or_invalid_spec(text: str) -> None:
    _spec_or_faults(text.encode("utf-8", "surrogatepass"))


YAMLISH = st.lists(
    st.sampled_from(
        ["spec", ": ", "\n", "  ", "- ", "artifacts:\n", "{", "}", "[", "]", ", ", "name: a", "&a ",
         "*a", "!t ", "'", '"', "#", "|", ">", "? ", "store: .cas", "version: 1", "format: csv",
         "type: x", "checks: ", "review: ", "required: ", "true", "5MB", "<<", "~", "%", "---\n",
         "\t", "é", "\\", "path: ", "../", "*", "uri: "]
    ),
    max_size=40,
)  # fmt: skip


@given(YAMLISH)
def test_any_near_yaml_gives_a_spec_or_invalid_spec(pieces: list[str]) -> None:
    _spec_or_faults("".join(pieces).encode())


@given(YAMLISH, st.integers(0, 60))
def test_a_spec_with_something_put_in_gives_a_spec_or_invalid_spec(
    pieces: list[str], at: int
) -> None:
    text = HEAD + "artifacts:\n  - name: a\n    type: x\n    format: csv\n    path: b/c\n"
    _spec_or_faults((text[:at] + "".join(pieces) + text[at:]).encode())


def _spec_or_faults(data: bytes) -> None:
    """Whatever the bytes, there is a spec or a list of faults, each with a possible place."""
    text = data.decode("utf-8", "replace")
    found = faults(data)
    for fault in found:
        assert fault["message"]
        assert 1 <= fault["line"] <= sum(map(text.count, "\n\r\x85\u2028\u2029")) + 2
        assert fault["column"] >= 1
    assert bool(describe_faults(found, "x", text)) == bool(found)
