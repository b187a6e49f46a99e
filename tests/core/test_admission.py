from __future__ import annotations

from tests.core.fakes import FakeClient, padded
from tests.core.harness import Harness
from zqd.zmtp.connection import Oversize
from zqd.zmtp.frames import EMPTY_MORE

# Counts


def test_rule_17_at_max_queued_a_client_with_something_waiting_is_paused() -> None:
    """Its message is refused and stays with its connection."""
    q = Harness(max_queued=2)
    a = q.client("a")
    a.send(b"one", b"two", b"three")
    assert a.peer.paused
    assert len(a.unread) == 1
    assert q.counts == {"received": 2, "queued": 2}


def test_rule_17_at_max_queued_a_client_with_nothing_waiting_may_add_one() -> None:
    """One, and then it is held up like the others."""
    q = Harness(max_queued=2)
    a, b = q.client("a"), q.client("b")
    a.send(b"one", b"two", b"three")
    b.send(b"four")
    assert not b.peer.paused
    b.send(b"five")
    assert b.peer.paused
    assert q.counts["queued"] == 3


def test_rule_17_a_paused_client_is_resumed_when_the_line_has_shrunk_by_an_eighth() -> None:
    """Hysteresis: at 16, two must have gone."""
    q = Harness(max_queued=16)
    a, b, w = q.client("a"), q.client("b"), q.worker("w")
    a.send(*[b"x"] * 17)
    b.send(b"y")
    a.send(b"z")
    assert a.peer.paused
    w.reply()  # a's second: 16 wait
    w.reply()  # b's: 15
    assert a.peer.paused
    w.reply()  # 14, and z is the fifteenth
    assert not a.peer.paused
    assert not a.unread


def test_rule_17_a_paused_client_with_nothing_left_is_resumed_at_once() -> None:
    """However full the line is with others' requests."""
    q = Harness(max_queued=8)
    a, b = q.client("a"), q.client("b")
    a.send(*[b"x"] * 8)
    b.send(b"one", b"two")
    w = q.worker("w")
    assert b.peer.paused
    w.reply()
    assert w.bodies == [b"one"]
    assert not b.peer.paused
    assert b.peer.waiting == 1


def test_rule_17_max_per_client_holds_for_each_client() -> None:
    """The others are not concerned."""
    q = Harness(max_per_client=2)
    a, b = q.client("a"), q.client("b")
    a.send(b"one", b"two", b"three")
    b.send(b"four", b"five")
    assert a.peer.paused
    assert not b.peer.paused


def test_rule_17_a_client_at_its_own_limit_is_resumed_when_its_own_share_shrinks() -> None:
    """Not when others' requests go."""
    q = Harness(max_per_client=2)
    a, b = q.client("a"), q.client("b")
    b.send(b"zero")
    a.send(b"one", b"two", b"three")
    w = q.worker("w")
    assert a.peer.paused
    w.reply()
    assert w.bodies == [b"one"]
    assert not a.unread


def test_rule_17_retries_may_exceed_the_limits() -> None:
    """A request that comes back is let in whatever the limit says."""
    q = Harness(max_queued=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    w.die()
    assert q.counts["queued"] == 2


def test_rule_17_a_limit_of_0_is_none() -> None:
    """Nobody is ever paused."""
    q = Harness(max_queued=0, max_queued_bytes=0, max_per_client=0)
    a = q.client("a")
    a.hold(1 << 40)
    a.send(*[b"x" * 1000] * 200)
    assert not a.peer.paused


def test_rule_17_a_departed_clients_room_is_for_others() -> None:
    """Its requests are dropped, and the paused go on."""
    q = Harness(max_queued=2)
    a, b = q.client("a"), q.client("b")
    a.send(b"one")
    b.send(b"two", b"three")
    assert b.peer.paused
    a.leave()
    assert not b.peer.paused
    assert not b.unread


def test_rule_17_room_that_a_time_out_makes_is_used() -> None:
    """A request that fails in the line leaves it like one that is dispatched."""
    q = Harness(max_queued=2)
    a = q.client("a")
    a.send(b"one", options="timeout_ms=100")
    a.send(b"two", b"three")
    assert a.peer.paused
    q.wait(1)
    assert not a.unread
    assert q.counts["queued"] == 2


# Bytes


def test_rule_17_max_queued_bytes_is_hard() -> None:
    """What does not fit is refused, by a byte."""
    q = Harness(max_queued_bytes=200)
    a, b = q.client("a"), q.client("b")
    a.send(padded(b"x", 100))
    b.send(padded(b"y", 101))
    assert b.peer.paused
    b.leave()
    c = q.client("c")
    c.send(padded(b"z", 100))
    assert not c.peer.paused
    assert q.queue.line.bytes == 200


def test_rule_17_an_empty_line_admits_any_single_message() -> None:
    """Otherwise it could never be answered."""
    q = Harness(max_queued_bytes=200)
    a = q.client("a")
    a.send(padded(b"x", 5000))
    assert q.queue.line.bytes == 5000
    a.send(b"y")
    assert a.peer.paused


def test_rule_17_nobody_overtakes_at_the_byte_limit() -> None:
    """A small message waits behind a large one that was refused before it."""
    q = Harness(max_queued_bytes=200)
    a, b, c = q.client("a"), q.client("b"), q.client("c")
    a.send(padded(b"x", 150))
    b.send(padded(b"y", 100))
    c.send(b"small")
    assert b.peer.paused
    assert c.peer.paused
    w = q.worker("w")
    assert not b.peer.paused
    assert not c.peer.paused
    w.reply()
    w.reply()
    w.reply()
    assert c.answers == [b"re:small"]


def test_rule_17_a_large_message_is_admitted_when_the_line_is_empty_again() -> None:
    """One that is larger than the limit waits for that, and goes on then."""
    q = Harness(max_queued_bytes=200)
    a, b = q.client("a"), q.client("b")
    a.send(b"one", b"two")
    b.send(padded(b"large", 1000))
    assert b.peer.paused
    w = q.worker("w")
    assert b.peer.paused
    w.reply()
    assert not b.peer.paused
    w.reply()
    w.reply()
    assert len(b.answers) == 1


def _holders(q: Harness, *sizes: int) -> list[FakeClient]:
    """Clients that hold so many unfinished bytes each."""
    clients = [q.client(f"h{number}") for number in range(len(sizes))]
    for client, size in zip(clients, sizes, strict=True):
        client.hold(size)
    return clients


def test_rule_17_bytes_of_unfinished_messages_count() -> None:
    """A whole message does not fit beside them."""
    q = Harness(max_queued_bytes=200)
    _holders(q, 150)
    a = q.client("a")
    a.send(b"one")
    a.send(padded(b"two", 60))
    assert a.peer.paused


def test_rule_17_a_client_is_told_when_it_is_not_to_be_read_on() -> None:
    """By the call that says how much it holds."""
    q = Harness(max_queued_bytes=300)
    a, b = q.client("a"), q.client("b")
    a.send(padded(b"one", 200))
    assert q.queue.unfinished(b.peer, 100)
    assert not q.queue.unfinished(b.peer, 101)


def test_rule_17_a_message_that_was_let_grow_is_let_in() -> None:
    """Although another one has come into the line meanwhile."""
    q = Harness(max_queued_bytes=300)
    (a,) = _holders(q, 500)
    b = q.client("b")
    b.send(b"small")
    a.send(padded(b"large", 600))
    assert not a.peer.paused
    assert q.counts["queued"] == 2


def test_rule_17_an_unfinished_message_that_fits_again_goes_on() -> None:
    """Its bytes are in the account already, so it needs no more room than it has."""
    q = Harness(max_queued_bytes=300)
    a = q.client("a")
    a.send(padded(b"one", 100), padded(b"two", 100))
    (b,) = _holders(q, 150)
    assert b.peer.paused
    q.worker("w")
    assert q.counts["queued"] == 1
    assert not b.peer.paused


def test_rule_17_one_unfinished_message_may_grow_beyond_the_limit() -> None:
    """Over an empty line, and only one at a time; the next one's turn comes when it is whole."""
    q = Harness(max_queued_bytes=200)
    q.worker("w")
    a, b = _holders(q, 201, 201)
    assert not a.peer.paused
    assert b.peer.paused
    a.hold(5000)
    assert not a.peer.paused
    a.send(b"the rest")
    assert not b.peer.paused


def test_rule_17_a_client_that_grows_beyond_the_limit_and_leaves_makes_way() -> None:
    """Its bytes are forgotten, and the next one may grow."""
    q = Harness(max_queued_bytes=200)
    a, b = _holders(q, 201, 201)
    a.leave()
    assert q.queue.admission.unfinished == 201
    assert not b.peer.paused


def test_rule_17_a_message_that_turns_out_to_be_none_makes_way_too() -> None:
    """It was let grow over an empty line, and was refused for its options, or discarded as too large."""
    for last in (b"\x01\x0azqd/1 x=1 \x01\x00\x00\x01x", Oversize(EMPTY_MORE, 1 << 30)):
        q = Harness(max_queued_bytes=200)
        a, b = _holders(q, 201, 201)
        a.send_raw(last)
        assert not b.peer.paused


def test_rule_17_a_peer_that_stops_in_mid_message_holds_up_no_whole_message() -> None:
    """An empty line admits it, also one that was refused before."""
    q = Harness(max_queued_bytes=200)
    _holders(q, 150, 150)
    a, b = q.client("a"), q.client("b")
    a.send(b"one")
    b.send(padded(b"two", 150))
    assert b.peer.paused
    w = q.worker("w")
    assert not b.peer.paused
    w.reply()
    w.reply()
    assert len(b.answers) == 1


def test_rule_17_a_client_that_holds_nothing_is_not_paused_for_bytes() -> None:
    """Its message became whole, and others hold too much: it may still send to an empty line."""
    q = Harness(max_queued_bytes=200)
    w = q.worker("w")
    a, b = _holders(q, 100, 300)
    a.send(b"one")
    assert not b.peer.paused
    assert not a.peer.paused
    w.reply()


def test_rule_17_no_more_are_resumed_than_there_is_room_for() -> None:
    """Room for one message does not wake a crowd that would be refused again."""
    q = Harness(max_queued_bytes=1000)
    crowd = [q.client(f"c{number}") for number in range(50)]
    for client in crowd:
        client.send(padded(b"x", 100))
    assert sum(client.peer.paused for client in crowd) == 40
    before = len(q.noted("client.paused"))
    q.worker("w")
    assert sum(client.peer.paused for client in crowd) == 39
    assert len(q.noted("client.paused")) == before


def test_rule_17_an_empty_line_wakes_one_large_message_at_a_time() -> None:
    """Each is larger than the limit; those behind the first would only be refused again."""
    q = Harness(max_queued_bytes=100)
    crowd = [q.client(f"c{number}") for number in range(5)]
    for client in crowd:
        client.send(padded(b"x", 500))
    assert sum(client.peer.paused for client in crowd) == 4
    before = len(q.noted("client.paused"))
    w = q.worker("w")
    for left in (3, 2, 1, 0):
        assert sum(client.peer.paused for client in crowd) == left
        w.reply()
    assert len(q.noted("client.paused")) == before


def test_rule_17_a_stalled_client_does_not_keep_the_room_of_others() -> None:
    """It is first in the order, but is not going to send; who comes after it goes on."""
    q = Harness(max_queued_bytes=200, max_unsent=10)
    a, b, c = q.client("a"), q.client("b"), q.client("c")
    a.stop_reading()
    a.send(padded(b"x", 150))
    b.send(padded(b"y", 300))
    c.send(padded(b"z", 300))
    b.stop_reading()
    b.pile_up(1000)
    assert b.peer.stalled
    w = q.worker("w")
    assert not c.peer.paused
    w.reply()
    assert [body[:1] for body in w.bodies] == [b"z"]


# Rejecting


def test_rule_17_an_overloaded_queue_may_reject() -> None:
    """`overload = "reject"`: 503 at once, and nobody is paused."""
    q = Harness(max_queued=1, overload="reject")
    a = q.client("a")
    a.send(b"one", b"two")
    assert a.answers == [b"ZQD-ERROR 503 the queue is full"]
    assert not a.peer.paused
    assert q.counts == {"received": 2, "failed": 1, "queued": 1}


# Notices


def test_a_pause_is_noticed() -> None:
    """People can see who is held up."""
    q = Harness(max_queued=1)
    a = q.client("a")
    a.send(b"one", b"two")
    assert q.noted("client.paused") == [{"client": "c1", "address": "a"}]
