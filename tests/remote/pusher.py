"""A process that commits and pushes to one branch until its versions are there: for races.

`python -m tests.remote.pusher STORE URL NAME COUNT` prints the set id of each version that was
acknowledged; a push that was refused is put after those of others and sent again.
"""

from __future__ import annotations

import sys

import castore
from castore.errors import Conflict, RefMoved, RemoteError
from castore.remote.urls import open_transport
from castore.store.sync_pull import pull
from castore.store.sync_push import push

ORIGIN = "origin"


def main(folder: str, url: str, name: str, count: int) -> None:
    """See above."""
    transport = open_transport(url)
    with castore.open(folder) as store:
        for number in range(count):
            with store.session(name="out") as session:
                session.add("who", f"{name} {number}\n".encode())
                session.add("noise", f"{name} {number} ".encode() * 500)
                made = session.commit()
            while True:
                try:
                    push(store, ORIGIN, transport)
                    break
                except RefMoved:
                    pull(store, ORIGIN, transport, rebase=True)
                except (Conflict, RemoteError) as error:
                    print(f"again: {error}", file=sys.stderr)
            print(made.set_id.hex(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
