"""Operations run in threads at once.

The operation log is the serial order: its entries, applied one after the other to the model, must
end where the store is, and every answer must be right at one of the moments between them.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import castore
from castore.model.refs import HEADS
from tests.properties.actions import Action, Backup, Seen
from tests.properties.model import Model, agrees, stored

_HANGS = 120.0


def run_together(actions: Sequence[Action], stores: Sequence[castore.Store]) -> None:
    """Run each action in a thread of its own, on one store or the other, all at the same time."""
    start = threading.Barrier(len(actions))

    def work(action: Action, store: castore.Store) -> None:
        start.wait(_HANGS)
        action.run(store)

    threads = [
        threading.Thread(target=work, args=(action, stores[number % len(stores)]))
        for number, action in enumerate(actions)
    ]
    interval = sys.getswitchinterval()
    # Threads take turns often, so that operations meet in the middle.
    sys.setswitchinterval(1e-5)
    # Whoever waits for ever may keep the interpreter from saying so.
    faulthandler.dump_traceback_later(_HANGS, exit=True)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        faulthandler.cancel_dump_traceback_later()
        sys.setswitchinterval(interval)


def judge_together(actions: Sequence[Action], store: castore.Store, model: Model) -> None:
    """Bring the model to where the store is by its log, and judge every answer by that."""
    for action in actions:
        action.enter(model)
    moments = [model.moment()]
    begin = len(model.log)
    new = store.database.read(lambda tables: list(tables.operations_from(begin + 1)))
    assert {entry.by for entry in new} <= {action.me for action in actions}
    for entry in new:
        model.apply(entry)
        moments.append(model.moment())
    seen = Seen(model, moments, new, stored(store))
    for action in actions:
        action.judge(seen)
    assert model.reached() <= seen.left, "something that is reached was collected"
    assert seen.left <= model.parents.keys(), "something that nobody was told of was committed"
    for folder in {action.folder for action in actions if isinstance(action, Backup)}:
        _judge_backup(folder, actions, seen)
    for action in actions:
        action.leave(model)
    model.keep(seen.left)
    for operation, branch in {(e.op_id, e.refs[0][0]) for e in model.log if e.op_id and e.refs}:
        assert len(model.made_by(operation, branch.removeprefix(HEADS))) <= 1


def _judge_backup(folder: Path, actions: Sequence[Action], seen: Seen) -> None:
    """A backup is the store at one moment, not before the last one that was told of."""
    told = [
        action.answer.sequence
        for action in actions
        if isinstance(action, Backup) and action.folder == folder and action.answer is not None
    ]
    if not told:
        return
    with castore.open(folder) as copy:
        sequence = copy.database.read(lambda tables: tables.last_sequence())
        assert sequence == max(told)
        moment = next(moment for moment in seen.moments if moment.sequence == sequence)
        agrees(copy, seen.model, moment)
