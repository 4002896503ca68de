"""The verbs of review as coroutines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from castore.aio.bridge import each
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import Status
from castore.store.deployments import Deployment
from castore.store.inbox import Waiting
from castore.store.library import Store
from castore.store.policy import Approval
from castore.store.statements import Stated
from castore.store.verify_signatures import Signed
from castore.store.version import Version

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class AsyncReviewing:
    """The verbs of review for asyncio; they are those of `castore.Store` and raise the same."""

    store: Store

    async def run(
        self,
        verb: Callable[Concatenate[Store, Parameters], Result],
        *args: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """What any function of a store returns, called in a thread: `run(castore.Store.tags)`."""
        return await asyncio.to_thread(partial(verb, self.store, *args, **options))

    async def request_review(
        self, selector: str, *, by: str, text: str = "", agent: str = ""
    ) -> Stated:
        """Ask for a verdict on a version."""
        return await self.run(Store.request_review, selector, by=by, text=text, agent=agent)

    async def approve(
        self, selector: str, *, by: str, text: str = "", agent: str = "", expect: str = ""
    ) -> Stated:
        """Approve a version."""
        return await self.run(Store.approve, selector, by=by, text=text, agent=agent, expect=expect)

    async def reject(
        self, selector: str, *, by: str, text: str = "", agent: str = "", expect: str = ""
    ) -> Stated:
        """Reject a version."""
        return await self.run(Store.reject, selector, by=by, text=text, agent=agent, expect=expect)

    async def revoke(self, selector: str, *, by: str, text: str = "", agent: str = "") -> Stated:
        """Take back one's own verdict on a version, or the request for one."""
        return await self.run(Store.revoke, selector, by=by, text=text, agent=agent)

    async def dismiss(self, note: str, *, by: str, text: str = "", agent: str = "") -> Stated:
        """Let a note of anybody count no longer."""
        return await self.run(Store.dismiss, note, by=by, text=text, agent=agent)

    async def comment(self, selector: str, text: str, *, by: str, agent: str = "") -> Stated:
        """Say something about a version."""
        return await self.run(Store.comment, selector, text, by=by, agent=agent)

    async def mark(
        self, selector: str, state: str, *, by: str, text: str = "", agent: str = ""
    ) -> Stated:
        """Mark a version as draft, published, archived or withdrawn."""
        return await self.run(Store.mark, selector, state, by=by, text=text, agent=agent)

    async def deploy(
        self,
        selector: str,
        environment: str,
        *,
        by: str,
        text: str = "",
        agent: str = "",
        remove: bool = False,
    ) -> Stated:
        """Say that a version is deployed to an environment, or with `remove` no longer is."""
        return await self.run(
            Store.deploy, selector, environment, by=by, text=text, agent=agent, remove=remove
        )

    async def deployments(self) -> list[Deployment]:
        """What is deployed where, by environment and spec."""
        return await self.run(Store.deployments)

    async def waiting(self, selector: str = "") -> list[Waiting]:
        """What waits for a verdict, newest first."""
        return await self.run(Store.waiting, selector)

    async def notes(self, version: Version) -> dict[Id, Note]:
        """Every note about a version, newest first."""
        return await self.run(Store.notes, version)

    async def status_of(self, version: Version) -> Status:
        """Review, validation, lifecycle and deployment of a version."""
        return await self.run(Store.status_of, version)

    async def approval(self, version: Version, policy_file: bytes | None = None) -> Approval:
        """Whether a version counts as approved under the policy in force, and why not."""
        return await self.run(Store.approval, version, policy_file)

    async def sign(
        self, what: str, *, by: str, agent: str = "", key: str | os.PathLike[str] | None = None
    ) -> Stated:
        """Sign a version, or one's own note by its full id."""
        return await self.run(Store.sign, what, by=by, agent=agent, key=key)

    def verify_signatures(self, selector: str = "") -> AsyncIterator[Signed]:
        """Every signature over a version and its notes, or over all versions, with its verdict."""
        return each(lambda: self.store.verify_signatures(selector))

    async def receive_notes(self, payloads: dict[Id, bytes]) -> int:
        """Take in notes written elsewhere, by id, all or none; how many are new."""
        return await self.run(Store.receive_notes, payloads)
