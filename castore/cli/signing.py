"""Signing: the key that the commands with --sign take, and what they tell of a signature."""

from __future__ import annotations

import sys
from collections.abc import Callable

from castore.cli.invocation import Invocation
from castore.cli.output import is_terminal
from castore.cli.screen import clean
from castore.errors import CastoreError
from castore.model.ids import Id
from castore.store.context import Context
from castore.store.notes import known_as
from castore.store.signatures import signatures
from castore.store.signing import SigningKey, said_signed, sign, signing_key
from castore.store.statements import Speaker, Stated
from castore.store.store import Store
from castore.store.version import Version


def key_to_sign(store: Store) -> SigningKey:
    """The configured key; ssh-keygen may ask for its passphrase only at a terminal."""
    return signing_key(store, ask=is_terminal(sys.stdin) and is_terminal(sys.stderr))


def said(
    call: Invocation,
    store: Store,
    say: Callable[[], Stated],
    who: Speaker,
    *,
    over: Version | None = None,
) -> Stated:
    """What `say` states, signed by the configured key, and the version `over` as well."""
    stated = said_signed(store, say, who, key_to_sign(store), over=over)
    tell_signed(call, store, stated.id, who.by)
    return stated


def sign_stored(
    call: Invocation, store: Store, version: Version, context: Context, key: SigningKey
) -> None:
    """Sign a version that was just committed, as who committed it; says so where that fails."""
    try:
        sign(store, version, Speaker(context.author, context.agent), key)
    except CastoreError as error:
        raise CastoreError(
            f"{version.label} is stored, but not signed: {error}",
            fix=f"cas sign {version.id.hex()}",
            id=version.id.hex(),
        ) from error
    tell_signed(call, store, version.id, context.author)


def tell_signed(call: Invocation, store: Store, id: Id, by: str) -> None:
    """Warn where the signatures over an object are by no known key of who signed it."""
    found = signatures(store, id)
    name = known_as(by)
    if any(name in one.signers for one in found):
        return
    for one in found[:1]:
        call.output.warn(
            f"signed by {one.key}, which config.toml does not give to {clean(name)}: it counts "
            f'once keys of [identity."{clean(name)}"] has the public key'
        )
