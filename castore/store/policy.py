"""Policy: what a version needs to count as approved, and whether it has it.

The policy in force for a version is the strictest of its own spec, of the spec of the last approved
version before it, and of a policy file: who loosens a spec needs the approval that it demanded so
far. A policy file is YAML:

    review: {approvals: 2, not_author: true}     # the keys of a spec's `review:`
    require: [approved, valid, fresh]            # what `gate` asks for if it is not told
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from castore.database.indexes import Index
from castore.database.reading import Reading
from castore.errors import CastoreError, CorruptObject
from castore.model.ids import Id
from castore.model.note import Note
from castore.model.status import standing
from castore.model.values import frozen, made
from castore.spec.declaration import ReviewPolicy
from castore.spec.glance import review_at_a_glance
from castore.store.config import KnownIdentity
from castore.store.notes import AGENT, ids_in_state, known_as, notes_about, on_line
from castore.store.store import Store
from castore.store.version import Version, spec_text

# Loaded for a policy file and for a spec that is not read at a glance, or where one asks for
# signatures.
_LATER: Final = {"parse": "castore.spec.parse", "signatures": "castore.store.signatures"}


@frozen
class Policy:
    """What a version needs to count as approved.

    `reviewers` are the identities whose approval counts, None for anybody's; `require` is what a
    policy file wants a gate to ask for, empty if none does.
    """

    approvals: int = 1
    not_author: bool = False
    humans_only: bool = False
    reviewers: tuple[str, ...] | None = None
    signed: bool = False
    forbid_dismiss: bool = False
    require: tuple[str, ...] = ()


@frozen
class Approval:
    """Whether a version counts as approved, why not, whose approvals count, and how many must.

    `uncounted` says of each other identity that approved why that does not count.
    """

    approved: bool
    reasons: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    needed: int = 1
    uncounted: Mapping[str, str] = made(default_factory=dict)


def strictest(one: Policy, other: Policy) -> Policy:
    """The policy that demands what either demands."""
    reviewers = one.reviewers if other.reviewers is None else other.reviewers
    if one.reviewers is not None and other.reviewers is not None:
        reviewers = tuple(name for name in one.reviewers if name in other.reviewers)
    return Policy(
        approvals=max(one.approvals, other.approvals),
        not_author=one.not_author or other.not_author,
        humans_only=one.humans_only or other.humans_only,
        reviewers=reviewers,
        signed=one.signed or other.signed,
        forbid_dismiss=one.forbid_dismiss or other.forbid_dismiss,
        require=tuple(dict.fromkeys((*one.require, *other.require))),
    )


def policy_in_force(store: Store, version: Version, file: bytes | None = None) -> Policy:
    """The strictest of the spec of a version, that of the last approved before it, and `file`.

    `file` are the bytes of a policy file. Its cost grows with the approved versions before this
    one. Raises InvalidSpec for a policy or spec that cannot be read, ObjectNotFound, CorruptObject.
    """
    return policy_after(store, version, last_approved(store, version), file)


def policy_after(
    store: Store, version: Version, before: Version | None, file: bytes | None = None
) -> Policy:
    """The policy in force for a version, where the last approved one before it is known."""
    found = _Specs(store).after(version, before)
    if file is not None:
        found = strictest(found, _policy(*_later("parse").parse_policy(file)))
    return found


def approval(store: Store, version: Version, policy: Policy) -> Approval:
    """Whether a version counts as approved under a policy; raises CorruptObject, InvalidInput.

    An approval counts once for each identity. One by an agent never counts, and one rejection that
    stands outweighs every approval.
    """
    notes = notes_about(store, version.id)
    found = _judge(version, policy, notes, store.config().identities if notes else {})
    if not policy.signed:
        return found
    try:
        wanting = unsigned(store, version, policy)
    except CastoreError as error:
        wanting = (error.message,)
    reasons = (*found.reasons, *wanting)
    return Approval(not reasons, reasons, found.approvers, policy.approvals, found.uncounted)


def unsigned(store: Store, version: Version, policy: Policy) -> tuple[str, ...]:
    """Why a version does not count as signed; nothing if it does.

    The version itself must bear a valid signature by a known key. Where the policy demands signed
    approvals, so many of those that count must be signed by who gave them. Raises CastoreError
    where `ssh-keygen` cannot be run.
    """
    dismissals, signers = not policy.forbid_dismiss, _later("signatures").signers
    reasons = []
    if not signers(store, version.id, dismissals=dismissals):
        reasons.append("no valid signature by a key that config.toml knows is on the version")
    if policy.signed:
        identities = store.config().identities
        notes = notes_about(store, version.id)
        ours = {
            id: note
            for id, note in notes.items()
            if note.subject == "review"
            and known_as(note.by) in signers(store, id, dismissals=dismissals)
        }
        current = standing(notes, dismissals=dismissals)
        names = {
            name
            for id, note in ours.items()
            if id in current and note.value == "approved"
            and not _uncounted(name := known_as(note.by), note, version, policy, identities)
        }  # fmt: skip
        if len(names) < policy.approvals:
            wanted = f"{len(names)} of {policy.approvals} approvals"
            reasons.append(f"{wanted} are signed by who gave them")
        reasons += _taken_back(notes, current, ours)
    return tuple(reasons)


def _taken_back(
    notes: Mapping[Id, Note], current: Mapping[Id, Note], ours: Mapping[Id, Note]
) -> Iterator[str]:
    """Signed rejections that count on: only a later note that is signed too takes one back.

    `current` are the notes that stand, `ours` those signed by who wrote them.
    """
    replaced = notes.keys() - standing(notes, dismissals=False).keys()
    latest: dict[str, int] = {}
    for id, note in ours.items():
        if id in current:
            name = known_as(note.by)
            latest[name] = max(note.at, latest.get(name, 0))
    for id, note in sorted(ours.items()):
        if note.value != "rejected" or id in current:
            continue
        name = known_as(note.by)
        if id in replaced and latest.get(name, -1) < note.at:
            yield f"rejected by {name}, who signed that and signed nothing that takes it back"


def last_approved(store: Store, version: Version, *, itself: bool = False) -> Version | None:
    """The newest version before this one, along first parents, that counts as approved.

    Each is judged by the policy that was in force for it, without a file. With `itself` the version
    may be the answer. History that is not stored here does not count.
    """
    return Approvals(store).last(version, version.number if itself else version.number - 1)


class Approvals:
    """What counts as approved, for many versions: what is before them is judged once.

    Knows what notes and configuration came to when it was asked first; make another to see more.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._specs = _Specs(store)
        self._identities = store.config().identities
        # By branch, the line that was asked about last: mostly it holds the next version too.
        self._lines: dict[str, _Line] = {}

    def policy(self, version: Version) -> Policy:
        """The policy in force for a version, as `policy_in_force`."""
        return self._specs.after(version, self.last(version, version.number - 1))

    def approval(self, version: Version) -> Approval:
        """Whether a version counts as approved under the policy in force for it."""
        return approval(self._store, version, self.policy(version))

    def told(self, version: Version) -> Approval:
        """As `approval`; where no policy can be found nothing is approved, and that is why."""
        try:
            return self.approval(version)
        except CorruptObject:
            raise
        except CastoreError as error:
            return Approval(False, (error.message.partition("\n")[0],))

    def last(self, version: Version, highest: int) -> Version | None:
        """The newest up to number `highest`, along first parents, that counts as approved."""
        line = self._line(version)
        # Mostly one policy holds throughout: then the newest answer is found without the others.
        for found in reversed(line.candidates):
            if found.number > highest:
                continue
            if found.id not in line.certain:
                line.certain[found.id] = self._certainly(found, line.policies)
            if line.certain[found.id]:
                return found
            if line.certain[found.id] is None:
                break
        else:
            return None
        if not line.last:
            line.last.extend(self._judge(line.candidates))
        return next(last for number, last in reversed(line.last) if number <= highest)

    def _line(self, version: Version) -> _Line:
        line = self._lines.get(version.branch)
        if line is not None:
            tip = line.tip
            if self._store.database.read(lambda t: t.ancestor(tip, version.number)) == version.id:
                return line
        candidates = list(_candidates(self._store, version))
        policies = frozenset(map(self._specs.policy, candidates))
        line = self._lines[version.branch] = _Line(version.id, candidates, policies, {}, [])
        return line

    def _certainly(self, found: Version, policies: Iterable[Policy]) -> bool | None:
        """Whether a version counts as approved whatever was before it; None if that depends."""
        mine = self._specs.policy(found)
        possible = {mine, *(strictest(mine, other) for other in policies)}
        answers = {self._approved(found, policy) for policy in possible}
        return None if len(answers) > 1 else answers.pop()

    def _judge(self, candidates: Iterable[Version]) -> list[tuple[int, Version | None]]:
        """For the number of each candidate, oldest first, the newest up to it that is approved."""
        last: Version | None = None
        judged: list[tuple[int, Version | None]] = [(0, None)]
        for found in candidates:
            if self._approved(found, self._specs.after(found, last)):
                last = found
            judged.append((found.number, last))
        return judged

    def _approved(self, found: Version, policy: Policy) -> bool:
        notes = notes_about(self._store, found.id)
        judged = _judge(found, policy, notes, self._identities).approved
        return judged and not (policy.signed and unsigned(self._store, found, policy))


class _Line(NamedTuple):
    """The versions up to `tip` that somebody approved, oldest first, and what is known of them."""

    tip: Id
    candidates: list[Version]
    policies: frozenset[Policy]
    certain: dict[Id, bool | None]
    last: list[tuple[int, Version | None]]


class _Specs:
    """The policies of specs, each parsed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Id, Policy] = {}

    def policy(self, version: Version) -> Policy:
        """What the spec of a version demands; without a spec one approval."""
        pin = version.manifest.spec
        if not pin.source:
            return Policy()
        if pin.source not in self._known:
            text = spec_text(self._store.reader, pin.source)
            review = review_at_a_glance(text)
            if review is None:
                review = _later("parse").parse_spec(text, pin.path or pin.id).review
            self._known[pin.source] = _policy(review)
        return self._known[pin.source]

    def after(self, version: Version, before: Version | None) -> Policy:
        """The policy in force for a version, where the last approved one before it is known."""
        mine = self.policy(version)
        return mine if before is None else strictest(mine, self.policy(before))


def _later(name: str) -> Any:
    return import_module(_LATER[name])


def _policy(review: ReviewPolicy, require: tuple[str, ...] = ()) -> Policy:
    return Policy(
        approvals=review.approvals,
        not_author=review.not_author,
        humans_only=review.humans_only,
        reviewers=tuple(sorted(set(map(known_as, review.reviewers)))) or None,
        signed=review.signed,
        forbid_dismiss=review.forbid_dismiss,
        require=require,
    )


def _candidates(store: Store, version: Version) -> Iterator[Version]:
    """The versions up to this one that their notes approve, with or without dismissals."""

    def read(tables: Reading) -> dict[int, Id]:
        ids = ids_in_state(tables, Index.REVIEW, "approved")
        return on_line(tables, ids, version.id, version.number)

    for _, id in sorted(store.database.read(read).items()):
        yield store.version(id, version.branch)


def _judge(
    version: Version,
    policy: Policy,
    notes: Mapping[Id, Note],
    identities: Mapping[str, KnownIdentity],
) -> Approval:
    current = standing(notes, dismissals=not policy.forbid_dismiss).values()
    verdicts = [note for note in current if note.subject == "review" and note.target == version.id]
    rejecters = sorted({known_as(note.by) for note in verdicts if note.value == "rejected"})
    given = {known_as(note.by): note for note in verdicts if note.value == "approved"}
    faults = {
        name: why
        for name, note in given.items()
        if (why := _uncounted(name, note, version, policy, identities))
    }
    approvers = tuple(sorted(given.keys() - faults.keys()))
    reasons = [] if version.manifest.complete else ["the set is incomplete"]
    if rejecters:
        reasons.append(f"rejected by {', '.join(rejecters)}")
    if len(approvers) < policy.approvals:
        reasons.append(f"{len(approvers)} of {policy.approvals} approvals")
        reasons += [f"{name} approved, which {why}" for name, why in sorted(faults.items())]
    return Approval(not reasons, tuple(reasons), approvers, policy.approvals, faults)


def _uncounted(
    name: str,
    note: Note,
    version: Version,
    policy: Policy,
    identities: Mapping[str, KnownIdentity],
) -> str:
    """Why an approval does not count, "" if it does."""
    known = identities.get(name)
    if note.meta.get(AGENT) or (known is not None and known.kind == "agent"):
        return "does not count: agents may ask, and not grant"
    if policy.not_author:
        author = known_as(version.manifest.author)
        if not author:
            return "does not count: the author, who may not approve, is unknown"
        if author == name:
            return "does not count: the author may not approve"
    if policy.reviewers is not None and name not in policy.reviewers:
        allowed = ", ".join(policy.reviewers) or "nobody, since the policies agree on none"
        return f"does not count: reviewers are {allowed}"
    demanding = policy.humans_only or policy.signed or policy.reviewers is not None
    if demanding and known is None:
        return f'does not count: config.toml does not know [identity."{name}"]'
    return ""
