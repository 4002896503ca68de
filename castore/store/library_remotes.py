"""The library's verbs of remotes: the buckets that have a name in a store."""

from __future__ import annotations

from collections.abc import Mapping

from castore.store import remotes
from castore.store.config import KnownRemote
from castore.store.store import Store


class RemotesStore(Store):
    """An open store that knows buckets by name: a part of `castore.Store`."""

    def add_remote(
        self,
        name: str,
        place: str,
        *,
        endpoint: str = "",
        region: str = "",
        options: Mapping[str, str] | None = None,
    ) -> KnownRemote:
        """Give the bucket at a URL or path a name, once it has shown that it can be trusted.

        `options` are obstore's own and may hold credentials; they are not kept. See
        `castore.store.remotes`. Raises InvalidInput, Conflict, RemoteError.
        """
        return remotes.add_remote(
            self, name, place, endpoint=endpoint, region=region, options=options
        )

    def remote(self, name: str) -> KnownRemote:
        """The bucket of this name; raises RefNotFound."""
        return remotes.remote(self, name)

    def remotes(self) -> Mapping[str, KnownRemote]:
        """Every bucket that has a name here, by that name."""
        return remotes.remotes(self)

    def remove_remote(self, name: str, *, by: str = "") -> KnownRemote:
        """Take a name away, and what was seen of its bucket, which stays; raises RefNotFound."""
        return remotes.remove_remote(self, name, by=by)
