"""`cas remote`: what it prints, writes down and refuses."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.cli.conftest import Cas
from tests.remote.proxies import Trick, proxy_before


@pytest.fixture(scope="module")
def moto() -> Iterator[servers.Server]:
    with servers.moto() as server:
        yield server


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "HIDDENSECRET")


def test_a_remote_from_the_first_to_the_last(cas: Cas, tmp_path: Path) -> None:
    cas("init")
    assert cas("remote", "list").out == ""
    assert cas("remote", "list", "--json").out == ""
    added = cas("remote", "add", "disk", "../" + tmp_path.name + "/bucket")
    url = (tmp_path / "bucket").as_uri()
    assert added.out == f"remote disk is {url}\n"
    assert cas("remote", "list").out == f"disk  {url}\n"
    row = {"name": "disk", "url": url, "endpoint": None, "region": None}
    assert cas("remote", "list", "--json").rows == [row]
    assert cas("remote", "show", "disk", "--json").json == {**row, "refs": {}}
    assert url in cas("remote", "show", "disk").out
    assert cas("remote", "add", "disk", "other", "--json", code=4).error["error"] == "Conflict"
    assert cas("remote", "remove", "disk", "--json").json == row
    assert cas("remote", "show", "disk", "--json", code=3).error["error"] == "RefNotFound"
    assert cas("remote", "remove", "disk", code=3)
    assert (tmp_path / "bucket").is_dir()


@pytest.mark.parametrize("verb", ["push", "fetch", "pull"])
def test_a_branch_in_the_place_of_a_remote_is_told(cas: Cas, tmp_path: Path, verb: str) -> None:
    cas("init")
    Path("a").write_text("a")
    cas("commit", "--name", "report", "a")
    cas("remote", "add", "disk", str(tmp_path / "bucket"))
    cas("push", "disk")
    refused = cas(verb, "report", "--json", code=3).error
    assert refused["fix"] == f"cas {verb} disk report"
    cas(verb, "disk", "report")


def test_a_bucket_on_a_server(cas: Cas, moto: servers.Server) -> None:
    cas("init")
    url = f"s3://{moto.bucket}/cli"
    added = cas(
        "remote", "add", "origin", url + "/", "--endpoint", moto.endpoint,
        "--region", "us-east-1", "--json",
    )  # fmt: skip
    assert added.json == {
        "name": "origin", "url": url, "endpoint": moto.endpoint, "region": "us-east-1",
    }  # fmt: skip
    text = Path(".cas/config.toml").read_text()
    assert "HIDDENSECRET" not in text
    assert "test" not in text
    shown = cas("remote", "show", "origin").out
    assert moto.endpoint in shown
    assert "us-east-1" in shown


def test_a_bucket_that_loses_updates_is_refused(cas: Cas, moto: servers.Server) -> None:
    cas("init")
    with proxy_before(moto.endpoint) as proxy:
        proxy.always = Trick.NO_CONDITIONS
        refused = cas(
            "remote", "add", "origin", f"s3://{moto.bucket}/refused",
            "--endpoint", proxy.endpoint, "--json", code=9,
        ).error  # fmt: skip
    assert refused["error"] == "RemoteError"
    assert "lose" in refused["message"]
    assert cas("remote", "list", "--json").out == ""
    beside = servers.client(moto)
    assert "Contents" not in beside.list_objects_v2(Bucket=moto.bucket, Prefix="refused")


@pytest.mark.parametrize(
    "url",
    ["s3://KEY:HIDDENSECRET@bucket", "https://u:HIDDENSECRET@host/x", "s3:bucket", "gopher://x"],
)
def test_what_is_no_place_is_refused(cas: Cas, url: str) -> None:
    cas("init")
    for words in ([], ["--json"]):
        done = cas("remote", "add", "origin", url, *words, code=2)
        assert "HIDDENSECRET" not in done.out + done.err


def test_a_secret_in_the_file_is_refused_by_every_command(cas: Cas) -> None:
    cas("init")
    with Path(".cas/config.toml").open("a") as file:
        file.write('[remote.origin]\nurl = "s3://bucket"\nsecret_access_key = "HIDDENSECRET"\n')
    done = cas("log", code=2)
    assert "credentials" in done.err
    assert "HIDDENSECRET" not in done.err


def test_an_interrupt_ends_the_wait_for_a_server(cas: Cas) -> None:
    cas("init")
    run = "import sys; from castore.cli.main import main; sys.exit(main())"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = ["remote", "add", "origin", "s3://bucket/x", "--endpoint", endpoint]
        with subprocess.Popen([sys.executable, "-c", run, *words], stderr=subprocess.PIPE) as cast:
            try:
                link, _ = silent.accept()
                with link:
                    assert link.recv(1)
                    cast.send_signal(signal.SIGINT)
                    # Far less than the half minute that a server has for its answer.
                    assert cast.wait(20) == 130
            finally:
                cast.kill()
    assert cas("remote", "list", "--json").out == ""


@pytest.mark.parametrize("verb", ["push", "clone"])
def test_an_interrupt_ends_what_is_under_way(
    cas: Cas, moto: servers.Server, tmp_path: Path, verb: str
) -> None:
    cas("init")
    Path("a.txt").write_text("a")
    cas("commit", "a.txt")
    url = f"s3://{moto.bucket}/interrupted-{verb}"
    run = "import sys; from castore.cli.main import main; sys.exit(main())"
    with proxy_before(moto.endpoint) as proxy:
        cas("remote", "add", "origin", url, "--endpoint", proxy.endpoint)
        if verb == "clone":
            cas("push")
        proxy.stalled = "/packs/"
        words = ["push"] if verb == "push" else ["clone", url, "b", "--endpoint", proxy.endpoint]
        with subprocess.Popen([sys.executable, "-c", run, *words], stderr=subprocess.PIPE) as cast:
            try:
                assert proxy.reached.wait(60)
                cast.send_signal(signal.SIGINT)
                assert cast.wait(20) == 130
            finally:
                cast.kill()
        proxy.stalled = ""
        if verb == "push":
            cas("push")


def test_names_are_offered_to_the_shell(cas: Cas, tmp_path: Path) -> None:
    from castore.cli.commands.remote import remote_names, show
    from castore.cli.invocation import Invocation

    cas("init")
    for name in ("origin", "other", "disk"):
        cas("remote", "add", name, name)
    context = show.make_context("show", ["x"], obj=Invocation({}))
    assert remote_names(context, show.params[0], "o") == ["origin", "other"]
    Path(".cas").rename(tmp_path / "gone")
    assert remote_names(context, show.params[0], "o") == []
