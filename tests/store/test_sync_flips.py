"""Buckets of which any byte is wrong: a fetch is refused, or brings the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

import castore
from castore.errors import CastoreError
from castore.remote import root as roots
from castore.remote.memory import MemoryTransport
from castore.store.sync_fetch import fetch
from castore.store.sync_push import push
from tests.store.syncing import NAME, commit, copy_of, refs, sound

FLIPS = 500


@pytest.fixture
def scene(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[MemoryTransport, Path, dict[str, bytes]]:
    """A bucket, a clone of what it was at first, and where its branches are now.

    Its root has pages already.
    """
    monkeypatch.setattr(roots, "ROOT_ROWS", 1)
    bucket = MemoryTransport()
    dice = Random(3)
    text = b" ".join(bytes(dice.choices(b"abcdefgh", k=9)) for _ in range(400))
    commit(store, "out", text=text)
    push(store, NAME, bucket)
    copy_of(bucket, tmp_path / "copy").close()
    commit(store, "out", text=text[:50] + b"edited" + text[60:], more=b"m" * 3000)
    commit(store, "two", wide=dice.randbytes(300_000))
    store.approve("out", by="ana")
    push(store, NAME, bucket)
    return bucket, tmp_path / "copy" / ".cas", refs(store)


def fetched(bucket: MemoryTransport, home: Path, wanted: dict[str, bytes]) -> bool:
    """Whether a fetch into a copy of a store brings all; else it is refused and no ref moved."""
    folder = home.parent.with_name("tried")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home, folder / ".cas")
    with castore.open(folder) as store:
        before = refs(store, "")
        try:
            fetch(store, NAME, bucket)
        except CastoreError:
            assert refs(store, "") == before
            return False
        there = {f"remotes/{NAME}/{ref.removeprefix('heads/')}": id for ref, id in wanted.items()}
        assert refs(store, "remotes/") == there
        sound(store)
        return True


def test_a_flipped_bit_anywhere_is_refused_or_harmless(
    scene: tuple[MemoryTransport, Path, dict[str, bytes]],
) -> None:
    bucket, home, wanted = scene
    assert fetched(bucket, home, wanted)
    assert list(bucket.list("lists/"))
    dice = Random(1)
    whole = {item.key: bucket.get(item.key).data for item in bucket.list("")}
    keys = sorted(key for key in whole if not key.startswith("roots/"))
    refused = 0
    for turn in range(FLIPS):
        key = keys[turn % len(keys)]
        data = bytearray(whole[key])
        # Most of a pack is what cannot be compressed: its ends hold the rest.
        at = dice.randrange(min(len(data), dice.choice([200, 5_000, 1 << 30])))
        data[at] ^= 1 << dice.randrange(8)
        bucket.put(key, bytes(data))
        refused += not fetched(bucket, home, wanted)
        bucket.put(key, whole[key])
    assert refused > FLIPS // 4


def test_what_is_withheld_cut_or_in_the_place_of_another_is_refused_or_harmless(
    scene: tuple[MemoryTransport, Path, dict[str, bytes]],
) -> None:
    bucket, home, wanted = scene
    whole = {item.key: bucket.get(item.key).data for item in bucket.list("")}
    refused = 0
    keys = sorted(key for key in whole if not key.startswith("roots/"))
    for key in keys:
        bucket.delete([key])
        refused += not fetched(bucket, home, wanted)
        for other in [whole[key][:-1], whole[key][: len(whole[key]) // 2], b""]:
            bucket.put(key, other)
            refused += not fetched(bucket, home, wanted)
        for other_key in keys:
            if other_key != key and other_key.split("/")[0] == key.split("/")[0]:
                bucket.put(key, whole[other_key])
                refused += not fetched(bucket, home, wanted)
        bucket.put(key, whole[key])
    assert refused > 2 * 4
    assert fetched(bucket, home, wanted)
