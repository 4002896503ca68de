"""`fsck` of a folder: in a process of its own, for stores that may not open, or kill who reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from castore.errors import CorruptObject
from castore.store.apart import PATIENCE, Tell, conclude, listen, serve
from castore.store.opening import find_store, open_store
from castore.store.selectors import resolve_version
from castore.store.verify import fsck as check
from castore.store.verify_pages import unreadable
from castore.store.verify_report import FsckReport

_PROGRAM: Final = "import sys; sys.path[:] = {path!r}; from {module} import work; work({request!r})"


def fsck(
    where: str | os.PathLike[str] = ".",
    *,
    full: bool = False,
    rev: str = "",
    progress: Callable[[int], None] | None = None,
    patience: float = PATIENCE,
) -> FsckReport:
    """Check the store at `where`, or with `rev` one version and its chain, in another process.

    A store that does not open, one that kills its reader or makes no progress for `patience`
    seconds is a report with that as a finding, and with what is wrong with the pages of its data
    file. `progress` is told bytes. Raises StoreNotFound, RefNotFound, UnsupportedFormat, Locked.
    """
    folder = find_store(where)
    try:
        return cast(FsckReport, _run({"folder": str(folder), "full": full, "rev": rev},
                                     progress, patience))  # fmt: skip
    except CorruptObject as error:
        return unreadable(folder, error, full=full)


def work(request: str) -> None:
    """What the other process does: answers through its standard output."""
    asked = json.loads(request)
    serve(1, lambda tell: _check(asked, tell))


def _check(asked: dict[str, Any], tell: Tell) -> FsckReport:
    with open_store(asked["folder"]) as store:
        rev = asked["rev"]
        version = resolve_version(store, rev) if rev else None
        return check(store, full=asked["full"], version=version, progress=tell)


def _run(request: dict[str, Any], progress: Tell | None, patience: float) -> object:
    code = _PROGRAM.format(path=sys.path, module=__name__, request=json.dumps(request))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            answer = listen(process.stdout.fileno(), progress, patience)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
        code_or_signal = process.wait()
    return conclude(answer, max(0, -code_or_signal))
