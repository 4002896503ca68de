"""A data set in partitions, made by a cluster and committed as one version.

    python ingest.py URL CACHES [SCHEDULER]

URL is a bucket, such as s3://reports-prod/acme; credentials are in the environment. CACHES is a
folder on each machine. SCHEDULER is the address of a cluster, such as tcp://10.0.0.1:8786.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import dask.bag
from distributed import Client, LocalCluster

from castore.dask import commit_parts

DAYS = 6


def reading(minute: int) -> tuple[int, float]:
    """What a sensor said in a minute."""
    return minute, 20 + minute * 7919 % 104_729 / 104_729


def rows(readings: list[tuple[int, float]]) -> Iterator[bytes]:
    """A partition as a file: in the worker, a piece at a time."""
    yield b"minute,celsius\n"
    for minute, celsius in readings:
        yield f"{minute},{celsius:.3f}\n".encode()


def ingest(client: Client, url: str, caches: str) -> None:
    """Each day is a partition, and an artifact."""
    readings = dask.bag.range(DAYS * 1440, npartitions=DAYS).map(reading)
    parts = {f"day-{number}.csv": day for number, day in enumerate(readings.to_delayed())}
    version = commit_parts(client, url, "readings", parts, rows, caches=caches)
    print(version.label, len(parts), "partitions")


def main(url: str, caches: str, scheduler: str = "") -> None:
    """On a cluster that runs already, or two processes of this machine."""
    if scheduler:
        with Client(scheduler) as client:
            ingest(client, url, caches)
        return
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        ingest(client, url, caches)


if __name__ == "__main__":
    main(*sys.argv[1:])
