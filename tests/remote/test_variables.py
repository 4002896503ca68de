"""Variables that obstore reads by itself: refused where it would end in a panic."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from castore.errors import InvalidInput, RemoteError
from castore.remote.objects import ObjectTransport
from castore.remote.urls import open_transport
from castore.remote.variables import tell_variables

GARBLED = [
    ("s3", "AWS_ENDPOINT_URL", "notaurl"),
    ("s3", "AWS_ENDPOINT_URL", ""),
    ("s3", "AWS_ENDPOINT_URL", "127.0.0.1:8333"),
    ("s3", "AWS_ENDPOINT_URL", "https://"),
    ("s3", "AWS_ENDPOINT_URL", "https:///x"),
    ("s3", "AWS_ENDPOINT_URL", "https://h:99999"),
    ("s3", "AWS_ENDPOINT_URL_S3", "https://h:b"),
    ("s3", "AWS_ENDPOINT", "https://h/ x"),
    ("s3", "AWS_ENDPOINT", "https://\u00e4.example"),
    ("s3", "AWS_ENDPOINT_URL", "ftp://h"),
    ("s3", "AWS_REGION", "eu central"),
    ("s3", "AWS_DEFAULT_REGION", "a%b"),
    ("s3", "AWS_ALLOW_HTTP", "maybe"),
    ("gs", "GOOGLE_BASE_URL", "notaurl"),
    ("az", "AZURE_STORAGE_ENDPOINT", "notaurl"),
    ("az", "AZURE_STORAGE_ACCOUNT_NAME", "not a name"),
]


@pytest.fixture(autouse=True)
def _untold() -> Iterator[None]:
    yield
    tell_variables({})


@pytest.mark.parametrize(("scheme", "name", "value"), GARBLED)
def test_what_is_garbled_is_refused_by_name(scheme: str, name: str, value: str) -> None:
    tell_variables({name: value, "OTHER": "x"})
    with pytest.raises(InvalidInput) as caught:
        open_transport(f"{scheme}://bucket/x")
    assert f"the variable {name}" in caught.value.message
    assert repr(value) in caught.value.message or not value
    assert caught.value.fix.startswith(f"unset {name}, or export {name}=")
    open_transport("file:///nowhere")
    other = "gs" if scheme != "gs" else "az"
    open_transport(f"{other}://bucket/x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "http://minio_1:9000"),
        ("AWS_ENDPOINT_URL", "HTTPS://[::1]:9000/path/"),
        ("AWS_ENDPOINT_URL_S3", "https://s3.example"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_REGION", ""),
        ("AWS_ALLOW_HTTP", "TRUE"),
    ],
)
def test_what_works_is_let_through(name: str, value: str) -> None:
    tell_variables({name: value})
    open_transport("s3://bucket/x")


def test_what_is_given_wins() -> None:
    tell_variables({"AWS_ENDPOINT_URL": "notaurl", "AWS_REGION": "a b"})
    open_transport("s3://bucket/x", endpoint="https://h", region="eu-central-1")
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL"):
        open_transport("s3://bucket/x", region="eu-central-1")


def test_a_secret_is_not_repeated() -> None:
    tell_variables({"AWS_ENDPOINT_URL": "https://me:hunter2@h h"})
    with pytest.raises(InvalidInput) as caught:
        open_transport("s3://bucket/x")
    assert "hunter2" not in f"{caught.value}{caught.value.fix}"


def test_settings_that_only_obstore_knows_are_no_broken_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_S3_EXPRESS", "nope")
    with pytest.raises(RemoteError, match="settings of the environment") as caught:
        open_transport("s3://bucket/x").get("key")
    assert caught.value.fix


def test_no_command_prints_a_panic() -> None:
    """A process of its own: Rust writes beside Python's streams."""
    ended = subprocess.run(
        [sys.executable, "-m", "castore", "--store", "s3://bucket/x", "log"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "AWS_ENDPOINT_URL": "notaurl", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: the variable AWS_ENDPOINT_URL: 'notaurl' is no endpoint\n"
        "try:   unset AWS_ENDPOINT_URL, or export AWS_ENDPOINT_URL=https://HOST:PORT\n"
    )


def test_a_server_that_is_down_is_named_with_what_to_see() -> None:
    """One attempt, on a port that nobody may listen on."""
    bucket = ObjectTransport(
        "s3",
        "bucket",
        endpoint="http://127.0.0.1:1",
        options={"access_key_id": "a", "secret_access_key": "b"},
    )
    with pytest.raises(RemoteError) as caught:
        bucket.get("key")
    bucket.close()
    assert "no connection to http://127.0.0.1:1 (Connection refused)" in caught.value.message
    assert "see that the server runs" in caught.value.fix
    assert "AWS_ENDPOINT_URL" in caught.value.fix
