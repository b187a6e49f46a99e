from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.core.fakes import FakeWorker
from tests.core.harness import BOOT, Harness
from zqd.config import QueueConfig
from zqd.net.device import Device
from zqd.net.loop import Loop
from zqd.net.side import Room
from zqd.snapshot import client_rows, queue_row, request_rows, saturation, worker_rows
from zqd.stats import Rates

FIRST, SECOND, THIRD = (BOOT.hex() + f"{number:012x}" for number in (1, 2, 3))

CONTRACT = [
    *("name", "state", "frontend", "backend", "workers", "idle_workers", "clients", "queued", "in_flight"),
    *("received", "replied", "failed", "dropped", "retried", "orphaned", "late", "malformed"),
    *("oldest_wait_s", "wait_ms", "run_ms"),
]


class Stage(Harness):
    """A queue, and the device whose snapshot is taken: one that listens nowhere, with the clock of the queue."""

    def __init__(self, loop: Loop, **settings: Any) -> None:
        super().__init__(**settings)
        config = QueueConfig(name="default", settings=self.settings, frontend=(), backend=())
        loop.now = self.now
        self.device = Device(
            loop,
            config,
            boot=BOOT,
            room=Room(0),
            numbers=itertools.count(1),
            notify=lambda *_: None,
            on_fault=lambda _: None,
        )
        self.device.queue = self.queue

    def shown(self, rows: Callable[[Device], Any] = queue_row) -> Any:
        """A snapshot of now."""
        self.device.loop.now = self.now
        return rows(self.device)

    @property
    def saturation(self) -> str:
        """The sentence of the queue's row."""
        row = self.shown()
        assert isinstance(row["saturation"], str)
        return row["saturation"]

    def work(self, *workers: FakeWorker, seconds: float) -> None:
        """So long they run what they hold, and answer it."""
        self.wait(seconds)
        for worker in workers:
            worker.reply()


Make = Callable[..., Stage]


@pytest.fixture
def stage() -> Iterator[Make]:
    """Make a stage; the keyword arguments are the queue's settings."""
    loop = Loop()
    yield lambda **settings: Stage(loop, **settings)
    loop.close()


# Queues


def test_a_queues_row_begins_as_the_first_release_said(stage: Make) -> None:
    """Programs read these keys; new ones come after them, also within the latencies."""
    row = stage().shown()
    assert list(row)[: len(CONTRACT)] == CONTRACT
    assert {"p50", "p99", "max"} <= set(row["wait_ms"]) == set(row["run_ms"])


def test_an_idle_queue_has_measured_nothing(stage: Make) -> None:
    """None for what is not known, 0 for what has not happened."""
    row = stage().shown()
    nothing = dict.fromkeys(("p50", "p90", "p99", "max"))
    assert row["oldest_wait_s"] is None
    assert row["wait_ms"] == row["run_ms"] == nothing
    assert row["since_start"] == {"wait_ms": nothing, "run_ms": nothing}
    assert (row["received_per_s"], row["replied_per_s"], row["busy"]) == (0.0, 0.0, 0.0)


def test_a_queue_counts_who_is_there_and_what_they_do(stage: Make) -> None:
    """Idle ones are those that could take a request and hold none."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    q.worker("v")
    q.drain_worker(q.worker("u"))
    a.send(b"one")
    w.reply()
    a.send(b"two", b"three", b"four")
    row = q.shown()
    assert [row[key] for key in ("workers", "idle_workers", "clients")] == [3, 0, 1]
    assert [row[key] for key in ("received", "replied", "in_flight", "queued")] == [4, 1, 2, 1]


def test_a_latency_is_split_into_wait_and_run(stage: Make) -> None:
    """In milliseconds; the maximum is exact, and the last minute forgets what the total keeps."""
    q = stage()
    a = q.client("a")
    a.send(b"one")
    q.wait(2)
    q.work(q.worker("w"), seconds=0.5)
    row = q.shown()
    assert (row["wait_ms"]["max"], row["run_ms"]["max"]) == (2000.0, 500.0)
    assert row["wait_ms"] == row["since_start"]["wait_ms"]
    assert row["run_ms"]["p50"] == pytest.approx(500, rel=0.2)
    q.wait(80)
    row = q.shown()
    assert (row["wait_ms"]["max"], row["since_start"]["wait_ms"]["max"]) == (None, 2000.0)


def test_rates_are_per_second_of_the_last_minute(stage: Make) -> None:
    """Of requests received and of replies."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    for _ in range(20):
        a.send(b"one", b"two")
        w.reply()
        q.wait(0.25)
    row = q.shown()
    assert (row["received_per_s"], row["replied_per_s"]) == (8.0, 4.0)


def test_the_oldest_wait_is_of_those_that_wait(stage: Make) -> None:
    """Not of what is in flight."""
    q = stage()
    a = q.client("a")
    q.worker("w")
    a.send(b"runs")
    q.wait(5)
    assert q.shown()["oldest_wait_s"] is None
    a.send(b"waits")
    q.wait(1.25)
    a.send(b"waits too")
    assert q.shown()["oldest_wait_s"] == 1.25


def test_the_oldest_wait_may_be_a_returned_request(stage: Make) -> None:
    """Since it arrived, not since its worker was lost."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    a.send(b"first")
    q.wait(5)
    a.send(b"second")
    w.die()
    assert q.shown()["oldest_wait_s"] == 5.0


def test_the_oldest_wait_may_be_a_stalled_clients(stage: Make) -> None:
    """It is set aside, and waits all the same."""
    q = stage(max_unsent=10)
    a, b, w = q.client("a"), q.client("b"), q.worker("w")
    a.stop_reading()
    a.send(b"one", b"two", b"three")
    w.reply(b"longer than ten bytes")
    q.wait(3)
    assert q.saturation.endswith(", oldest wait 3.0 s, of clients that do not read their replies")
    b.send(b"four")
    q.wait(1)
    assert q.shown()["oldest_wait_s"] == 4.0
    assert q.saturation.endswith(", oldest wait 4.0 s: add workers")


# Busy, in numbers and in words


def test_busy_is_the_share_of_the_time_in_which_requests_ran(stage: Make) -> None:
    """Of all workers."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    q.worker("v")
    for _ in range(10):
        a.send(b"one")
        q.work(w if w.tasks else next(o for o in q.workers.values() if o.tasks), seconds=2.0)
        q.wait(2.0)
    assert q.shown()["busy"] == pytest.approx(0.25)


def test_what_has_been_running_for_long_is_busy(stage: Make) -> None:
    """Requests that take longer than the minute are not only seen when they end."""
    q = stage()
    a = q.client("a")
    q.worker("w")
    q.worker("v")
    a.send(b"one", b"two", b"three")
    q.wait(300)
    assert q.shown()["busy"] == 1.0
    assert q.saturation == "2 of 2 workers busy, 100 % over the last minute, oldest wait 300 s: add workers"


def test_busy_is_never_more_than_all_the_time(stage: Make) -> None:
    """Several at once in one worker, or one that began long before the minute."""
    q = stage()
    a, d = q.client("a"), q.dealer("d", capacity=8)
    a.send(*[b"x"] * 8)
    q.work(*[d] * 8, seconds=100)
    assert q.shown()["busy"] == 1.0
    assert q.shown(worker_rows)[0]["busy"] == 1.0


@pytest.mark.parametrize(("busy", "advice"), [(0.97, ": add workers"), (0.9, ": add workers"), (0.89, "")])
def test_workers_that_were_busy_for_long_while_requests_wait_are_too_few(
    stage: Make, busy: float, advice: str
) -> None:
    """A burst that will soon be over asks for nothing."""
    q = stage()
    q.worker("w")
    q.client("a").send(b"runs", b"waits")
    text = f"1 of 1 workers busy, {busy * 100:.0f} % over the last minute, oldest wait 3.2 s"
    assert saturation(q.queue, busy, 3.24) == text + advice


def test_busy_workers_are_enough_while_nothing_waits(stage: Make) -> None:
    """However busy."""
    q = stage()
    q.worker("w")
    q.client("a").send(b"runs")
    text = "1 of 1 workers busy, 100 % over the last minute, nothing waits"
    assert saturation(q.queue, 1.0, None) == text


def test_a_queue_with_idle_workers_has_enough(stage: Make) -> None:
    """Its sentence says how much of them is used."""
    q = stage()
    q.worker("w")
    q.worker("v")
    q.client("a").send(b"one")
    q.wait(4)
    assert q.saturation == "1 of 2 workers busy, 50 % over the last minute, nothing waits"


def test_a_queue_without_workers_needs_some(stage: Make) -> None:
    """Once there is something to do."""
    q = stage()
    assert q.saturation == "no workers"
    q.client("a").send(b"one")
    q.wait(3.2)
    assert q.saturation == "no workers, oldest wait 3.2 s: start workers"


def test_workers_that_take_nothing_are_not_enough(stage: Make) -> None:
    """Drained and quarantined ones are told apart from busy ones."""
    q = stage(request_timeout=1.0, max_attempts=9)
    a = q.client("a")
    q.drain_worker(q.worker("w"))
    q.worker("v")
    a.send(b"one")
    q.wait(2)
    assert q.saturation == "0 of 2 workers busy, 1 draining, 1 quarantined, oldest wait 2.0 s: start workers"
    q.worker("u")
    assert q.saturation.startswith("1 of 3 workers busy, 1 draining, 1 quarantined, ")


def test_a_paused_queue_needs_no_workers(stage: Make) -> None:
    """It waits by order."""
    q = stage()
    q.pause()
    assert q.saturation == "paused: nothing is dispatched, nothing waits"
    q.client("a").send(b"one")
    q.wait(120)
    assert q.saturation == "paused: nothing is dispatched, oldest wait 120 s"


def test_a_drained_queue_needs_nothing(stage: Make) -> None:
    """While it drains its workers are at work as ever."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.drain()
    assert q.saturation.startswith("1 of 1 workers busy, ")
    w.reply()
    assert q.saturation == "drained: nothing is let in"


# Workers


def test_a_worker_is_a_row(stage: Make) -> None:
    """In the order in which they came; the oldest is the age of the request that it has held longest."""
    q = stage()
    a = q.client("a")
    q.worker("w")
    q.dealer("d", name="mill", pid=4711, capacity=2)
    a.send(b"one")
    q.wait(4)
    w, d = q.shown(worker_rows)
    assert w == {
        "id": "w2",
        "name": "",
        "queue": "default",
        "address": "w",
        "key": "",
        "pid": None,
        "unit": "",
        "handler": "",
        "capacity": 1,
        "state": "busy",
        "in_flight": 1,
        "replied": 0,
        "replied_per_s": 0.0,
        "busy": 1.0,
        "connected_s": 4.0,
        "oldest_s": 4.0,
    }
    assert [d[key] for key in ("id", "name", "pid", "state", "oldest_s")] == [
        "w3",
        "mill",
        4711,
        "idle",
        None,
    ]


def test_a_workers_rates_are_since_it_connected(stage: Make) -> None:
    """Replies a second, and the share of the time in which it ran requests, what it runs now included."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    q.wait(5)
    a.send(b"one")
    q.work(w, seconds=2)
    q.wait(1)
    a.send(b"two")
    q.wait(2)
    (row,) = q.shown(worker_rows)
    assert (row["replied_per_s"], row["busy"]) == (0.1, 0.4)


def test_a_worker_that_has_just_come_has_no_wild_rates(stage: Make) -> None:
    """One reply in a millisecond is not a thousand a second."""
    q = stage()
    q.client("a").send(b"one")
    q.work(q.worker("w"), seconds=0.001)
    assert q.shown(worker_rows)[0]["replied_per_s"] == 1.0


def test_a_debt_is_not_in_flight(stage: Make) -> None:
    """A worker with a cancelled request is busy with nothing that anybody waits for."""
    q = stage()
    q.client("a").send(b"one")
    q.worker("w")
    q.cancel(FIRST)
    (row,) = q.shown(worker_rows)
    assert (row["state"], row["in_flight"], row["oldest_s"]) == ("busy", 0, None)


# Requests


def test_requests_are_rows_oldest_first(stage: Make) -> None:
    """Whatever has become of them meanwhile: in flight, queued, or queued again after a loss."""
    q = stage()
    a, b = q.client("a"), q.client("b")
    w = q.worker("w")
    a.send(b"one")
    q.wait(1)
    b.send(b"other", options="priority=9")
    q.wait(1)
    a.send(b"three")
    w.die()
    q.worker("v")
    rows = q.shown(request_rows)
    assert [row["id"] for row in rows] == [FIRST, SECOND, THIRD]
    assert [row["state"] for row in rows] == ["queued", "in flight", "queued"]
    assert [row["age_s"] for row in rows] == [2.0, 1.0, 0.0]
    assert [row["attempts"] for row in rows] == [1, 0, 0]
    assert [row["client"] for row in rows] == ["c1", "c2", "c1"]
    assert [row["worker"] for row in rows] == [None, "w4", None]
    assert rows[0] | {"queue": "default", "size": len(b"\1\0\0\3one")} == rows[0]


def test_an_ended_request_is_no_row(stage: Make) -> None:
    """Nor is a debt."""
    q = stage()
    q.client("a").send(b"one", b"two")
    w = q.worker("w")
    w.reply()
    q.cancel(SECOND)
    assert q.shown(request_rows) == []


# Clients


def test_a_client_is_a_row(stage: Make) -> None:
    """In the order in which they came, with what it waits for."""
    q = stage()
    a = q.client("a")
    q.client("b")
    w = q.worker("w")
    a.send(b"one", b"two", b"three")
    q.work(w, seconds=1)
    q.wait(1.5)
    a_row, b_row = q.shown(client_rows)
    assert a_row == {
        "id": "c1",
        "queue": "default",
        "address": "a",
        "key": "",
        "name": "",
        "state": "active",
        "queued": 1,
        "in_flight": 1,
        "received": 3,
        "replied": 1,
        "connected_s": 2.5,
        "oldest_s": 2.5,
    }
    assert (b_row["id"], b_row["oldest_s"]) == ("c2", None)


def test_a_client_that_is_not_read_is_paused(stage: Make) -> None:
    """At a limit, in a drain, or because it does not read itself."""
    q = stage(max_queued=1, max_unsent=10)
    a, b = q.client("a"), q.client("b")
    a.send(b"one", b"two")
    w = q.worker("w")
    b.stop_reading()
    b.send(b"three")
    w.reply()
    w.reply(b"longer than ten bytes")
    w.reply()
    q.drain()
    a.send(b"four")
    assert [row["state"] for row in q.shown(client_rows)] == ["paused", "paused"]


def test_rates_belong_to_the_device(stage: Make) -> None:
    """They run from its start, and what it rolls is what the snapshot tells."""
    q = stage()
    a, w = q.client("a"), q.worker("w")
    assert isinstance(q.device.rates, Rates)
    a.send(b"one")
    q.work(w, seconds=1)
    for _ in range(9):
        q.wait(10)
        q.device.loop.now = q.now
        q.device.settle()
    assert q.shown()["replied_per_s"] == 0.0
