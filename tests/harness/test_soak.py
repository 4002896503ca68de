"""What a soak says of its samples, and the page it writes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import castore
from tests.harness import report, soak_report
from tests.harness.frame import Result
from tests.harness.ledger import EDITION, content
from tests.harness.soak_judge import (
    Process,
    Sample,
    Soaked,
    judge_rest,
    judge_samples,
    judge_size,
    look,
)
from tests.harness.soak_work import WEIGHTS, SoakWorker

MIB = 1 << 20
HOUR = 3600.0
NOBODY: frozenset[str] = frozenset()


def samples(
    *,
    grown: int = 0,
    leaked: int = 0,
    reader: str = "",
    pids: tuple[int, int] = (7, 7),
    gap: float = 0.0,
) -> list[Sample]:
    """An hour, in the last quarter of which a process takes `grown` bytes and `leaked` files more.

    A reader is there for its last half; `gap` seconds are missing in the middle of that.
    """
    found = []
    for at in range(0, int(HOUR), 20):
        last = at >= HOUR * 3 / 4
        one = Process(pids[last], 60 * MIB + grown * last, 9 + leaked * last + at % 3)
        there = frozenset({reader}) if reader and at >= HOUR / 2 else NOBODY
        moment = at + gap * last
        found.append(Sample(moment, MIB, MIB, there, NOBODY, {"worker 0": one}))
    return found


def test_what_does_not_grow_is_not_told() -> None:
    assert not judge_samples(samples(grown=2 * MIB), HOUR)


def test_memory_that_grows_is_told() -> None:
    (told,) = judge_samples(samples(grown=4 * MIB), HOUR)
    assert "anonymous memory" in told


def test_drift_is_not_judged_before_all_is_warm() -> None:
    short = [
        Sample(one.at / 100, one.file, one.used, one.readers, one.gone, one.processes)
        for one in samples(grown=4 * MIB, leaked=3)
    ]
    assert not judge_samples(short, HOUR / 100)


def test_one_descriptor_more_is_told() -> None:
    (told,) = judge_samples(samples(leaked=1), HOUR)
    assert "descriptors" in told


def test_descriptors_between_verbs_are_compared() -> None:
    rest = Counter({(1, 30): 9, (2, 9): 40, (2, 7): 3, (3, 9): 30, (3, 12): 2})
    assert not judge_rest("s0", rest)
    assert judge_rest("s0", rest + Counter({(3, 10): 90}))
    assert not judge_rest("s0", Counter({(3, 10): 90}))


def test_a_process_that_was_started_anew_is_not_compared_with_the_last() -> None:
    assert not judge_samples(samples(grown=9 * MIB, leaked=3, pids=(7, 8)), HOUR)


def test_a_reader_that_stays_is_told_once() -> None:
    (told,) = judge_samples(samples(reader="7 1 22"), HOUR)
    assert "the reader 7 1 22" in told


def test_time_in_which_all_was_stopped_makes_no_reader_old() -> None:
    moments = [Sample(at, MIB, 0, frozenset({"7 1 22"}), NOBODY) for at in (0.0, 5.0, 500.0, 505.0)]
    moments += [Sample(float(at), MIB, 0, NOBODY, NOBODY) for at in range(510, 3600, 5)]
    assert not judge_samples(moments, HOUR)


def test_the_file_may_be_three_times_what_is_alive() -> None:
    assert not judge_size(3 * MIB, MIB)
    assert judge_size(3 * MIB + 1, MIB)


def test_readers_under_way_are_seen(tmp_path: Path) -> None:
    castore.init(tmp_path).close()
    assert look(tmp_path) == (NOBODY, NOBODY)


def test_an_edition_is_its_seed_edited() -> None:
    first, second = content(6, 5_000), content(6 + EDITION, 5_000)
    assert first != second == content(6 + EDITION, 5_000)
    assert content(6 + 2 * EDITION, 5_000) not in (first, second)


def test_a_worker_lets_go_of_what_failed(tmp_path: Path) -> None:
    said: list[bytes] = []
    with castore.init(tmp_path) as store:
        worker = SoakWorker(
            store, "w", random.Random(3), said.append, weights=WEIGHTS, copies=tmp_path
        )
        for _ in range(40):
            worker.step()
        branch = next(iter(worker.heard.now))
        worker.say("begin", "commit", branch=branch, files=[("own", 1, 10)])
        worker.failed()
        assert branch in worker.heard.torn
        worker.settle()
        assert not worker.heard.torn
        assert branch not in {tip.branch for tip in store.branches()}
        for _ in range(40):
            worker.step()
    assert sum(worker.done.values()) == 80
    assert set(worker.done) >= {"commit", "revise", "checkout", "review"}


def test_a_report_stands_before_the_runs_of_the_harnesses(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(report.PAGE.read_text("utf-8"), "utf-8")
    soaked = Soaked(5, HOUR, Counter(commit=3, hits=1), samples=samples(), findings=["it grew"])
    soak_report.append(soaked, page)
    report.append(Result("kill", 5), page)
    text = page.read_text("utf-8")
    assert text.index("it grew") < text.index("| date |") < text.index("| kill | 5 |")
    assert text.endswith("|\n")
