from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.harness import Harness, oversize
from zqd.zmtp.frames import EMPTY_MORE, LARGE, Raw, encode_message

# Requests and replies


def test_law_5_a_reply_goes_to_the_client_that_asked() -> None:
    """Two clients' replies come back to each of them, whoever is answered first."""
    q = Harness()
    a, b = q.client("a"), q.client("b")
    v, w = q.worker("v"), q.worker("w")
    a.send(b"one")
    b.send(b"two")
    w.reply()
    v.reply()
    assert a.answers == [b"re:one"]
    assert b.answers == [b"re:two"]


def test_law_5_a_reply_with_another_envelope_fails_the_request_without_a_retry() -> None:
    """A REQ that got another envelope would hang for ever: it gets 502 instead."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", envelope=(b"c7",))
    w.reply(envelope=(b"c8", b""))
    assert a.received == [[b"c7", b"", b"ZQD-ERROR 502 the worker's reply has another envelope"]]
    assert q.counts == {"received": 1, "failed": 1}


@pytest.mark.parametrize("envelope", [(), (b"",)], ids=["none", "its empty frame last"])
def test_law_5_a_reply_without_a_body_fails_the_request(envelope: tuple[bytes, ...]) -> None:
    """An id with nothing after it, or with an empty frame that is the last one, is no reply."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.send_frames(w.done().id, *envelope)
    assert a.answers[0].startswith(b"ZQD-ERROR 502 ")
    assert w.peer.state == "idle"


def test_law_5_an_id_that_the_worker_does_not_hold_is_an_orphan() -> None:
    """It is counted and goes nowhere; the worker stays and keeps what it holds."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.send_frames(b"sixteen bytes id", b"", b"x")
    assert q.counts["orphaned"] == 1
    assert q.noted("reply.orphaned") == [{"worker": "w2", "address": "w", "request": b"sixteen bytes ".hex()}]
    w.reply()
    assert a.answers == [b"re:one"]


def test_law_5_another_workers_id_is_an_orphan() -> None:
    """Only the worker that holds a dispatch answers it."""
    q = Harness()
    a = q.client("a")
    v, w = q.worker("v"), q.worker("w")
    a.send(b"one")
    w.send_frames(v.tasks[0].id, b"", b"stolen")
    assert not a.answers
    assert q.counts["orphaned"] == 1


def test_law_5_a_second_reply_to_the_same_dispatch_is_an_orphan() -> None:
    """A dispatch is answered once."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    first = w.tasks[0]
    w.reply()
    w.send_frames(first.id, b"", b"again")
    assert a.answers == [b"re:one"]
    assert q.counts["orphaned"] == 1


def test_law_5_a_reply_of_an_earlier_attempt_is_an_orphan_after_a_reconnect() -> None:
    """The reply of an attempt that was lost with its connection is not passed on, even from the same program."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.die()
    w.reconnect()
    w.reply_old()
    assert not a.answers
    w.reply()
    assert a.answers == [b"re:one"]
    assert q.counts == {"received": 1, "replied": 1, "retried": 1, "orphaned": 1}


@pytest.mark.parametrize(
    "frames",
    [
        (b"garbage",),
        (b"fifteen bytes..", b"", b"x"),
        (b"",),
        (b"zqd/1",),
        (b"zqd/1", b"hullo"),
        (b"zqd/2", b"leave"),
    ],
)
def test_law_5_a_message_with_no_id_closes_the_worker(frames: tuple[bytes, ...]) -> None:
    """It breaks the protocol: counted, noticed, closed at once, and what the worker held is retried."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.send_frames(*frames)
    assert w.gone
    assert len(q.noted("message.malformed")) == 1
    assert q.counts == {"received": 1, "malformed": 1, "retried": 1, "queued": 1}


def test_law_5_a_worker_that_is_being_closed_gets_nothing() -> None:
    """Between its garbage and the end of its connection no request is charged an attempt for it."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    q.queue.reply(w.peer, encode_message([b"garbage"]), q.now)
    q.queue.request(a.peer, encode_message([b"", b"one"]), q.now)
    assert w.peer.in_flight == 0
    q.step("the turn ends", lambda: None)
    assert q.counts == {"received": 1, "malformed": 1, "queued": 1}


def test_law_5_the_envelope_may_come_back_in_other_bytes() -> None:
    """A client may write a short frame with a long header (RFC 23 "Framing"), and libzmq echoes it with a short one."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send_raw(b"\x03" + (2).to_bytes(8) + b"c7" + b"\x03" + bytes(8) + b"\x00\x03one")
    w.reply()
    assert a.received == [[b"c7", b"", b"re:one"]]


def test_a_large_reply_is_passed_on_whole() -> None:
    """From LARGE bytes on a reply is a view of what the worker sent."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.reply(b"x" * LARGE)
    assert a.answers == [b"x" * LARGE]


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_messages_may_be_bytes_or_bytearrays(kind: type[bytes | bytearray]) -> None:
    """A connection hands over a large message as the buffer that it came in."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    request: Raw = kind(encode_message([b"", b"one"]))
    q.step("request", lambda: q.queue.request(a.peer, request, q.now))
    reply = kind(w.done().key + encode_message([b"", b"re:one"]))
    q.step("reply", lambda: q.queue.reply(w.peer, reply, q.now))
    assert a.answers == [b"re:one"]


def test_a_multipart_body_is_passed_on() -> None:
    """Whatever follows the envelope is the body, empty frames included."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send_frames(b"", b"x", b"", b"y")
    assert w.bodies == [b"x||y"]
    w.reply()
    assert a.answers == [b"re:x||y"]


# What is no request


@pytest.mark.parametrize("frames", [(b"x",), (b"x", b"y"), (b"x", b""), (b"",)])
def test_law_3_a_message_without_envelope_or_body_is_malformed(frames: tuple[bytes, ...]) -> None:
    """It is counted and noticed, outside the law of conservation; no worker gets it and its client gets nothing."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send_frames(*frames)
    assert q.counts == {"malformed": 1}
    assert not w.tasks
    assert not a.received
    assert not a.gone


def test_law_3_a_bad_option_is_received_and_failed() -> None:
    """400 counts as a request that failed (rules 14, 25)."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", options="priority=ten", envelope=(b"c7",))
    assert a.received[0][:3] == [b"zqd/1 status=400", b"c7", b""]
    assert a.answers[0].startswith(b"ZQD-ERROR 400 priority=ten: ")
    assert q.counts == {"received": 1, "failed": 1}
    assert not w.tasks


# Oversize messages


def test_rule_15_an_oversize_request_fails_by_413_under_its_envelope() -> None:
    """It is received and failed; nothing of it reaches a worker."""
    q = Harness(max_message_size=4096)
    a, w = q.client("a"), q.worker("w")
    a.send_raw(oversize(b"c7"))
    assert a.received == [[b"c7", b"", b"ZQD-ERROR 413 larger than 4096 bytes"]]
    assert q.counts == {"received": 1, "failed": 1}
    assert not w.tasks


def test_rule_15_an_oversize_reply_fails_its_request_and_the_worker_stays() -> None:
    """502, not retried; the worker gets the next one."""
    q = Harness(max_message_size=4096)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    w.reply_too_much()
    assert a.answers == [b"ZQD-ERROR 502 the reply is larger than 4096 bytes"]
    assert w.bodies == [b"two"]
    assert q.counts["failed"] == 1
    assert "retried" not in q.counts


def test_rule_15_an_oversize_reply_with_no_id_closes_the_worker() -> None:
    """As with any message that begins with neither an id nor `zqd/1` (law 5)."""
    q = Harness()
    w = q.worker("w")
    q.step("too much", lambda: q.queue.oversize_reply(w.peer, EMPTY_MORE, q.now))
    assert w.gone
    assert q.counts == {"malformed": 1}


def test_rule_15_an_oversize_late_reply_is_late() -> None:
    """It pays its debt like any other answer."""
    q = Harness(request_timeout=1.0, max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.wait(1)
    w.reply_too_much()
    assert w.peer.state == "idle"
    assert q.counts == {"received": 1, "failed": 1, "late": 1}


# Anything


_ids = st.sampled_from([b"held", b"owed", b"sixteen bytes id"])  # the first two stand for ids of this worker
_frames = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"", b"zqd/1", b"hello", b"fail", b"leave", b"500", b"{}"]),
        _ids,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(_frames, _frames)
def test_law_4_no_message_raises(from_client: list[bytes], from_worker: list[bytes]) -> None:
    """Whatever a client and a worker send, it is counted, and the laws hold."""
    q = Harness(max_attempts=1)
    a, d = q.client("a"), q.dealer("d", capacity=2)
    a.send(b"one", options="timeout_ms=1")
    q.wait(1)
    a.send(b"two")
    ids = {b"owed": d.tasks[0].id, b"held": d.tasks[1].id}
    a.send_frames(*from_client)
    before = dict(q.counts)
    d.send_frames(*(ids.get(frame, frame) for frame in from_worker))
    told = from_worker[:2] in ([b"zqd/1", b"hello"], [b"zqd/1", b"leave"])
    assert told or q.counts != before
