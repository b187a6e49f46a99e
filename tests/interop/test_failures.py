"""Failures and client options as unmodified libzmq clients see them (rules 11, 12, 14, 15, 25; law 6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import Zqd

SMALL = 64 * 1024


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Zqd]:
    """A zqd where nothing may wait for long, and nothing may be large."""
    settings = ("queue_timeout=200ms", f"max_message_size={SMALL}")
    options = [word for setting in settings for word in ("--set", f"queues.default.{setting}")]
    with Zqd(tmp_path, *options) as process:
        yield process


def test_rule_14_a_plain_req_goes_on_after_a_failure(hasty: Zqd, connect: Connect) -> None:
    """The failure is its reply, and its next request is answered."""
    client = connect(zmq.REQ, hasty.frontend)
    client.send(b"nobody is there")
    assert client.recv() == b"ZQD-ERROR 504 waited too long"
    worker = connect(zmq.REP, hasty.backend)
    hasty.wait_until("the worker", lambda queue: queue["workers"] == 1)
    client.send(b"again")
    worker.send(worker.recv())
    assert client.recv() == b"again"


def test_rule_14_a_correlating_req_takes_a_failure_for_its_own(hasty: Zqd, connect: Connect) -> None:
    """The request id that it put before the empty frame comes back with the failure."""
    client = connect(zmq.REQ, hasty.frontend, req_correlate=1, req_relaxed=1)
    client.send(b"first")
    assert client.recv() == b"ZQD-ERROR 504 waited too long"
    client.send(b"second")
    assert client.recv() == b"ZQD-ERROR 504 waited too long"


def test_rule_14_a_dealer_knows_which_of_its_requests_failed(hasty: Zqd, connect: Connect) -> None:
    """Each failure bears the envelope of its request, whatever frames that has."""
    client = connect(zmq.DEALER, hasty.frontend)
    for number in range(5):
        client.send_multipart([b"id %d" % number, b"more", b"", b"body"])
    answers = [client.recv_multipart() for _ in range(5)]
    failure = b"ZQD-ERROR 504 waited too long"
    assert sorted(answers) == [[b"id %d" % number, b"more", b"", failure] for number in range(5)]


def test_rule_14_drop_sends_nothing(tmp_path: Path, connect: Connect) -> None:
    """With `on_failure = "drop"` a failed request is counted, and its client hears nothing of it."""
    options = ("--set", "queues.default.on_failure=drop", "--set", "queues.default.queue_timeout=100ms")
    with Zqd(tmp_path, *options) as zqd:
        client = connect(zmq.DEALER, zqd.frontend)
        client.send_multipart([b"", b"fails"])
        zqd.wait_until("the failure", lambda queue: queue["failed"] == 1)
        worker = connect(zmq.REP, zqd.backend)
        client.send_multipart([b"", b"goes well"])
        worker.send(worker.recv())
        assert client.recv_multipart() == [b"", b"goes well"]


def test_rule_15_an_oversize_request_fails_alone(hasty: Zqd, connect: Connect) -> None:
    """413 under its own envelope; the requests before and after it are answered."""
    client = connect(zmq.DEALER, hasty.frontend)
    worker = connect(zmq.REP, hasty.backend)
    hasty.wait_until("the worker", lambda queue: queue["workers"] == 1)
    client.send_multipart([b"1", b"", b"small"])
    client.send_multipart([b"2", b"", b"x" * (4 * SMALL)])
    client.send_multipart([b"3", b"", b"small too"])
    for _ in range(2):
        worker.send(worker.recv())
    answers = [client.recv_multipart() for _ in range(3)]
    assert [b"1", b"", b"small"] in answers
    assert [b"2", b"", b"ZQD-ERROR 413 larger than 65536 bytes"] in answers
    assert [b"3", b"", b"small too"] in answers


def test_rule_15_an_oversize_reply_fails_its_request(hasty: Zqd, connect: Connect) -> None:
    """502, not retried, and the worker stays."""
    client = connect(zmq.REQ, hasty.frontend)
    worker = connect(zmq.REP, hasty.backend)
    client.send(b"how long?")
    worker.recv()
    worker.send(b"x" * (4 * SMALL))
    assert client.recv() == b"ZQD-ERROR 502 the reply is larger than 65536 bytes"
    client.send(b"shorter")
    worker.send(worker.recv())
    assert client.recv() == b"shorter"
    queue = hasty.queue()
    assert (queue["workers"], queue["failed"], queue["retried"]) == (1, 1, 0)


def test_rule_25_a_client_sets_its_own_timeout(zqd: Zqd, connect: Connect) -> None:
    """`timeout_ms` holds wherever the request is; the failure names its status where the options were."""
    client = connect(zmq.DEALER, zqd.frontend)
    client.send_multipart([b"zqd/1 timeout_ms=100", b"id", b"", b"waits"])
    assert client.recv_multipart() == [
        b"zqd/1 status=504",
        b"id",
        b"",
        b"ZQD-ERROR 504 the client's own time-out",
    ]


def test_rule_25_options_come_back_untouched(zqd: Zqd, connect: Connect) -> None:
    """They travel to the worker and back with the envelope, and the worker's program never sees them."""
    client, worker = connect(zmq.DEALER, zqd.frontend), connect(zmq.REP, zqd.backend)
    client.send_multipart([b"zqd/1 priority=9 attempts=1", b"", b"body"])
    assert worker.recv_multipart() == [b"body"]
    worker.send(b"reply")
    assert client.recv_multipart() == [b"zqd/1 priority=9 attempts=1", b"", b"reply"]


@pytest.mark.parametrize("options", [b"zqd/1 priority=10", b"zqd/1 color=red", b"zqd/1 timeout_ms=soon"])
def test_rule_25_bad_options_fail_at_once(zqd: Zqd, connect: Connect, options: bytes) -> None:
    """400 with the word that is wrong; no worker is troubled."""
    client = connect(zmq.DEALER, zqd.frontend)
    client.send_multipart([options, b"", b"body"])
    status, empty, failure = client.recv_multipart()
    assert (status, empty) == (b"zqd/1 status=400", b"")
    assert failure.startswith(b"ZQD-ERROR 400 ")


def test_law_6_a_high_priority_passes_what_waits(zqd: Zqd, connect: Connect) -> None:
    """Of all that waits when a worker comes, the highest priority is served first."""
    client = connect(zmq.DEALER, zqd.frontend)
    for number in range(5):
        client.send_multipart([b"zqd/1 priority=1", b"", b"low %d" % number])
    client.send_multipart([b"zqd/1 priority=9", b"", b"high"])
    zqd.wait_until("all to wait", lambda queue: queue["queued"] == 6)
    worker = connect(zmq.REP, zqd.backend)
    served = []
    for _ in range(6):
        served.append(worker.recv())
        worker.send(b"")
    assert served == [b"high", *(b"low %d" % number for number in range(5))]
