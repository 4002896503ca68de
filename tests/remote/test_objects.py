"""Object stores when the network is unkind: what is said of writes whose answer was lost."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from castore.errors import (
    CastoreError,
    InvalidInput,
    OutcomeUnknown,
    PermissionDenied,
    RemoteError,
    RemoteMoved,
    RemoteUnavailable,
)
from castore.remote.objects import ObjectTransport
from castore.remote.probe import probe
from castore.remote.retrying import Backoff, RetryingTransport
from castore.remote.transport import KeyAbsent, Transport
from tests import servers
from tests.remote.proxies import SECRET_SAID, Proxy, Trick, proxy_before

_numbers = count(1)


@pytest.fixture(scope="module")
def shared_proxy(moto: servers.Server) -> Iterator[Proxy]:
    with proxy_before(moto.endpoint) as running:
        yield running


@pytest.fixture
def proxy(shared_proxy: Proxy) -> Iterator[Proxy]:
    shared_proxy.seen.clear()
    yield shared_proxy
    shared_proxy.always = Trick.PASS
    for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
        shared_proxy.play(method)


@pytest.fixture
def once(proxy: Proxy, moto: servers.Server) -> ObjectTransport:
    """A bucket behind the proxy, asked once."""
    prefix = f"objects/{next(_numbers)}"
    return ObjectTransport("s3", moto.bucket, prefix, endpoint=proxy.endpoint, options=moto.options)


@pytest.fixture
def again(once: ObjectTransport) -> Transport:
    """The same, asked up to four times without waiting."""
    return RetryingTransport(once, backoff=Backoff(tries=4), sleep=lambda seconds: None)


LOST = [Trick.APPLY_AND_FAIL, Trick.APPLY_AND_DROP, Trick.TWICE]
NEVER = [Trick.FAIL, Trick.DROP]


@pytest.mark.parametrize("trick", LOST)
def test_a_creation_whose_answer_was_lost_is_found(
    once: ObjectTransport, proxy: Proxy, trick: Trick
) -> None:
    proxy.play("PUT", trick)
    etag = once.put("root", b"ours 1", if_absent=True)
    assert once.get("root") == (b"ours 1", etag)


@pytest.mark.parametrize("trick", LOST)
def test_a_replacement_whose_answer_was_lost_is_found(
    once: ObjectTransport, proxy: Proxy, trick: Trick
) -> None:
    etag = once.put("root", b"first")
    proxy.play("PUT", trick)
    etag = once.replace("root", b"ours 2", etag)
    assert once.get("root") == (b"ours 2", etag)


@pytest.mark.parametrize("trick", [Trick.APPLY_AND_FAIL, Trick.APPLY_AND_DROP, *NEVER])
@pytest.mark.parametrize("create", [True, False])
def test_without_a_second_look_the_outcome_is_unknown(
    once: ObjectTransport, proxy: Proxy, trick: Trick, create: bool
) -> None:
    etag = "" if create else once.put("root", b"first")
    proxy.play("PUT", trick)
    proxy.play("GET", Trick.DROP)
    with pytest.raises(OutcomeUnknown):
        _writing(once, b"ours", etag)()


@pytest.mark.parametrize("trick", NEVER)
@pytest.mark.parametrize("create", [True, False])
def test_a_write_that_never_was_is_not_said_to_be_refused(
    once: ObjectTransport, again: Transport, proxy: Proxy, trick: Trick, create: bool
) -> None:
    etag = "" if create else once.put("root", b"first")
    for transport, expected in ((once, OutcomeUnknown), (again, None)):
        proxy.play("PUT", trick)
        write = _writing(transport, b"ours", etag)
        if expected:
            with pytest.raises(expected):
                write()
        else:
            etag = write()
            assert once.get("root") == (b"ours", etag)


def _writing(transport: Transport, data: bytes, etag: str) -> Callable[[], str]:
    if etag:
        return lambda: transport.replace("root", data, etag)
    return lambda: transport.put("root", data, if_absent=True)


@pytest.mark.parametrize("create", [True, False])
def test_a_write_replaced_before_it_was_looked_for_is_unknown(
    once: ObjectTransport, again: Transport, proxy: Proxy, create: bool
) -> None:
    """Our write lands, its answer is lost, another follows it: no conflict may be claimed."""
    etag = "" if create else once.put("root", b"first")

    class Beside(ObjectTransport):
        def get(self, key: str, start: int = 0, length: int | None = None):  # type: ignore[no-untyped-def]
            if not beside:
                beside.append(once.replace("root", b"theirs", once.get("root").etag))
            return super().get(key, start, length)

    beside: list[str] = []
    inner = Beside("s3", servers.BUCKET, once.url.partition("castore/")[2],
                   endpoint=proxy.endpoint, options=servers.Server("").options)  # fmt: skip
    outer = RetryingTransport(inner, backoff=Backoff(tries=4), sleep=lambda seconds: None)
    proxy.play("PUT", Trick.APPLY_AND_FAIL)
    with pytest.raises(OutcomeUnknown):
        _writing(outer, b"ours", etag)()
    assert once.get("root").data == b"theirs"


@pytest.mark.parametrize("create", [True, False])
def test_a_conflict_with_nobody_is_tried_again(
    once: ObjectTransport, again: Transport, proxy: Proxy, create: bool
) -> None:
    etag = "" if create else once.put("root", b"first")
    proxy.play("PUT", Trick.CONFLICT)
    with pytest.raises(RemoteUnavailable):
        _writing(once, b"ours", etag)()
    proxy.play("PUT", Trick.CONFLICT)
    etag = _writing(again, b"ours", etag)()
    assert once.get("root") == (b"ours", etag)


def test_a_conflict_with_somebody_is_one(again: Transport, proxy: Proxy) -> None:
    etag = again.put("root", b"theirs", if_absent=True)
    for trick in (Trick.PASS, Trick.TWICE, Trick.CONFLICT):
        proxy.play("PUT", trick)
        with pytest.raises(RemoteMoved):
            again.put("root", b"ours", if_absent=True)
        proxy.play("PUT", trick)
        with pytest.raises((RemoteMoved, RemoteUnavailable)):
            again.replace("root", b"ours", '"no such tag"')
    assert again.get("root") == (b"theirs", etag)


@pytest.mark.parametrize("trick", [*LOST, *NEVER, Trick.BUSY])
def test_plain_requests_are_made_again(again: Transport, proxy: Proxy, trick: Trick) -> None:
    proxy.play("PUT", trick, trick)
    etag = again.put("packs/x", b"bytes")
    for key in ("packs/y", "packs/z"):
        again.put(key, b"bytes")
    proxy.play("GET", trick, trick)
    assert again.get("packs/x") == (b"bytes", etag)
    proxy.play("HEAD", trick, trick)
    assert again.get("packs/x", 100, 5) == (b"", etag)
    proxy.play("GET", trick)
    assert {found.key for found in again.list("packs/")} == {"packs/x", "packs/y", "packs/z"}
    proxy.play("POST", trick, trick)
    again.delete(["packs/x", "packs/y"])
    assert {found.key for found in again.list("")} == {"packs/z"}


def test_what_stays_away_is_given_up(once: ObjectTransport, again: Transport, proxy: Proxy) -> None:
    etag = once.put("root", b"first")
    proxy.always = Trick.FAIL
    for call, expected in (
        (lambda: again.get("root"), RemoteUnavailable),
        (lambda: list(again.list("")), RemoteUnavailable),
        (lambda: again.put("packs/x", b""), OutcomeUnknown),
        (lambda: again.put("packs/x", b"", if_absent=True), OutcomeUnknown),
        (lambda: again.replace("root", b"second", etag), OutcomeUnknown),
        (lambda: again.delete(["root"]), OutcomeUnknown),
    ):
        with pytest.raises(expected):
            call()
    proxy.always = Trick.BUSY
    for write in (
        lambda: again.put("packs/x", b""),
        lambda: again.put("packs/x", b"", if_absent=True),
        lambda: again.replace("root", b"second", etag),
    ):
        with pytest.raises(RemoteUnavailable):
            write()
    proxy.always = Trick.PASS
    assert [found.key for found in once.list("")] == ["root"]


def test_a_body_that_was_cut_is_not_taken(
    once: ObjectTransport, again: Transport, proxy: Proxy
) -> None:
    etag = once.put("packs/x", b"0123456789")
    for part in ((0, None), (0, 10), (2, 6)):
        proxy.play("GET", Trick.CUT)
        with pytest.raises(RemoteUnavailable):
            once.get("packs/x", *part)
    proxy.play("GET", Trick.CUT)
    assert again.get("packs/x") == (b"0123456789", etag)


def test_one_request_for_each_call_that_goes_well(once: ObjectTransport, proxy: Proxy) -> None:
    etag = once.put("root", b"first", if_absent=True)
    once.replace("root", b"second", etag)
    once.put("packs/x", os.urandom(8 << 20))
    once.get("root")
    once.get("packs/x", 5, 70)
    list(once.list("packs/"))
    once.delete(["packs/x", "root"])
    assert proxy.seen == ["PUT", "PUT", "PUT", "GET", "GET", "GET", "POST"]


def test_a_server_without_conditions_is_refused(again: Transport, proxy: Proxy) -> None:
    probe(again)
    assert list(again.list("")) == []
    proxy.always = Trick.NO_CONDITIONS
    with pytest.raises(RemoteError, match="If-Match"):
        probe(again)
    proxy.always = Trick.PASS
    assert list(again.list("")) == []


def test_wrong_credentials_are_refused_and_never_told(seaweed: servers.Server) -> None:
    wrong = {"access_key_id": "test", "secret_access_key": "VERYSECRETVALUE"}
    stranger = {"access_key_id": "UNKNOWNKEYID", "secret_access_key": "VERYSECRETVALUE"}
    for options in (wrong, stranger):
        bucket = ObjectTransport(
            "s3", seaweed.bucket, "denied", endpoint=seaweed.endpoint, options=options
        )
        for call in (
            lambda bucket=bucket: bucket.get("root"),
            lambda bucket=bucket: bucket.get("root", 0, 0),
            lambda bucket=bucket: bucket.put("root", b""),
            lambda bucket=bucket: bucket.put("root", b"", if_absent=True),
            lambda bucket=bucket: bucket.replace("root", b"", '"x"'),
            lambda bucket=bucket: bucket.delete(["root"]),
            lambda bucket=bucket: list(bucket.list("")),
        ):
            with pytest.raises(PermissionDenied) as caught:
                call()
            told = "".join(traceback.format_exception(caught.value)) + repr(vars(bucket)["_url"])
            assert "VERYSECRETVALUE" not in told
            assert "UNKNOWNKEYID" not in told


def test_what_a_server_says_is_not_repeated(once: ObjectTransport, proxy: Proxy) -> None:
    proxy.play("GET", Trick.TELL)
    with pytest.raises(PermissionDenied) as caught:
        once.get("root")
    assert SECRET_SAID not in "".join(traceback.format_exception(caught.value))
    assert "403 AccessDenied" in caught.value.message


def test_a_server_that_is_not_there(moto: servers.Server) -> None:
    for endpoint in ("http://127.0.0.1:1", "https://castore-none.invalid"):
        bucket = ObjectTransport("s3", "castore", endpoint=endpoint, options=moto.options)
        for call in (
            lambda bucket=bucket: bucket.get("root"),
            lambda bucket=bucket: bucket.put("root", b"", if_absent=True),
            lambda bucket=bucket: bucket.replace("root", b"", '"x"'),
            lambda bucket=bucket: bucket.put("root", b""),
            lambda bucket=bucket: list(bucket.list("")),
        ):
            # Never sent: not in doubt.
            with pytest.raises(RemoteUnavailable):
                call()


def test_a_bucket_that_is_not_there(moto: servers.Server) -> None:
    bucket = ObjectTransport("s3", "missing", endpoint=moto.endpoint, options=moto.options)
    for call in (
        lambda: bucket.get("root"),
        lambda: bucket.put("root", b"", if_absent=True),
        lambda: list(bucket.list("")),
        lambda: bucket.delete(["root"]),
    ):
        with pytest.raises(RemoteError, match="bucket"):
            call()


def test_an_endpoint_that_anybody_can_read_needs_a_word(moto: servers.Server) -> None:
    bucket = ObjectTransport("s3", "castore", endpoint="http://192.0.2.1:9", options=moto.options)
    with pytest.raises(RemoteError) as caught:
        bucket.get("root")
    assert "AWS_ALLOW_HTTP" in caught.value.fix


def test_the_variables_of_the_cloud_are_honoured(
    seaweed: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweed.environ.items():
        monkeypatch.setenv(name, value)
    # Neither of these may win over what the bucket is given.
    monkeypatch.setenv("AWS_BUCKET", "another")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    bucket = ObjectTransport("s3", seaweed.bucket, "environ")
    etag = bucket.put("root", b"1", if_absent=True)
    assert bucket.replace("root", b"2", etag)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    given = ObjectTransport("s3", seaweed.bucket, "environ", endpoint=seaweed.endpoint)
    assert given.get("root").data == b"2"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(PermissionDenied):
        ObjectTransport("s3", seaweed.bucket, endpoint=seaweed.endpoint).get("root")


def test_names_of_others_are_passed_over(moto: servers.Server) -> None:
    bucket = ObjectTransport("s3", moto.bucket, "foreign", endpoint=moto.endpoint,
                             options=moto.options)  # fmt: skip
    bucket.put("packs/x", b"1")
    beside = servers.client(moto)
    for name in ("README.md", "packs/", "packs/Ä", "packs/+x", ""):
        beside.put_object(Bucket=moto.bucket, Key=f"foreign/{name}", Body=b"")
    assert [found.key for found in bucket.list("packs/")] == ["packs/x"]
    beside.put_object(Bucket=moto.bucket, Key="foreign/packs//y", Body=b"")
    with pytest.raises(RemoteError, match="foreign/packs//y"):
        list(bucket.list(""))


def test_another_prefix_is_another_bucket(moto: servers.Server) -> None:
    one, two, inner = (
        ObjectTransport("s3", moto.bucket, prefix, endpoint=moto.endpoint, options=moto.options)
        for prefix in ("team", "team2", "team/packs")
    )
    one.put("packs/x", b"1")
    assert list(two.list("")) == []
    assert inner.get("x").data == b"1"
    with pytest.raises(KeyAbsent):
        two.get("packs/x")


_FORKING = """
import os, sys, warnings
from castore.errors import ForkedProcess
from castore.remote.objects import ObjectTransport
warnings.simplefilter("ignore")
def make():
    return ObjectTransport("s3", "castore", "fork", endpoint=sys.argv[1],
                           options={"access_key_id": "test", "secret_access_key": "testtest"})
before = os.fork()
if before == 0:
    make().put("child", b"first")   # the parent has not used a bucket yet
    os._exit(0)
assert os.waitpid(before, 0)[1] == 0
used = make()
assert used.get("child").data == b"first"
pages = used.list("")
child = os.fork()
if child == 0:
    refused = 0
    for call in (make, lambda: used.get("child"), lambda: used.put("x", b""),
                 lambda: used.delete(["x"]), lambda: used.replace("x", b"", "1"),
                 lambda: list(used.list("")), lambda: next(pages)):
        try:
            call()
        except ForkedProcess as error:
            assert "spawn" in error.fix
            refused += 1
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert used.get("child").data == b"first"
"""


def test_a_forked_child_is_refused_at_once(moto: servers.Server) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _FORKING, moto.endpoint],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.stdout.strip(), ended.stderr) == ("7", "")


def test_without_the_extra_the_fix_is_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ImportError")
    code = (
        "from castore.errors import RemoteError\n"
        "from castore.remote.urls import open_transport\n"
        "try: open_transport('s3://bucket')\n"
        "except RemoteError as error: print(error.fix)\n"
        "open_transport('file:///nowhere')\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert ended.stdout.strip() == f"pip install '{extras['s3'][0]}'"


def test_what_is_no_fault_of_a_request_is_not_swallowed(once: ObjectTransport) -> None:
    with pytest.raises(InvalidInput):
        ObjectTransport("ftp", "castore")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        once.put("root", 5)  # type: ignore[arg-type]
    assert not isinstance(caught.value, CastoreError)
