"""The library's verbs of review: verdicts, comments, marks, deployments, and what waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from castore.database.folded import notes_about
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import Status
from castore.store import deployments, inbox, policy, review, signing, standing
from castore.store.context import parse_agent
from castore.store.selectors import resolve_version
from castore.store.statements import Speaker, Stated, receive_notes
from castore.store.store import Store
from castore.store.verify_signatures import Signed, verify_signatures
from castore.store.version import Version


class ReviewingStore(Store):
    """The verbs of review; `by` says who acts, `agent` ("name@version") which agent for them.

    Each writes one note and gives it back; they raise RefNotFound, InvalidInput.
    """

    def request_review(self, selector: str, *, by: str, text: str = "", agent: str = "") -> Stated:
        """Ask for a verdict on a version."""
        version = resolve_version(self, selector)
        return review.request_review(self, version, _speaker(by, agent), text=text)

    def approve(
        self, selector: str, *, by: str, text: str = "", agent: str = "", expect: str = ""
    ) -> Stated:
        """Approve a version, named by full id, branch, tag or a selector of these.

        `expect` is the full id it must have. Raises NotApproved for agents, RefMoved.
        """
        version = review.judged_version(self, selector, "approve", expect=expect)
        return review.give_verdict(self, version, "approve", _speaker(by, agent), text=text)

    def reject(
        self, selector: str, *, by: str, text: str = "", agent: str = "", expect: str = ""
    ) -> Stated:
        """Reject a version, named as for `approve`; raises NotApproved for agents, RefMoved."""
        version = review.judged_version(self, selector, "reject", expect=expect)
        return review.give_verdict(self, version, "reject", _speaker(by, agent), text=text)

    def revoke(self, selector: str, *, by: str, text: str = "", agent: str = "") -> Stated:
        """Take back one's own verdict on a version, or the request for one."""
        version = resolve_version(self, selector)
        return review.revoke(self, version, _speaker(by, agent), text=text)

    def dismiss(self, note: str, *, by: str, text: str = "", agent: str = "") -> Stated:
        """Let a note of anybody count no longer; raises NotApproved where a policy forbids it."""
        return review.dismiss(self, note, _speaker(by, agent), text=text)

    def comment(self, selector: str, text: str, *, by: str, agent: str = "") -> Stated:
        """Say something about a version."""
        version = resolve_version(self, selector)
        return review.comment(self, version, _speaker(by, agent), text)

    def mark(
        self, selector: str, state: str, *, by: str, text: str = "", agent: str = ""
    ) -> Stated:
        """Mark a version as draft, published, archived or withdrawn."""
        version = resolve_version(self, selector)
        return review.mark(self, version, state, _speaker(by, agent), text=text)

    def deploy(
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
        version = resolve_version(self, selector)
        speaker = _speaker(by, agent)
        return review.deploy(self, version, environment, speaker, text=text, remove=remove)

    def deployments(self) -> list[deployments.Deployment]:
        """What is deployed where, by environment and spec."""
        return deployments.deployments(self)

    def waiting(self, selector: str = "") -> list[inbox.Waiting]:
        """What waits for a verdict, newest first, of all branches or up to one version."""
        return inbox.waiting(self, selector)

    def notes(self, version: Version) -> dict[Id, Note]:
        """Every note about a version, newest first, also those that stand no longer."""
        return self.database.read(lambda tables: notes_about(tables, version.id))

    def status_of(self, version: Version) -> Status:
        """Review, validation, lifecycle and deployment of a version, as its notes come to."""
        return standing.status_of(self, version)

    def approval(self, version: Version, policy_file: bytes | None = None) -> policy.Approval:
        """Whether a version counts as approved under the policy in force, and why not."""
        return policy.approval(self, version, policy.policy_in_force(self, version, policy_file))

    def sign(
        self, what: str, *, by: str, agent: str = "", key: str | os.PathLike[str] | None = None
    ) -> Stated:
        """Sign a version, named as for `approve`, or one's own note, named by its full id.

        `key` is the file of an SSH key, else `signing.key` of the configuration; a passphrase is
        never asked for. Raises InvalidInput without a key, CastoreError for one that cannot sign,
        NotApproved for a note of somebody else.
        """
        usable = signing.signing_key(self, Path(key) if key is not None else None)
        version, note = signing.named_object(self, what)
        return signing.sign(self, version, _speaker(by, agent), usable, note=note)

    def verify_signatures(self, selector: str = "") -> Iterator[Signed]:
        """Every signature over a version and its notes, or over all versions, with its verdict.

        Raises CastoreError where `ssh-keygen` cannot be run.
        """
        return verify_signatures(self, selector)

    def receive_notes(self, payloads: dict[Id, bytes]) -> int:
        """Take in notes written elsewhere, by id, all or none; how many are new.

        Raises CorruptObject for bytes that are not what their id says, InvalidInput for a note of
        another project.
        """
        return receive_notes(self, payloads)


def _speaker(by: str, agent: str) -> Speaker:
    return Speaker(by, parse_agent(agent))
