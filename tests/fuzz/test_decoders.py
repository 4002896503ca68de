"""Every reader, given anything, gives a value or the error it names, and takes little memory.

`--hypothesis-profile=long` goes on for long. What once failed lies in `failed/TARGET/NAME`.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import castore
from castore.errors import CastoreError, InvalidInput, NotFound
from tests.fuzz.targets import TARGETS, TYPED, Target

FAILED = Path(__file__).parent / "failed"
# Of an input of some hundred KiB: what is made of it, and what is loaded for it the first time.
MEMORY = 32 << 20
BOMB_BYTES = 200_000
MESSAGE_MAX = 100_000
BYTES = [0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xD9, 0xDC, 0xDD, 0xDF, 0xFF, *b'{}[]&*<:"\n -']
TOKENS = [
    b"9" * 5000, b"0x" + b"f" * 5000, b"1e999", b"-1", b".nan", b"null", b"true", b"[]", b"{}",
    b"!!binary ab", b"&a [*a]", b"1979-05-27", "²٣é".encode(), b"\xed\xa0\x80", b"\0", b"\xff",
]  # fmt: skip
SELECTORS = ("report", "report@v1", "report@latest:a/b", "report~1", "report@2026-11", "first:a")


def attempt(target: Target, data: bytes) -> bool:
    """Read; whether that succeeded. Any other error than those named is a failure."""
    refused: CastoreError | None = None
    try:
        target.read(data)
    except target.raises as error:
        refused = error
    # What somebody typed is quoted as it is.
    short = refused is None or len(refused.message) < MESSAGE_MAX
    assert short or target in TYPED.values()
    return refused is None


def attempt_in_little_memory(target: Target, data: bytes) -> None:
    """As `attempt`, and what it takes meanwhile is bounded."""
    tracemalloc.start()
    try:
        attempt(target, data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MEMORY, (most, data[:40])


@st.composite
def changed(draw: st.DrawFn, seed: bytes) -> bytes:
    """A valid input with some bytes replaced, dropped, repeated or cut off."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(0, 40))
        how = draw(st.integers(0, 5))
        if how == 0 and data:
            data[at] = draw(st.sampled_from(BYTES) | st.integers(0, 255))
        elif how == 1:
            data[at : at + size] = draw(st.binary(max_size=40))
        elif how == 2:
            del data[at : at + size]
        elif how == 3:
            data[at:at] = data[at : at + size] * draw(st.integers(1, 30))
        elif how == 4:
            data[at : at + size // 4] = draw(st.sampled_from(TOKENS))
        else:
            del data[at:]
    return bytes(data)


def bombs(target: Target) -> Iterator[bytes]:
    """Inputs of at most some hundred KiB that claim, nest or repeat as much as they can."""
    for head in (b"", b"\x81\xa1a", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        for tail in (b"\x91", b"\x81", b"\x80", b"\xc0", b"\xdd\xff\xff\xff\xff"):
            yield head + tail * (BOMB_BYTES // len(tail))
    for unit in (b"[", b"{", b"a: ", b"- ", b"&a ", b"9", b"\n"):
        yield unit * (BOMB_BYTES // len(unit))
    for unit in (b"[", b"{a=", b"9", b"'"):
        yield b"a = " + unit * (BOMB_BYTES // len(unit))
    yield b"a." * (BOMB_BYTES // 2) + b"a = 1"
    yield b"1" * BOMB_BYTES + b" " + b"ab" * 32 + b"\n"
    yield b'{"format": ' + b"9" * BOMB_BYTES + b"}"
    yield b'{"a":' * (BOMB_BYTES // 5)
    for seed in target.seeds:
        yield seed + seed * (BOMB_BYTES // len(seed))


@pytest.mark.parametrize("name", TARGETS)
def test_a_valid_input_is_read(name: str) -> None:
    target = TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        assert attempt(target, seed), seed


@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_read_or_refused_by_name(name: str) -> None:
    target = TARGETS[name]

    @given(st.binary(max_size=200) | st.sampled_from(target.seeds).flatmap(changed))
    def check(data: bytes) -> None:
        attempt(target, data)

    check()


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in TYPED])
def test_a_bomb_takes_little_memory(name: str) -> None:
    for data in bombs(TARGETS[name]):
        attempt_in_little_memory(TARGETS[name], data)


@pytest.mark.parametrize(
    "path", sorted(FAILED.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_what_once_failed_is_read_or_refused_by_name(path: Path) -> None:
    attempt_in_little_memory(TARGETS[path.parent.name], path.read_bytes())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[castore.Store]:
    """A store of two versions, a folder and a tag."""
    root = tmp_path_factory.mktemp("fuzz")
    with castore.init(root) as opened:
        (root / "a").mkdir()
        (root / "a" / "b").write_text("text")
        for number in range(2):
            with opened.session("report") as session:
                session.add("a", root / "a")
                session.write("n", str(number))
                session.commit()
        opened.tag("first", "report@v1")
        yield opened


@example(text="report\udc80")
@example(text="report:\udc80")
@given(
    text=st.text(max_size=700)
    | st.sampled_from(SELECTORS).flatmap(
        lambda seed: changed(seed.encode()).map(
            lambda data: data.decode("utf-8", "surrogateescape")
        )
    )
)
def test_any_selector_means_something_or_is_refused_by_name(
    store: castore.Store, text: str
) -> None:
    for ask in (store.resolve, store.read_bytes, lambda text: list(store.log(text, limit=1))):
        with suppress(NotFound, InvalidInput):
            ask(text)
