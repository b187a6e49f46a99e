from __future__ import annotations

import pytest

from tests.core.harness import BOOT, Harness
from zqd.zmtp.frames import encode_message

# Ids


def test_rule_24_a_worker_gets_an_id_and_the_clients_message_untouched() -> None:
    """The id is one frame of 16 bytes: boot, request, attempt."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    raw = encode_message([b"zqd/1 priority=9", b"c7", b"", b"x", b"", b"y" * 300])
    a.send_raw(raw)
    assert w.tasks[0].key == b"\x01\x10" + BOOT + bytes.fromhex("000000000001 0001")
    assert w.tasks[0].message == raw


def test_rule_24_every_dispatch_has_a_new_id() -> None:
    """The request's part stays, the attempt's counts on, charged or not."""
    q = Harness(prefetch=2)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    w.die()
    v = q.worker("v")
    assert [task.id[8:].hex(" ", 6) for task in v.tasks] == ["0000 000000010002", "0000 000000020002"]


def test_rule_24_the_attempts_part_of_an_id_may_wrap() -> None:
    """A request that was returned uncharged ever so often still has valid ids."""
    q = Harness()
    a = q.client("a")
    a.send(b"one")
    w = q.worker("w")
    request = next(iter(w.peer.window.values()))
    assert request is not None
    request.dispatches = 0x1FFFF
    w.die()
    v = q.worker("v")
    assert v.tasks[0].id[14:] == b"\x00\x00"
    v.reply()
    assert a.answers == [b"re:one"]


# Who gets what


def test_law_2_a_request_goes_to_a_free_worker_at_once() -> None:
    """It never sees the line."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    assert w.bodies == [b"one"]


def test_law_2_a_worker_that_joins_gets_what_waits() -> None:
    """As many as it has slots."""
    q = Harness(prefetch=2)
    a = q.client("a")
    a.send(b"one", b"two", b"three")
    w = q.worker("w")
    assert w.bodies == [b"one", b"two"]


def test_law_2_a_worker_that_has_answered_gets_the_next() -> None:
    """In the same step."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    w.reply()
    assert w.bodies == [b"two"]


def test_law_2_a_slow_worker_holds_up_nobody() -> None:
    """Twenty requests, one worker that hangs on its first: the other answers the rest."""
    q = Harness()
    a, slow, fast = q.client("a"), q.worker("slow"), q.worker("fast")
    a.send(*[b"x"] * 20)
    for _ in range(19):
        fast.reply()
    assert len(a.answers) == 19
    assert slow.bodies == [b"x"]


def test_rule_8_the_longest_idle_worker_is_next() -> None:
    """Work goes round."""
    q = Harness()
    a, u, v, w = q.client("a"), q.worker("u"), q.worker("v"), q.worker("w")
    for worker in (u, v, w, u, v, w):
        a.send(b"x")
        assert worker.bodies == [b"x"]
        worker.reply()


def test_rule_8_the_worker_that_holds_the_fewest_is_next() -> None:
    """With several slots each they fill evenly."""
    q = Harness(prefetch=3)
    a, v, w = q.client("a"), q.worker("v"), q.worker("w")
    a.send(b"1", b"2", b"3", b"4", b"5", b"6", b"7")
    assert v.bodies == [b"1", b"3", b"5"]
    assert w.bodies == [b"2", b"4", b"6"]


def test_rule_8_a_rep_has_prefetch_slots_and_a_dealer_one() -> None:
    """A DEALER says otherwise in its hello, if it does."""
    q = Harness(prefetch=3)
    a, w, d = q.client("a"), q.worker("w"), q.dealer("d")
    a.send(*[b"x"] * 9)
    assert len(w.tasks) == 3
    assert len(d.tasks) == 1


def test_law_7_a_debt_takes_a_slot() -> None:
    """A worker with two slots and one debt gets one more request, not two."""
    q = Harness(prefetch=2)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", options="timeout_ms=100")
    q.wait(1)
    a.send(b"two", b"three")
    assert w.bodies == [b"one", b"two"]
    assert q.counts["queued"] == 1


def test_law_6_returned_requests_go_first() -> None:
    """What a lost worker held is dispatched before what waited, in the order of arrival."""
    q = Harness(prefetch=2)
    a, b, w = q.client("a"), q.client("b"), q.worker("w")
    a.send(b"one", b"two", b"three")
    b.send(b"four")
    w.die()
    v = q.worker("v")
    assert v.bodies == [b"one", b"two"]


# Clocks


@pytest.mark.parametrize("answers", [True, False])
def test_rule_9_the_clock_of_the_next_starts_when_the_head_is_answered(answers: bool) -> None:
    """By a reply or by a failure."""
    q = Harness(prefetch=2)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.wait(3)
    if answers:
        w.reply()
    else:
        w.reply(envelope=(b"another", b""))
    q.wait(4)
    w.reply()
    assert q.queue.ledger.run.since_start()["max"] == pytest.approx(4)
    assert q.queue.ledger.wait.since_start()["max"] == pytest.approx(3)


def test_rule_9_with_a_declared_capacity_all_clocks_start_at_the_dispatch() -> None:
    """They run at once."""
    q = Harness()
    a, d = q.client("a"), q.dealer("d", capacity=2)
    a.send(b"one", b"two")
    q.wait(3)
    d.reply(place=1)
    assert q.queue.ledger.wait.since_start()["max"] == 0
    assert q.queue.ledger.run.since_start()["max"] == pytest.approx(3)


def test_rule_9_a_rep_that_answers_out_of_order_harms_nobody() -> None:
    """It is passed on; the head's time-out is still that of its start."""
    q = Harness(prefetch=3, request_timeout=2.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two", b"three")
    q.wait(1)
    w.reply(place=1)
    w.reply(place=1)
    assert a.answers == [b"re:two", b"re:three"]
    assert q.queue.ledger.run.since_start()["max"] == pytest.approx(1)
    q.wait(1)
    assert w.peer.state == "quarantined"
