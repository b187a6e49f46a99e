from __future__ import annotations

import pytest

from zqd.core.peers import Worker
from zqd.core.workers import Workers


def worker(name: str, capacity: int = 1) -> Worker:
    """A worker that is in no collection yet."""
    return Worker(1, name, "", 0.0, capacity=capacity)


def hold(a_worker: Worker, count: int) -> None:
    """Let it hold so many dispatches."""
    a_worker.window.clear()
    a_worker.window.update((bytes((number,)), None) for number in range(count))


@pytest.fixture
def workers() -> Workers:
    """Nobody."""
    return Workers()


def test_nobody_is_free_where_nobody_is(workers: Workers) -> None:
    """No worker, no slot."""
    assert workers.free() is None
    assert len(workers) == 0
    assert workers.idle == 0


def test_rule_8_the_longest_idle_goes_first(workers: Workers) -> None:
    """Among workers that hold the same number."""
    a, b = worker("a"), worker("b")
    workers.place(a)
    workers.place(b)
    assert workers.free() is a
    hold(a, 1)
    workers.place(a)
    hold(a, 0)
    workers.place(a)
    assert workers.free() is b


def test_rule_8_the_one_with_the_fewest_goes_first(workers: Workers) -> None:
    """Even if another one has been waiting longer."""
    a, b = worker("a", 4), worker("b", 4)
    workers.place(a)
    workers.place(b)
    hold(a, 2)
    workers.place(a)
    hold(b, 1)
    workers.place(b)
    assert workers.free() is b
    assert workers.idle == 0


def test_a_worker_without_a_free_slot_is_full(workers: Workers) -> None:
    """It is not free, and still counts."""
    a = worker("a", 2)
    hold(a, 2)
    workers.place(a)
    assert a in workers.full
    assert workers.free() is None
    assert list(workers) == [a]


def test_rule_11_a_quarantined_worker_is_not_free(workers: Workers) -> None:
    """Whatever slots it has."""
    a = worker("a", 4)
    a.quarantined = True
    workers.place(a)
    assert a in workers.quarantined
    assert workers.free() is None
    assert a.state == "quarantined"


def test_rule_23_a_draining_worker_is_not_free(workers: Workers) -> None:
    """It is draining even when it is quarantined as well."""
    a = worker("a", 4)
    a.draining = a.quarantined = True
    workers.place(a)
    assert a in workers.draining
    assert workers.free() is None
    assert a.state == "draining"


def test_law_1_a_worker_is_in_one_collection_at_a_time(workers: Workers) -> None:
    """`place` takes it out of where it was."""
    a = worker("a", 2)
    for held, quarantined in ((0, False), (1, False), (2, False), (1, True), (0, False)):
        hold(a, held)
        a.quarantined = quarantined
        workers.place(a)
        assert list(workers) == [a]
        assert a in a.home


def test_placing_a_worker_where_it_is_does_not_change_its_turn(workers: Workers) -> None:
    """A hello, say, is no reason to be the last again."""
    a, b = worker("a"), worker("b")
    workers.place(a)
    workers.place(b)
    workers.place(a)
    assert workers.free() is a


def test_a_worker_that_is_gone_is_in_no_collection(workers: Workers) -> None:
    """It is forgotten."""
    a = worker("a")
    workers.place(a)
    workers.remove(a)
    assert len(workers) == 0
    assert not a.home
    assert workers.free() is None


def test_states_are_in_the_words_of_zqctl() -> None:
    """Idle, busy, quarantined, draining; debts count as busy."""
    a = worker("a", 2)
    assert a.state == "idle"
    hold(a, 1)
    assert a.state == "busy"
    a.debts = 1
    assert a.in_flight == 0
    assert a.state == "busy"
