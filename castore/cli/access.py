"""Access: which store, spec and branch a command means when it is not told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from castore.cli.identity import author
from castore.cli.invocation import Invocation, names_store
from castore.errors import RefNotFound, StoreNotFound
from castore.store.opening import FOLDER, is_store, open_store
from castore.store.selectors import Resolved, branch_names, resolve
from castore.store.specs import SpecFile, only_spec, read_spec
from castore.store.store import Store

_RELATIVE: Final = "@~:"


@contextmanager
def opened(call: Invocation, spec: SpecFile | None = None) -> Iterator[Store]:
    """The store that is meant, closed at the end; raises StoreNotFound."""
    store = open_store(store_place(call, spec))
    try:
        call.output.detail(f"store: {store.folder}")
        yield store
    finally:
        store.close()


def store_place(call: Invocation, spec: SpecFile | None = None) -> Path:
    """Where to look for the store: --store, CAS_STORE, the spec's `store:`, else upward from here.

    A place that is named must be a store: castore never looks above it. Raises StoreNotFound.
    """
    named = named_place(call, spec)
    if named is None:
        return Path()
    if not (is_store(named) or is_store(named / FOLDER)):
        raise StoreNotFound(f"no store at {str(named)!r}", fix=f"cas init --store {named}")
    return named


def named_place(call: Invocation, spec: SpecFile | None = None) -> Path | None:
    """The place that --store, CAS_STORE or the spec names, whether a store is there or not."""
    option = call.store_option or call.environ.get("CAS_STORE", "")
    if option:
        return Path(option)
    if spec is None:
        spec = _spec_naming_store()
    if spec is None or not spec.spec.store or "://" in spec.spec.store:
        return None
    return spec.path.parent / spec.spec.store


def spec_of(option: str) -> SpecFile | None:
    """The spec of --spec, else the one `*.spec.yaml` here, else None."""
    if option:
        return read_spec(Path(option))
    found = only_spec(Path())
    return read_spec(found) if found else None


def default_branch(store: Store, spec: SpecFile | None) -> str:
    """The branch meant without a REV: the spec's, else the only one; raises RefNotFound."""
    if spec is not None:
        return spec.spec.id
    names = branch_names(store)
    if len(names) == 1:
        return names[0]
    if not names:
        raise RefNotFound("the store has no versions yet", fix="cas commit PATH")
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    raise RefNotFound(
        f"which of {len(names)} branches? {shown}", fix=f"name one, such as {names[0]}"
    )


def spec_for(rev: str | None, option: str) -> SpecFile | None:
    """The spec that decides the branch: --spec, or the one here where `rev` names no branch."""
    return spec_of(option) if option or not rev or rev[0] in _RELATIVE else None


def resolve_here(store: Store, rev: str | None, spec: SpecFile | None) -> Resolved:
    """What `rev` means; without it, or where it begins with @ ~ or :, of the default branch."""
    if rev and rev[0] not in _RELATIVE:
        return resolve(store, rev)
    branch = default_branch(store, spec)
    return resolve(store, rev or branch, default=branch)


def actor(call: Invocation, option: str = "") -> str:
    """Who moves a ref, for the operation log."""
    return author(option, call.environ)


def _spec_naming_store() -> SpecFile | None:
    """The one spec here if it may name a store; its YAML is read only then."""
    found = only_spec(Path())
    if found is None or not found.is_file() or not names_store(found.read_bytes()):
        return None
    return read_spec(found)
