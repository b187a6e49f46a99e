"""`prefetch = "auto"`: slots that follow a worker's pace (rule 8)."""

from __future__ import annotations

import random

import pytest

from tests.core.fakes import FakeWorker
from tests.core.harness import Harness
from zqd.core.pace import BRIEF, MOST, RUNS

QUICK = BRIEF / 10


def auto(*names: str) -> tuple[Harness, list[FakeWorker]]:
    """A queue with REP workers whose slots follow their pace."""
    q = Harness(prefetch="auto")
    return q, [q.worker(name) for name in names]


def flood(q: Harness, count: int = 1000) -> None:
    """More requests than anybody can hold."""
    q.client("flood").send(*(b"%d" % number for number in range(count)))


def answer(q: Harness, worker: FakeWorker, after: float, times: int = 1) -> None:
    """The worker answers each so long after the one before."""
    for _ in range(times):
        q.wait(after)
        worker.reply()


def test_rule_8_a_worker_begins_with_one_slot() -> None:
    """Nothing is known of it."""
    q, (w,) = auto("w")
    flood(q)
    assert len(w.tasks) == 1


def test_rule_8_slots_double_while_runs_are_brief() -> None:
    """After each eight of them, up to sixteen."""
    q, (w,) = auto("w")
    flood(q)
    held = []
    for _ in range(8 * RUNS):
        answer(q, w, QUICK)
        held.append(len(w.tasks))
    assert held[RUNS - 2 : RUNS] == [1, 2]
    assert sorted(set(held)) == [1, 2, 4, 8, MOST]
    assert held == sorted(held)


@pytest.mark.parametrize("run", [1.1 * BRIEF, 0.1, 60.0])
def test_rule_8_one_longer_run_and_there_is_one_slot(run: float) -> None:
    """What it holds already it finishes, and gets nothing until then."""
    q, (w,) = auto("w")
    flood(q)
    answer(q, w, QUICK, 8 * RUNS)
    assert len(w.tasks) == MOST
    answer(q, w, run)
    assert w.peer.capacity == 1
    assert len(w.tasks) == MOST - 1
    answer(q, w, QUICK, RUNS - 1)
    assert len(w.tasks) == MOST - RUNS


def test_rule_8_slow_workers_keep_one_slot() -> None:
    """However many they have answered."""
    q, (w,) = auto("w")
    flood(q)
    answer(q, w, 2 * BRIEF, 10 * RUNS)
    assert len(w.tasks) == 1


def test_rule_8_nothing_goes_behind_a_run_that_has_become_long() -> None:
    """A worker that was quick, and hangs now, does not get what others could run."""
    q, (hung, other) = auto("hung", "other")
    flood(q, 200)
    while q.queue.line.size:
        q.wait(QUICK)
        hung.reply()
        other.reply()
    while len(hung.tasks) > 1:
        hung.reply()
    while other.tasks:
        other.reply()
    assert hung.peer.capacity == MOST
    q.wait(2 * BRIEF)
    flood(q, 5)
    assert len(hung.tasks) == 1
    assert len(other.tasks) == 1
    assert hung.peer.capacity == 1


def test_rule_8_a_burst_after_a_silence_is_given_one_by_one() -> None:
    """What was known of a worker is old."""
    q, (w,) = auto("w")
    flood(q, 8 * RUNS)
    while w.tasks:
        answer(q, w, QUICK)
    assert w.peer.capacity > 1
    q.wait(1.0)
    flood(q, 20)
    assert len(w.tasks) == 1


def test_rule_8_a_hello_says_more_than_its_pace() -> None:
    """With a declared capacity there is nothing to be found out."""
    q, (w,) = auto("w")
    w.hello(capacity=3)
    flood(q)
    answer(q, w, 10 * BRIEF, 20)
    assert len(w.tasks) == 3


def test_rule_8_a_slow_worker_among_quick_ones_holds_nothing_up() -> None:
    """It never has a request behind the one that it runs."""
    q, (slow, *quick) = auto("slow", "a", "b", "c")
    flood(q, 2000)
    chance = random.Random(1)
    deepest = 0
    for step in range(400):
        q.wait(QUICK)
        for worker in quick:
            for _ in range(chance.randrange(4)):
                if worker.tasks:
                    worker.reply()
        if step % 40 == 39:
            slow.reply()
        assert len(slow.tasks) <= 1
        deepest = max(deepest, *(len(worker.tasks) for worker in quick))
    assert deepest > 4
