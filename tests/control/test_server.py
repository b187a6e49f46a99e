from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from tests.control.bench import Bench, Connect, answer, fill, request, wait_for
from tests.control.serving import PaperBroker, served
from tests.support.processes import wait_for as eventually
from zqd.control.answers import Later
from zqd.control.broker import Broker
from zqd.control.commands import PROTOCOL, Arguments, Command, command
from zqd.control.server import HIGH_WATER, MAX_FRAMES, MAX_REQUEST, MAX_WAITING, REQUESTS_PER_TURN

# The socket


def test_the_socket_file_stays_the_callers(bench: Bench, path: Path) -> None:
    """The server neither makes the path anew nor unlinks it: its inode outlives it, and still listens."""
    inode = path.stat().st_ino
    bench.server.close()
    assert path.stat().st_ino == inode
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.connect(str(path))


def test_the_path_is_not_bound_again(bench: Bench, path: Path, connect: Connect) -> None:
    """The server answers by the listener that it was given, at the inode that was there before."""
    inode = path.stat().st_ino
    client = connect(zmq.REQ)
    client.send(request("ping"))
    assert bench.until_answered(client)["ok"]
    assert path.stat().st_ino == inode


def test_a_successor_takes_over_the_listener(bench: Bench, connect: Connect) -> None:
    """A listener that served one server serves the next: who connects in between is answered by that."""
    bench.close_for_good()
    client = connect(zmq.REQ)
    client.send(request("ping"))
    bench.serve()
    assert bench.until_answered(client)["ok"]


def test_closing_twice_is_closing(bench: Bench) -> None:
    """A second close does nothing."""
    bench.server.close()
    bench.server.close()


# The wire


def test_a_reply_says_protocol_and_result(bench: Bench, connect: Connect) -> None:
    """A result travels in an object that says the protocol."""
    client = connect(zmq.REQ)
    client.send(request("ping"))
    assert bench.until_answered(client) == {"zqd": PROTOCOL, "ok": True, "result": "pong"}


def test_a_correlating_req_is_answered(bench: Bench, connect: Connect) -> None:
    """The whole envelope up to the empty frame goes back as it came."""
    client = connect(zmq.REQ)
    client.setsockopt(zmq.REQ_CORRELATE, 1)
    client.send(request("ping"))
    assert bench.until_answered(client)["ok"]


def test_args_may_be_left_out(bench: Bench, connect: Connect) -> None:
    """No args are no arguments."""
    client = connect(zmq.REQ)
    client.send(b'{"zqctl": 1, "command": "ping"}')
    assert bench.until_answered(client)["ok"]


@pytest.mark.parametrize(
    ("frames", "code", "sentence"),
    [
        ([b"", b"{"], "bad-request", "the request is not JSON: "),
        ([b"", b"\xff\xfe\xfd"], "bad-request", "the request is not JSON: "),
        ([b"", b"[" * 60_000], "bad-request", "the request is not JSON: "),
        ([b"", b"[1" + b"0" * 5000 + b"]"], "bad-request", "the request is not JSON: "),
        ([b"", b"[]"], "bad-request", "the request is not a JSON object"),
        ([b"", b""], "bad-request", "the request is not JSON: "),
        ([b"", b"{}"], "bad-request", 'the request does not say its protocol ("zqctl": 1)'),
        (
            [b"", b'{"zqctl": true, "command": "ping"}'],
            "bad-request",
            "the request does not say its protocol",
        ),
        ([b"", b'{"zqctl": 1, "command": 3}'], "bad-request", "the request's command is not a string"),
        (
            [b"", b'{"zqctl": 1, "command": "ping", "args": []}'],
            "bad-request",
            "the request's args are not an object",
        ),
        (
            [b"", request("ping"), b""],
            "bad-request",
            "one frame of JSON is wanted after the empty frame, not 2",
        ),
        ([b""], "bad-request", "one frame of JSON is wanted after the empty frame, not 0"),
        ([request("ping")], "bad-request", "the request has no empty frame before its JSON"),
        ([b"", request("pingg")], "unknown-command", "unknown command 'pingg'"),
        ([b"", request("\ud800\x1b[2J")], "unknown-command", "unknown command '\\ud800\\x1b[2J'"),
        ([b"", request("ping", x=1)], "bad-argument", "ping takes no argument 'x'"),
        (
            [b"", b'{"zqctl": 2, "command": "ping"}'],
            "unsupported-protocol",
            "the request is in control protocol 2, zqd speaks 1",
        ),
        (
            [b"", b'{"zqctl": 1' + b"0" * 4000 + b"}"],
            "unsupported-protocol",
            "the request is in control protocol 10",
        ),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(
    frames: list[bytes], code: str, sentence: str, bench: Bench, connect: Connect
) -> None:
    """Whatever a peer sends gets a code for programs and a sentence for people, and is no fault of ours."""
    client = connect(zmq.DEALER)
    client.send_multipart(frames)
    reply = bench.until_answered(client)
    assert reply["error"].startswith(sentence)
    assert reply == {"zqd": PROTOCOL, "ok": False, "code": code, "error": reply["error"]}
    assert bench.faults == []


def test_a_message_of_many_frames_is_ignored(bench: Bench, connect: Connect) -> None:
    """What no client of ours sends gets no answer; the next request does."""
    client = connect(zmq.DEALER)
    client.send_multipart([b"x"] * MAX_FRAMES + [b"", request("ping")])
    client.send_multipart([b"", request("ping")])
    assert bench.until_answered(client)["ok"]
    assert not client.poll(0)


def test_an_oversized_request_cuts_only_its_sender_off(bench: Bench, connect: Connect) -> None:
    """The header alone gets the connection closed; everybody else is served."""
    big, small = connect(zmq.DEALER), connect(zmq.REQ)
    big.send_multipart([b"", b" " * (MAX_REQUEST + 1)])
    small.send(request("ping"))
    assert bench.until_answered(small)["ok"]
    assert not big.poll(0)


def test_a_request_of_the_full_size_is_read(bench: Bench, connect: Connect) -> None:
    """64 KiB are allowed, to the byte."""
    client = connect(zmq.REQ)
    client.send(request("ping").ljust(MAX_REQUEST))
    assert bench.until_answered(client)["ok"]


# Faults


def test_a_command_that_raises_is_answered_and_told(bench: Bench, connect: Connect) -> None:
    """The operator learns that it failed, the log gets the exception, and the server goes on."""
    client = connect(zmq.REQ)
    client.send(request("crash"))
    reply = bench.until_answered(client)
    assert (reply["code"], reply["error"]) == (
        "failed",
        "the command failed inside zqd: ZeroDivisionError: by nothing",
    )
    assert [type(fault) for fault in bench.faults] == [ZeroDivisionError]
    client.send(request("ping"))
    assert bench.until_answered(client)["ok"]


def test_a_result_that_json_cannot_hold_is_a_fault(bench: Bench, connect: Connect) -> None:
    """It is answered and told like an exception."""
    client = connect(zmq.REQ)
    client.send(request("unspeakable"))
    assert bench.until_answered(client)["code"] == "failed"
    assert [type(fault) for fault in bench.faults] == [TypeError]


def test_an_error_of_zqds_own_is_an_answer(bench: Bench, connect: Connect) -> None:
    """What zqd raises for its operator reaches the operator as it is, and is no fault."""
    client = connect(zmq.REQ)
    client.send(request("refuse"))
    reply = bench.until_answered(client)
    assert (reply["code"], reply["error"]) == ("failed", "queues.default.prefetch: too large")
    assert bench.faults == []


# The edge


def test_requests_that_one_edge_announced_are_all_answered(bench: Bench, connect: Connect) -> None:
    """200 requests sent before the first call are answered, though not each has an edge of its own."""
    clients = fill(connect, 25, 8)
    answers = [bench.until_answered(client) for _ in range(8) for client in clients]
    assert all(reply["ok"] for reply in answers)


def test_one_call_is_bounded(bench: Bench, connect: Connect, commands: dict[str, Command]) -> None:
    """A call serves at most 64 requests, so that the data path has its turn."""
    served: list[int] = []

    def count(broker: Broker, args: Arguments) -> object:
        """Count this one."""
        served[-1] += 1
        return None

    command(reads=True, table=commands)(count)
    clients = fill(connect, 25, 8, "count")
    while sum(served) < 200:
        served.append(0)
        bench.server.service()
    assert max(served) <= REQUESTS_PER_TURN
    assert all(answer(client)["ok"] for client in clients for _ in range(8))


def test_service_says_whether_more_is_there(bench: Bench, connect: Connect) -> None:
    """The return value is `pending`; with nothing left it is false."""
    client = connect(zmq.REQ)
    client.send(request("ping"))
    bench.until_answered(client)
    assert bench.server.service() is False
    assert bench.server.pending is False


def test_a_served_crowd_is_never_stuck(path: Path, connect: Connect) -> None:
    """Clients that ask again and again of a loop that is edge-triggered all get every answer."""
    with served(path, PaperBroker()):
        clients = [connect(zmq.REQ) for _ in range(20)]
        for _ in range(50):
            for client in clients:
                client.send(request("status"))
            for client in clients:
                assert answer(client)["ok"]


# Bounds


def resident_kib() -> int:
    """This process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def test_a_client_that_reads_nothing_costs_little(bench: Bench, connect: Connect) -> None:
    """Of 200 answers of a megabyte that nobody reads a few are kept; others are served meanwhile."""
    deaf, other = socket.socket(socket.AF_UNIX), connect(zmq.REQ)
    with closing(deaf):
        deaf.connect(bench.listener.getsockname())
        before = resident_kib()
        for sent in raw_dealer_messages([b"", request("at-length")], 200):
            deaf.sendall(sent)
            other.send(request("ping"))
            assert bench.until_answered(other)["ok"]
        assert resident_kib() - before < 4 * HIGH_WATER * 1024


def raw_dealer_messages(frames: list[bytes], count: int) -> Iterator[bytes]:
    """What a ZMTP 3.0 DEALER sends that never looks at what it gets: the handshake, then a message `count` times."""
    ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
    yield (
        b"\xff"
        + b"\0" * 8
        + b"\x7f\x03\0"
        + b"NULL".ljust(20, b"\0")
        + b"\0" * 32
        + bytes([4, len(ready)])
        + ready
    )
    last = len(frames) - 1
    message = b"".join(bytes([at < last, len(frame)]) + frame for at, frame in enumerate(frames))
    for _ in range(count):
        yield message


# Answers that come later


def test_an_answer_may_come_later(bench: Bench, connect: Connect) -> None:
    """A verb that waits is answered when its work is done; others are served meanwhile."""
    waiting, other = connect(zmq.REQ), connect(zmq.REQ)
    waiting.send(request("wait"))
    other.send(request("ping"))
    assert bench.until_answered(other)["ok"]
    assert not waiting.poll(0)
    other.send(request("tell"))
    assert bench.until_answered(other)["result"] == "told"
    assert bench.until_answered(waiting)["result"] == "it is time"


def test_a_failure_may_come_later(bench: Bench, connect: Connect, waiting: list[Later]) -> None:
    """A verb that waits can fail with a sentence."""
    client = connect(zmq.REQ)
    client.send(request("wait"))
    wait_for(bench, waiting, 1)
    waiting[0].fail("the worker is gone")
    reply = answer(client)
    assert (reply["code"], reply["error"]) == ("failed", "the worker is gone")


def test_a_late_answer_does_not_swallow_a_request(
    bench: Bench, connect: Connect, waiting: list[Later]
) -> None:
    """A send outside of service() may take the edge of a request with it: `pending` says so, and nobody is forgotten."""
    patient, other = connect(zmq.REQ), connect(zmq.REQ)
    for _ in range(200):
        patient.send(request("wait"))
        wait_for(bench, waiting, 1)
        other.send(request("ping"))
        waiting.pop().finish(None)
        assert bench.until_answered(other)["ok"]
        assert answer(patient)["ok"]


def test_those_who_wait_are_told_at_the_end(bench: Bench, connect: Connect, waiting: list[Later]) -> None:
    """A server that closes answers what is still to come with a failure; a Later finished after that is nobody's."""
    clients = fill(connect, 50, 1, "wait")
    wait_for(bench, waiting, 50)
    bench.server.close()
    assert {answer(client)["error"] for client in clients} == {"zqd stopped before this was done"}
    waiting[0].finish("too late")


def test_the_answers_to_come_are_bounded(bench: Bench, connect: Connect, waiting: list[Later]) -> None:
    """One wait too many and the oldest is given up, and can see that nobody waits for it."""
    first, others = connect(zmq.REQ), connect(zmq.DEALER)
    first.send(request("wait"))
    wait_for(bench, waiting, 1)
    for _ in range(MAX_WAITING):
        others.send_multipart([b"", request("wait")])
        bench.server.service()
    wait_for(bench, waiting, MAX_WAITING + 1)
    assert answer(first)["error"] == "too many commands are waiting for their answers; this was the oldest"
    assert [later.done for later in waiting].count(True) == 1


def test_who_has_hung_up_can_be_seen(bench: Bench, connect: Connect, waiting: list[Later]) -> None:
    """Also when another connection has got the number of the one that ended."""
    client = connect(zmq.REQ)
    client.send(request("wait"))
    wait_for(bench, waiting, 1)
    assert not waiting[0].abandoned()
    client.close(linger=0)
    eventually(waiting[0].abandoned, "the connection to end")
    others = fill(connect, 5, 1)
    assert all(bench.until_answered(other)["ok"] for other in others)
    assert waiting[0].abandoned()
