"""URLs of buckets: what each names, and what is refused without being repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castore.errors import InvalidInput
from castore.remote.address import Address, parse_url
from castore.remote.files import FileTransport
from castore.remote.urls import open_transport, same_place


@pytest.mark.parametrize(
    ("url", "address", "said"),
    [
        ("s3://bucket", Address("s3", "bucket"), "s3://bucket"),
        ("s3://bucket/", Address("s3", "bucket"), "s3://bucket"),
        ("s3://a.b-c/team/x/", Address("s3", "a.b-c", "team/x"), "s3://a.b-c/team/x"),
        ("gs://bucket_1/Team=A", Address("gs", "bucket_1", "Team=A"), "gs://bucket_1/Team=A"),
        ("az://box/x", Address("az", "box", "x"), "az://box/x"),
        ("file:///mnt/x", Address("file", folder=Path("/mnt/x")), "file:///mnt/x"),
        ("file://localhost/mnt/x/", Address("file", folder=Path("/mnt/x")), "file:///mnt/x"),
        ("file:///a/../b%20c", Address("file", folder=Path("/b c")), "file:///b%20c"),
        ("S3://bucket/x", Address("s3", "bucket", "x"), "s3://bucket/x"),
    ],
)
def test_a_url_names_one_place(url: str, address: Address, said: str) -> None:
    assert parse_url(url) == address
    assert parse_url(url).url == said
    assert same_place(url, said)


@pytest.mark.parametrize(
    "url",
    ["", "bucket", "/mnt/x", "./x", "ftp://host/x", "https://bucket.s3.amazonaws.com/x", "s3://",
     "s3:", "s3:///x", "s3://A/x", "s3://ab", "s3://bucket:80/x", "s3://bucket//x", "s3://bucket/x//y",
     "s3://bucket/../x", "s3://bucket/.x", "s3://bucket/a%2fb", "s3://bucket/a b", "s3://buc\nket/x",
     "s3://bucket/x?y", "s3://bucket/x#y", "s3://bucket/é", "s3://[bucket/x", "file://host/x",
     "file:x", "file://", "file:///x%00y", "memory://x",
     f"s3://bucket/{'x' * 401}", f"file:///{'x' * 1100}"],
)  # fmt: skip
def test_what_names_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    ["s3://KEYID:SECRETVALUE@bucket/x", "s3://SECRETVALUE@bucket", "file://u:SECRETVALUE@host/x",
     "https://u:SECRETVALUE@host/", "s3://bucket/x?X-Amz-Signature=SECRETVALUE",
     "az://box/x?sig=SECRETVALUE", "s3://bucket/x#SECRETVALUE", "SECRETVALUE@@://"],
)  # fmt: skip
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    for call in (lambda: parse_url(url), lambda: open_transport("s3://bucket", endpoint=url)):
        with pytest.raises(InvalidInput) as caught:
            call()
        if "://" in url.split("@")[0]:
            assert "SECRETVALUE" not in str(caught.value.as_json())


@given(st.text(max_size=60) | st.from_regex(r"(s3|gs|az|file)://\S{0,30}"))
def test_any_text_is_an_address_or_refused(url: str) -> None:
    try:
        address = parse_url(url)
    except InvalidInput:
        return
    assert parse_url(address.url) == address


@pytest.mark.parametrize(
    "endpoint",
    ["https://minio.example", "https://minio.example:9000/", "http://127.0.0.1:9000", "http://[::1]:80",
     "https://account.blob.core.windows.net", "http://127.0.0.1:10000/devstoreaccount1"],
)  # fmt: skip
def test_an_endpoint_is_taken(endpoint: str) -> None:
    for url in ("s3://bucket/x", "az://bucket/x"):
        transport = open_transport(url, endpoint=endpoint, options={"account_name": "a"})
        assert transport.url == url


@pytest.mark.parametrize(
    "endpoint",
    ["minio.example", "ftp://host", "https://", "https://exa mple", "https://host:0", "https://host:x",
     "https://host:99999", "https://-host", "https://host/a b", "https://host/?x", "https://[::1",
     "https://host\n", f"https://{'h' * 1100}"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidInput):
        open_transport("s3://bucket", endpoint=endpoint)


def test_options_belong_to_their_kind(tmp_path: Path) -> None:
    for url, options in (
        (tmp_path.as_uri(), {"endpoint": "https://host"}),
        (tmp_path.as_uri(), {"region": "eu-west-1"}),
        ("gs://bucket", {"region": "eu-west-1"}),
        ("s3://bucket", {"region": "EU WEST"}),
    ):
        with pytest.raises(InvalidInput):
            open_transport(url, **options)
    assert isinstance(open_transport(tmp_path.as_uri()), FileTransport)
    assert open_transport("s3://bucket/x", region="eu-west-1").url == "s3://bucket/x"


def test_places_differ() -> None:
    assert not same_place("s3://bucket/a", "s3://bucket/b")
    assert not same_place("s3://bucket", "gs://bucket")
    assert not same_place("file:///a", "file:///b")
