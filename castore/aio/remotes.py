"""The verbs of remotes as coroutines."""

from __future__ import annotations

from collections.abc import Mapping

from castore.aio.review import AsyncReviewing
from castore.store.config import KnownRemote
from castore.store.library import Store


class AsyncRemotes(AsyncReviewing):
    """The verbs of remotes for asyncio; they are those of `castore.Store` and raise the same."""

    async def add_remote(
        self,
        name: str,
        place: str,
        *,
        endpoint: str = "",
        region: str = "",
        options: Mapping[str, str] | None = None,
    ) -> KnownRemote:
        """Give the bucket at a URL or path a name, once it has shown that it can be trusted."""
        return await self.run(
            Store.add_remote, name, place, endpoint=endpoint, region=region, options=options
        )

    async def remote(self, name: str) -> KnownRemote:
        """The bucket of this name; raises RefNotFound."""
        return await self.run(Store.remote, name)

    async def remotes(self) -> Mapping[str, KnownRemote]:
        """Every bucket that has a name here, by that name."""
        return await self.run(Store.remotes)

    async def remove_remote(self, name: str, *, by: str = "") -> KnownRemote:
        """Take a name away, and what was seen of its bucket, which stays; raises RefNotFound."""
        return await self.run(Store.remove_remote, name, by=by)
