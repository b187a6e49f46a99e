from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

import pytest

from tests.core.fakes import FakeClient, FakeWorker
from tests.core.harness import Harness
from zqd.core.check import check
from zqd.core.peers import Worker
from zqd.core.regime import State
from zqd.core.request import Request
from zqd.core.workers import Workers


class Scene:
    """A queue in which everything occurs: one waits, one is held, a worker owes, one is free, one is held up."""

    def __init__(self) -> None:
        self.q = Harness(max_queued=1, prefetch=2, request_timeout=1.0, max_unsent=10)
        self.queue = self.q.queue
        self.a, self.b = self.q.client("a"), self.q.client("b")
        self.owing, self.busy = self.q.worker("owing"), self.q.worker("busy")
        self.a.send(b"one", options="attempts=1")
        self.q.wait(1)
        self.a.send(b"two", b"three")
        self.a.send(b"four", b"five")
        assert self.owing.peer.state == "quarantined"
        assert self.busy.bodies == [b"two", b"three"]
        assert self.a.peer.paused
        check(self.queue)

    def waiting(self) -> Request:
        """The request in the line."""
        return next(iter(self.queue.line))

    def held(self) -> Request:
        """The request that `busy` runs."""
        request = next(iter(self.busy.peer.window.values()))
        assert request is not None
        return request


def _request_lost(scene: Scene) -> None:
    """It is in the line no more, and nothing was told of it."""
    for lane in scene.queue.line._lanes:
        lane.turns.clear()


def _request_doubled(scene: Scene) -> None:
    """It waits and is held."""
    request = scene.held()
    scene.queue.line.add(request)


def _waiting_with_a_worker(scene: Scene) -> None:
    scene.waiting().worker = scene.busy.peer


def _held_without_a_worker(scene: Scene) -> None:
    scene.held().worker = None


def _bytes_miscounted(scene: Scene) -> None:
    scene.queue.line.bytes += 1


def _ready_miscounted(scene: Scene) -> None:
    scene.queue.line.ready += 1


def _worker_doubled(scene: Scene) -> None:
    """It is in a second collection."""
    scene.queue.workers.draining[scene.busy.peer] = None


def _worker_elsewhere(scene: Scene) -> None:
    """It does not know where it is."""
    scene.busy.peer.home = {}


def _worker_misplaced(scene: Scene) -> None:
    """It counts as free and has no free slot."""
    worker = scene.busy.peer
    del worker.home[worker]
    worker.home = scene.queue.workers.ready[0]
    worker.home[worker] = None


def _worker_ready_beyond_its_row(scene: Scene) -> None:
    """It holds more than any row is for."""
    worker = scene.busy.peer
    worker.capacity = 100
    worker.window = OrderedDict((bytes((number,)), None) for number in range(50))
    worker.debts = 50


def _key_unknown(scene: Scene) -> None:
    """A window and its request disagree."""
    scene.held().key = b"another"


def _worker_over_its_capacity(scene: Scene) -> None:
    scene.busy.peer.capacity = 1
    del scene.queue.workers.full[scene.busy.peer]
    scene.busy.peer.home = scene.queue.workers.ready[0]
    scene.busy.peer.home[scene.busy.peer] = None


def _debt_miscounted(scene: Scene) -> None:
    scene.owing.peer.debts += 1


def _quarantined_without_a_debt(scene: Scene) -> None:
    scene.owing.peer.window.clear()
    scene.owing.peer.owed.clear()
    scene.owing.peer.debts = 0


def _idle_beside_a_waiting_request(scene: Scene) -> None:
    scene.queue.regime.state = State.RUNNING
    free = Worker(99, "free", "", 0.0, capacity=1)
    scene.queue.workers.place(free)


def _received_miscounted(scene: Scene) -> None:
    scene.queue.ledger.counters.received += 1


def _reply_not_counted(scene: Scene) -> None:
    scene.queue.ledger.counters.failed -= 1


def _client_waiting_miscounted(scene: Scene) -> None:
    scene.a.peer.waiting += 1


def _client_in_flight_miscounted(scene: Scene) -> None:
    scene.b.peer.outstanding += 1


def _unfinished_miscounted(scene: Scene) -> None:
    scene.a.peer.unfinished += 1


def _outgoing_twice(scene: Scene) -> None:
    scene.queue.out.send(scene.a.peer, b"\x00\x01x\x00\x01x")
    scene.queue.out.outgoing *= 2


def _outgoing_for_nothing(scene: Scene) -> None:
    scene.queue.out.outgoing.append(scene.a.peer)


def _not_outgoing(scene: Scene) -> None:
    list.append(scene.a.peer.outbox, b"x")


def _paused_without_a_reason(scene: Scene) -> None:
    scene.b.peer.paused = True


def _read_although_it_is_held_up(scene: Scene) -> None:
    scene.a.peer.paused = False


@pytest.mark.parametrize(
    ("corrupt", "says"),
    [
        (_request_lost, "law 1: 0 wait, 1 counted"),
        (_request_doubled, "law 1: a request waits and is held"),
        (_waiting_with_a_worker, "law 1: a waiting request has a worker"),
        (_held_without_a_worker, "law 1: a held request has no worker"),
        (_bytes_miscounted, "law 1: waiting bytes miscounted"),
        (_ready_miscounted, "law 1: dispatchable requests miscounted"),
        (_worker_doubled, "law 1: "),
        (_worker_elsewhere, "law 1: a worker thinks that it is elsewhere"),
        (_worker_misplaced, "law 1: w4 (busy) is not where it belongs"),
        (_worker_ready_beyond_its_row, "law 1: "),
        (_key_unknown, "law 1: window and request"),
        (_idle_beside_a_waiting_request, "law 2: w99 (free) is free, requests wait"),
        (_received_miscounted, "law 3: "),
        (_reply_not_counted, "law 3: "),
        (_client_waiting_miscounted, "law 3: c1 (a) has 1 waiting"),
        (_client_in_flight_miscounted, "law 3: c2 (b) has 0 in flight"),
        (_worker_over_its_capacity, "law 1: w4 (busy) is not where it belongs"),
        (_debt_miscounted, "law 7: w3 (owing) owes 1, counted 2"),
        (_quarantined_without_a_debt, "law 7: w3 (owing) is quarantined without a debt"),
        (_unfinished_miscounted, "rule 17: unfinished bytes miscounted"),
        (_outgoing_twice, "a peer is twice in outgoing"),
        (_outgoing_for_nothing, "a peer in outgoing has nothing to send"),
        (_not_outgoing, "c1 (a) has something to send and is not in outgoing"),
        (_paused_without_a_reason, "a client is paused without a reason"),
        (_read_although_it_is_held_up, "a client is paused without a reason"),
    ],
)
def test_check_finds_what_is_broken(corrupt: Callable[[Scene], None], says: str) -> None:
    """Each of its assertions fails for a state that breaks its law, and says so."""
    scene = Scene()
    corrupt(scene)
    with pytest.raises(AssertionError, match=f"^{re.escape(says)}"):
        check(scene.queue)


def test_check_finds_a_worker_that_goes_before_one_with_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 8: the one that is next holds the fewest."""
    q = Harness(prefetch=2)
    v = q.worker("v")
    q.client("a").send(b"one")
    q.worker("w")
    monkeypatch.setattr(Workers, "free", lambda _: v.peer)
    with pytest.raises(AssertionError, match="rule 8: not the worker with the fewest"):
        check(q.queue)


def test_law_2_allows_a_pause_and_a_stalled_client() -> None:
    """In both a free worker stands beside waiting requests."""
    q = Harness(max_unsent=10)
    a, w = q.client("a"), q.worker("w")
    a.stop_reading()
    a.send(b"one", b"two", b"three")
    w.reply(b"long enough")
    w.reply(b"long enough")
    assert w.peer.state == "idle"
    assert q.counts["queued"] == 1
    check(q.queue)
    q.pause()
    q.client("b").send(b"four")
    check(q.queue)


def test_an_empty_queue_is_in_order() -> None:
    """There is nothing to break a law."""
    check(Harness().queue)


# The harness


class Broken(Harness):
    """A harness whose queue goes wrong."""

    def saw_answer(self, client: FakeClient, frames: list[bytes]) -> None:
        """Lose count, as if the queue had."""
        self.queue.ledger.counters.received += 1


def _go_wrong(q: Harness) -> tuple[FakeClient, FakeWorker]:
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.reply()
    return a, w


def test_a_failed_check_shows_the_steps_before_it() -> None:
    """So that one sees how it came."""
    q = Broken()
    with pytest.raises(AssertionError, match="law 3") as error:
        _go_wrong(q)
    note = error.value.__notes__[0].splitlines()
    assert note[0] == "the last steps were"
    assert [line.split(maxsplit=1)[1][:16] for line in note[1:]] == [
        "client a joins",
        "worker w joins",
        "a sends b'\\x01\\x",
        "w sends b'\\x01\\x",
    ]


def test_an_exception_out_of_a_stimulus_shows_the_steps_too() -> None:
    """It is a bug by law 4."""
    q = Harness()
    with pytest.raises(ZeroDivisionError) as error:
        q.step("divide", lambda: 1 // 0)
    assert error.value.__notes__[0].endswith("divide")
