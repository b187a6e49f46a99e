"""`prefetch = "auto"`: slots that follow a worker's pace (rule 8)."""

from __future__ import annotations

import random

import pytest

from tests.core.fakes import FakeWorker
from tests.core.harness import Harness
from zqd.core.pace import BRIEF, HORIZON, MOST, RUNS

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
    """After each eight of them, up to sixty-four."""
    q, (w,) = auto("w")
    flood(q, 400)
    held = []
    for _ in range(10 * RUNS):
        answer(q, w, QUICK)
        held.append(len(w.tasks))
    assert held[RUNS - 1 : RUNS + 1] == [1, 2]
    assert sorted(set(held)) == [1, 2, 4, 8, 16, 32, MOST]
    assert held == sorted(held)


@pytest.mark.parametrize("run", [BRIEF, BRIEF / 2, BRIEF / 5])
def test_rule_8_a_worker_holds_what_it_answers_by_the_horizon(run: float) -> None:
    """So that nothing waits for long behind others, even if all of them are brief."""
    q, (w,) = auto("w")
    flood(q, 400)
    answer(q, w, run, 20 * RUNS)
    assert w.peer.capacity * run > 0.999 * HORIZON / 2
    assert w.peer.capacity * run < 1.001 * HORIZON


def test_rule_8_slots_halve_when_a_worker_takes_longer() -> None:
    """Though its runs are still brief."""
    q, (w,) = auto("w")
    flood(q, 400)
    answer(q, w, QUICK, 10 * RUNS)
    assert w.peer.capacity == MOST
    answer(q, w, 0.9 * BRIEF, MOST)
    assert w.peer.capacity * 0.9 * BRIEF <= HORIZON


def test_rule_8_a_busy_broker_sees_answers_late() -> None:
    """What is brief to one that takes long for its turns is not what is brief to one that waits."""
    q, (w,) = auto("w")
    flood(q, 400)
    answer(q, w, 3 * BRIEF, 3 * RUNS)
    assert w.peer.capacity == 1
    q.queue.dispatcher.pace.turn_took(2 * BRIEF)
    answer(q, w, 3 * BRIEF, 3 * RUNS)
    assert w.peer.capacity > 1
    q.queue.dispatcher.pace.turn_took(BRIEF / 100)
    answer(q, w, 3 * BRIEF)
    assert w.peer.capacity == 1


def test_rule_8_pace_is_kept_while_nobody_waits() -> None:
    """A worker that answers at once keeps its slots, and gets no more of them, when the line is empty."""
    q, (w,) = auto("w")
    flood(q, 3 * RUNS)
    while w.tasks:
        answer(q, w, QUICK)
    before = w.peer.capacity
    assert before > 1
    for _ in range(5 * RUNS):
        flood(q, 1)
        answer(q, w, QUICK)
    assert w.peer.capacity == before
    flood(q, before)
    assert len(w.tasks) == before


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
