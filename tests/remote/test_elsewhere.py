"""Objects of a bucket that castore did not write, read by their URI."""

from __future__ import annotations

import pytest

from castore.errors import RemoteError
from castore.model.ids import content_id, content_id_of
from castore.remote.elsewhere import look_at, reach
from tests.servers import Server, client

DATA = bytes(range(256)) * 20_000


@pytest.mark.parametrize("key", ["Data Sets/\u00dcber 2026.bin", "a/b/c.csv", "UPPER"])
def test_an_object_of_any_name(moto: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    for name, value in moto.environ.items():
        monkeypatch.setenv(name, value)
    client(moto).put_object(Bucket=moto.bucket, Key=key, Body=DATA)
    uri = f"s3://{moto.bucket}/{key}"
    size, etag = look_at(uri)
    assert size == len(DATA)
    assert etag
    with reach(uri) as found:
        assert (found.size, found.etag) == (size, etag)
        assert content_id_of(found.pieces) == (content_id(DATA), len(DATA))


def test_what_is_not_there_is_no_answer(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RemoteError):
        look_at(f"s3://{moto.bucket}/absent")
    with pytest.raises(RemoteError), reach(f"s3://{moto.bucket}/absent"):
        pass
