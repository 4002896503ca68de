"""Sources: what `--source` and `session.use` take, what is pinned, observed, refused."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import castore
from castore import errors
from castore.model.ids import content_id
from castore.store.pinning import pin_https
from castore.store.sources import parse_source

SOURCE_FIELDS = ("label", "target_artifact", "pinned", "evidence")


@pytest.fixture
def sales(store: castore.Store, out: Path) -> castore.Version:
    return store.commit(str(out), name="sales").version


def facts(source: castore.Source) -> tuple[object, ...]:
    return tuple(getattr(source, name) for name in SOURCE_FIELDS)


def test_a_version_an_artifact_and_a_file_in_one(
    store: castore.Store, sales: castore.Version, out: Path
) -> None:
    whole = parse_source(store, "sales@latest")
    assert facts(whole) == ("sales@v1", "", True, "claimed")
    assert (whole.target, whole.selector, whole.size) == (sales.id, "sales@latest", -1)
    one = parse_source(store, "report=sales:metrics.json")
    assert facts(one) == ("sales@v1:metrics.json", "metrics.json", True, "claimed")
    assert (one.artifact, one.selector) == ("report", "sales:metrics.json")
    data = (out / "metrics.json").read_bytes()
    assert (one.digest, one.size) == (content_id(data), len(data))
    inside = parse_source(store, "sales:data/deep/run.sh")
    assert facts(inside) == ("sales@v1:data/deep/run.sh", "data", True, "claimed")
    assert inside.digest == content_id((out / "data/deep/run.sh").read_bytes())
    folder = parse_source(store, "sales:data/deep")
    assert (folder.digest, folder.size) == (b"", (out / "data/deep/run.sh").stat().st_size)
    # What is recorded leads to the same bytes, whatever the branch does.
    assert store.read_bytes(inside.label) == (out / "data/deep/run.sh").read_bytes()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("slaes", errors.RefNotFound, "did you mean sales"),
        ("sales@v7", errors.RefNotFound, "no v7"),
        ("sales:metric.json", errors.RefNotFound, "did you mean metrics.json"),
        ("sales:data/no.csv", errors.RefNotFound, "no 'no.csv'"),
        ("report=", errors.RefNotFound, "report="),
        ("", errors.InvalidInput, "must be named"),
        ("a\nb", errors.InvalidInput, "must be named"),
        ("file:///no/such/file", errors.NotFound, "/no/such/file"),
        ("file:///tmp", errors.InvalidInput, "a folder"),
        ("https://[::1/x", errors.InvalidInput, "not a URI"),
    ],
)
def test_what_is_no_source(
    store: castore.Store, sales: castore.Version, text: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        parse_source(store, text)


def test_a_file_is_pinned_where_it_lies(store: castore.Store, tmp_path: Path) -> None:
    (tmp_path / "raw data.csv").write_bytes(b"a,b\n")
    where = (tmp_path / "raw data.csv").as_uri()
    for text in ("file:raw data.csv", "file:raw%20data.csv", where, "report=" + where):
        found = parse_source(store, text, folder=tmp_path)
        assert (found.uri, found.digest, found.size) == (where, content_id(b"a,b\n"), 4)
        assert found.pinned
        assert found.evidence == "claimed"
        assert found.selector == text.removeprefix("report=")
    with pytest.raises(errors.RefNotFound, match="there is such a file") as caught:
        parse_source(store, "raw data.csv", folder=tmp_path)
    assert caught.value.fix == "--source 'file:raw data.csv'"


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/x?a=b", "s3://bucket/key", "postgresql://db/shop/orders?id=7",
        "doi:10.1000/182", "urn:isbn:0451450523", "jdbc:sqlite:/x.db", "file://elsewhere/x",
    ],
)  # fmt: skip
def test_what_is_not_read_is_not_pinned(store: castore.Store, uri: str) -> None:
    for evidence in ("claimed", "observed"):
        found = parse_source(store, uri, evidence=evidence)
        assert found == castore.Source(selector=uri, uri=uri)


def test_a_branch_comes_before_a_scheme_without_slashes(store: castore.Store, out: Path) -> None:
    made = store.commit(str(out), name="doi").version
    assert parse_source(store, "doi:report.md").target == made.id
    # A typing error in a branch is no URI.
    with pytest.raises(errors.RefNotFound, match="is called 'reprot'"):
        parse_source(store, "reprot:metrics.json")


@pytest.mark.parametrize(
    ("uri", "bare"),
    [
        ("postgresql://ann:s3cret@db/shop", "postgresql://ann@db/shop"),
        ("jdbc:postgresql://ann:s3cret@db/shop", "jdbc:postgresql://ann@db/shop"),
        ("https://:s3cret@example.org/x", "https://@example.org/x"),
    ],
)
def test_a_password_is_refused_and_not_repeated(store: castore.Store, uri: str, bare: str) -> None:
    with pytest.raises(errors.InvalidInput, match="password") as caught:
        parse_source(store, uri)
    assert caught.value.fix == f"--source {bare}"
    assert "s3cret" not in str(caught.value.as_json())


def test_what_a_session_uses_is_observed(
    store: castore.Store, sales: castore.Version, out: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw.csv"
    raw.write_bytes(b"a,b\n")
    with store.session("derived", sources=["sales"]) as session:
        used = session.use("sales:metrics.json", artifact="report")
        (out / "metrics.json").write_text("{}")
        store.commit(str(out), name="sales")
        # The branch has moved; what was resolved has not.
        assert used.read_bytes() == b'{"rows": 3, "ok": true}\n'
        assert used.open().read(4) == b'{"ro'
        assert used.resolved is not None
        session.use("report=" + raw.as_uri())
        claimed = session.use("s3://bucket/key")
        with pytest.raises(errors.TypeMismatch, match="not in the store"):
            claimed.open()
        session.write("report", used.read_bytes())
        version = session.commit()
    found = {source.selector: source for source in version.manifest.sources}
    assert facts(found["sales:metrics.json"])[0::3] == ("sales@v1:metrics.json", "observed")
    assert found["sales:metrics.json"].artifact == found[raw.as_uri()].artifact == "report"
    assert found[raw.as_uri()].evidence == "observed"
    assert found["s3://bucket/key"].evidence == "claimed"
    assert facts(found["sales"])[0::3] == ("sales@v1", "claimed")


def test_sources_that_are_resolved_already_are_taken_as_they_are(store: castore.Store) -> None:
    given = castore.Source(selector="x", uri="s3://bucket/x", size=3, evidence="observed")
    with store.session("derived", sources=[given]) as session:
        session.write("a", "x")
        assert session.commit().manifest.sources == (given,)


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers by path: a file, a redirect, a status, an early end."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"hello" * 1000
        name = self.path.strip("/")
        if name.isdigit():
            self.send_response(int(name))
            if name == "302":
                self.send_header("Location", "/data")
            body = b""
        elif name == "plain":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/x")
            body = b""
        else:
            self.send_response(200)
        said = len(body) + 10 if name == "short" else len(body)
        self.send_header("Content-Length", str(said))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    """A site on this machine, and the context that trusts it."""
    folder = tmp_path_factory.mktemp("site")
    try:
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                "-keyout", str(folder / "key"), "-out", str(folder / "cert"),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    trusting = ssl.create_default_context(cafile=str(folder / "cert"))
    yield f"https://localhost:{server.server_port}", trusting
    server.shutdown()
    thread.join()
    server.server_close()


def test_https_is_pinned_on_demand_only(
    store: castore.Store, site: tuple[str, ssl.SSLContext]
) -> None:
    where, context = site
    pin = partial(pin_https, context=context)
    for path in ("/data", "/302"):
        found = parse_source(store, where + path, pin=pin)
        assert (found.uri, found.size) == (where + path, 5000)
        assert found.digest == content_id(b"hello" * 1000)
        assert found.evidence == "claimed"
    assert not parse_source(store, where + "/data").pinned
    assert not parse_source(store, "s3://bucket/x", pin=pin).pinned


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/404", errors.RemoteError),
        ("/403", errors.PermissionDenied),
        ("/503", errors.RemoteUnavailable),
        ("/short", errors.RemoteUnavailable),
        ("/plain", errors.RemoteUnavailable),
    ],
)
def test_what_cannot_be_pinned(
    store: castore.Store, site: tuple[str, ssl.SSLContext], path: str, error: type[Exception]
) -> None:
    where, context = site
    with pytest.raises(error):
        parse_source(store, where + path, pin=partial(pin_https, context=context))


def test_an_answer_without_end_and_a_stranger(site: tuple[str, ssl.SSLContext]) -> None:
    where, context = site
    with pytest.raises(errors.RemoteError, match="more than 4999 bytes"):
        pin_https(where + "/data", context=context, limit=4999)
    with pytest.raises(errors.RemoteUnavailable, match="certificate"):
        pin_https(where + "/data")
    with pytest.raises(errors.InvalidInput, match="only https"):
        pin_https(where.replace("https", "http"))
