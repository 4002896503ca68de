"""Answers of any server, sane or not: documented errors only, and never a word of theirs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castore.errors import OutcomeUnknown, PermissionDenied, RemoteError, RemoteMoved
from castore.remote.faults import Kind, read_fault
from castore.remote.objects import ObjectTransport
from castore.remote.transport import KeyAbsent
from tests.remote.proxies import answering

_OPTIONS = {"access_key_id": "test", "secret_access_key": "testtest", "read_timeout": "2s",
            "timeout": "2s"}  # fmt: skip


def said(status: int, code: str = "", more: str = "", head: str = "") -> bytes:
    """An answer of an S3 server."""
    body = f"<Error><Code>{code}</Code>{more}</Error>" if code else more
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status} X\r\n{head}\r\n{body}".encode()


def bucket_at(endpoint: str) -> ObjectTransport:
    return ObjectTransport("s3", "castore", "x", endpoint=endpoint, options=_OPTIONS)


@pytest.mark.parametrize(
    ("answer", "expected", "word"),
    [
        (said(403, "SignatureDoesNotMatch"), PermissionDenied, "SignatureDoesNotMatch"),
        (said(400, "ExpiredToken"), PermissionDenied, "ExpiredToken"),
        (said(403, "RequestTimeTooSkewed"), PermissionDenied, "clock"),
        (said(401), PermissionDenied, "401"),
        (said(301, "PermanentRedirect"), RemoteError, "another region"),
        (said(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"), RemoteError,
         "another region"),
        (said(404, "NoSuchBucket"), RemoteError, "no such bucket"),
        (said(404, "NoSuchKey"), KeyAbsent, "has no"),
        (said(400, "InvalidRequest"), RemoteError, "400 InvalidRequest"),
        (said(503, "SlowDown"), RemoteError, "503 SlowDown"),
    ],
)  # fmt: skip
def test_what_a_server_says_has_one_meaning(
    answer: bytes, expected: type[Exception], word: str
) -> None:
    with answering(answer) as endpoint, pytest.raises(expected, match=word) as caught:
        bucket_at(endpoint).get("root")
    if "region" in word:
        region = "eu-west-1" if b"eu-west-1" in answer else "NAME"
        assert f"--region {region}" in caught.value.fix  # type: ignore[attr-defined]
    if "503" in word:
        assert caught.value.fix == "the same again, later"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "expected"), [("AccessDenied", PermissionDenied), ("InternalError", OutcomeUnknown)]
)
def test_one_refusal_among_many_deletions(code: str, expected: type[Exception]) -> None:
    body = (
        '<?xml version="1.0"?><DeleteResult><Deleted><Key>x/a</Key></Deleted>'
        f"<Error><Key>x/b</Key><Code>{code}</Code><Message>said</Message></Error></DeleteResult>"
    )
    with answering(said(200, "", body)) as endpoint, pytest.raises(expected):
        bucket_at(endpoint).delete(["a", "b"])


answers = st.one_of(
    st.binary(max_size=200),
    st.builds(
        said,
        st.sampled_from([100, 200, 204, 206, 301, 304, 307, 400, 403, 404, 409, 412, 416, 500]),
        st.sampled_from(["", "NoSuchKey", "X"]) | st.text("ab<>&;", max_size=8),
        st.sampled_from(["", "<ListBucketResult>", "<a>" * 50, "<!DOCTYPE a>", "&x;"]),
        st.sampled_from(
            ["", "ETag: x\r\n", 'ETag: "x"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n',
             "Content-Range: bytes 0-9/10\r\n", "Location: http://127.0.0.1:1/\r\n"]
        ),
    ),
)  # fmt: skip


@settings(max_examples=40)
@given(answer=answers)
def test_any_answer_is_an_answer_or_a_documented_error(answer: bytes) -> None:
    with answering(answer) as endpoint:
        bucket = bucket_at(endpoint)
        for call in (
            lambda: bucket.get("root"),
            lambda: bucket.get("root", 0, 10),
            lambda: bucket.put("root", b"x"),
            lambda: bucket.put("root", b"x", if_absent=True),
            lambda: bucket.replace("root", b"x", '"1"'),
            lambda: list(bucket.list("")),
            lambda: bucket.delete(["a", "b"]),
        ):
            with suppress(RemoteError, RemoteMoved, KeyAbsent):
                call()
        bucket.close()


@given(text=st.text(max_size=200))
def test_what_is_not_known_is_perhaps_done(text: str) -> None:
    fault = read_fault(type("GenericError", (Exception,), {})(text))
    assert fault.kind is Kind.UNSURE or any(
        word in text for word in ("code", "//", "kind", "Range")
    )
