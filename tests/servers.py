"""Object stores on loopback for tests: real servers, begun once a session and always ended."""

from __future__ import annotations

import base64
import hmac
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

BUCKET = "castore"
_KEY, _SECRET = "test", "testtest"
# Every installation of the emulator has these.
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_READY_SECONDS = 60
_STARTS = 3


class Server(NamedTuple):
    """A server of an S3 kind with one bucket."""

    endpoint: str
    key: str = _KEY
    secret: str = _SECRET
    bucket: str = BUCKET
    scheme: str = "s3"

    @property
    def options(self) -> dict[str, str]:
        """What a transport needs to get in."""
        return {"access_key_id": self.key, "secret_access_key": self.secret}

    @property
    def environ(self) -> dict[str, str]:
        """The same as variables."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }


def client(server: Server) -> Any:
    """A client that is not castore's, to look at a bucket from beside."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@contextmanager
def moto() -> Iterator[Server]:
    """A server inside this process: quick, all in memory; it takes any credentials."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        server = Server(f"http://{host}:{port}")
        client(server).create_bucket(Bucket=BUCKET)
        yield server
    finally:
        running.stop()


@contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """SeaweedFS, a real distributed store, that keeps its data below `folder`.

    Signatures are checked. Contended writes to one key are slow there: four writers at the most.
    """
    program = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
    config = folder / "s3.json"
    identity = {
        "name": "castore",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    for attempt in range(_STARTS):
        data = folder / f"data{attempt}"
        data.mkdir()
        with (folder / "log").open("wb") as log:
            ports = free_ports(8)
            process = subprocess.Popen(
                [program, *_weed_options(data, config, ports)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        server = Server(f"http://127.0.0.1:{ports[6]}")
        try:
            if _is_ready(server, process):
                yield server
                return
        finally:
            _stop(process)
            for port in ports:
                for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)
    raise RuntimeError(f"SeaweedFS does not start:\n{(folder / 'log').read_text()[-2000:]}")


def _weed_options(data: Path, config: Path, ports: list[int]) -> list[str]:
    named = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
             "filer.port.grpc", "s3.port", "s3.port.grpc")  # fmt: skip
    return [
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}={port}" for name, port in zip(named, ports, strict=True)),
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=20",
        "-volume.minFreeSpace=1",
    ]


def _is_ready(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it has made the bucket and kept an object; False if it ended, its ports taken."""
    from botocore.exceptions import BotoCoreError, ClientError

    ends = time.monotonic() + _READY_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        beside = client(server)
        try:
            beside.create_bucket(Bucket=BUCKET)
            beside.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            beside.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it at once: it takes seconds to end by itself, and nobody needs what it keeps."""
    process.kill()
    process.wait()


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = []
    try:
        for _ in range(number):
            opened = socket.socket()
            sockets.append(opened)
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


class AzureServer(NamedTuple):
    """A server of Azure's kind with one container."""

    endpoint: str
    bucket: str = BUCKET
    scheme: str = "az"

    @property
    def options(self) -> dict[str, str]:
        """What a transport needs to get in: what the emulator is known for."""
        return {"account_name": _AZURE_ACCOUNT, "account_key": _AZURE_KEY}


@contextmanager
def azurite(program: str, folder: Path) -> Iterator[AzureServer]:
    """The emulator of Azure's blobs, with its data below `folder`."""
    (port,) = free_ports(1)
    command = [program, "--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort",
               str(port), "--skipApiVersionCheck", "--disableTelemetry", "--silent"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}/{_AZURE_ACCOUNT}"
    try:
        ends = time.monotonic() + _READY_SECONDS
        while process.poll() is None and time.monotonic() < ends:
            try:
                _make_container(endpoint)
            except OSError:
                time.sleep(0.2)
            else:
                yield AzureServer(endpoint)
                return
        raise RuntimeError("Azurite does not start")
    finally:
        _stop(process)


def _make_container(endpoint: str) -> None:
    """The one request that obstore cannot make, signed by hand (Shared Key of Azure Storage)."""
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    version = "2021-12-02"
    path = f"/{_AZURE_ACCOUNT}/{BUCKET}"
    headers = f"x-ms-date:{now}\nx-ms-version:{version}\n"
    text = "PUT" + 12 * "\n" + f"{headers}/{_AZURE_ACCOUNT}{path}\nrestype:container"
    mac = hmac.digest(base64.b64decode(_AZURE_KEY), text.encode(), "sha256")
    request = Request(
        f"{endpoint}/{BUCKET}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": now,
            "x-ms-version": version,
            "Authorization": f"SharedKey {_AZURE_ACCOUNT}:{base64.b64encode(mac).decode()}",
        },
    )
    with urlopen(request, timeout=10):
        pass


def azurite_program() -> str | None:
    """The emulator of Azure's blobs, where npm has put it: on PATH or below `.azurite`."""
    beside = Path(__file__).parents[1] / ".azurite/node_modules/.bin/azurite-blob"
    found = shutil.which("azurite-blob")
    return found or (str(beside) if os.access(beside, os.X_OK) else None)


def main(folder: str) -> None:
    """Run SeaweedFS below a folder until it is told to end; variables for a shell on stdout."""
    # The other end of what was begun must run whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with seaweed(place) as server:
        for name, value in server.environ.items():
            print(f"export {name}={shlex.quote(value)}")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
