from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from tests.control.bench import MOST, Bench, Connect, answer, fill, request, wait_for
from tests.control.serving import PaperBroker, served
from zqd.control.answers import Later
from zqd.control.broker import Broker
from zqd.control.commands import PROTOCOL, Argument, Arguments, Command, command
from zqd.control.server import BURST, MAX_REQUEST, MAX_WAITING, SHARE

# The socket


def test_closing_removes_the_path(bench: Bench, path: Path) -> None:
    """The path is the server's, as its listener made it."""
    assert path.exists()
    bench.server.close()
    assert not path.exists()


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
        ([b""], "bad-request", "the request has no empty frame before its JSON"),
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


def test_an_envelope_of_many_frames_comes_back(bench: Bench, connect: Connect) -> None:
    """Whatever stands before the empty frame is the client's own."""
    client = connect(zmq.DEALER)
    client.send_multipart([b"x"] * 100 + [b"", request("ping")])
    bench.turn_until(lambda: client.poll(0), "a reply")
    assert client.recv_multipart()[:-1] == [b"x"] * 100 + [b""]


def test_an_oversized_request_is_refused(bench: Bench, connect: Connect) -> None:
    """It is discarded as it comes and answered under its envelope; the next one of the same client is served."""
    client = connect(zmq.DEALER)
    client.send_multipart([b"me", b"", b" " * (MAX_REQUEST + 2000)])
    client.send_multipart([b"", request("ping")])
    bench.turn_until(lambda: client.poll(0), "a reply")
    frames = client.recv_multipart()
    assert frames[:-1] == [b"me", b""]
    assert json.loads(frames[-1])["error"] == "the request is larger than 64 KiB"
    assert bench.until_answered(client)["ok"]


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


# Turns


def test_requests_that_came_together_are_all_answered(bench: Bench, connect: Connect) -> None:
    """200 requests of 25 clients that were all there before the first turn."""
    clients = fill(connect, 25, 8)
    answers = [bench.until_answered(client) for _ in range(8) for client in clients]
    assert all(reply["ok"] for reply in answers)


def test_one_turn_answers_one_request(bench: Bench, connect: Connect, commands: dict[str, Command]) -> None:
    """So that the data path has its turn after each."""
    served: list[int] = []

    def count(broker: Broker, args: Arguments) -> object:
        """Count this one."""
        served[-1] += 1
        return None

    command(reads=True, table=commands)(count)
    clients = fill(connect, 25, 8, "count")
    while sum(served) < 200:
        served.append(0)
        bench.turn()
    assert max(served) == 1
    assert all(bench.until_answered(client)["ok"] for client in clients for _ in range(8))


def test_clients_take_turns(bench: Bench, connect: Connect, commands: dict[str, Command]) -> None:
    """A client that asks a hundred things at once does not keep another waiting for them all."""
    asked: list[str] = []

    def tell_who(broker: Broker, args: Arguments) -> object:
        """Note who asks."""
        asked.append(args["who"])
        return None

    command(Argument("who", "one of two"), reads=True, table=commands)(tell_who)
    greedy, modest = connect(zmq.DEALER), connect(zmq.DEALER)
    for _ in range(100):
        greedy.send_multipart([b"", request("tell-who", who="greedy")])
    bench.turn_until(lambda: asked, "the first")
    modest.send_multipart([b"", request("tell-who", who="modest")])
    bench.turn_until(lambda: "modest" in asked and len(asked) == 101, "all")
    assert asked.index("modest") < 100


def test_commands_take_a_share_of_the_time(
    bench: Bench, connect: Connect, commands: dict[str, Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a burst the loop is left to the data path for as long as the share demands."""
    spent = [0.0]
    monkeypatch.setattr("zqd.control.server.time.thread_time", lambda: spent[0])

    def toil(broker: Broker, args: Arguments) -> object:
        """Take a tenth of a second of the loop's time."""
        spent[0] += 0.1
        return None

    command(reads=True, table=commands)(toil)
    (client,) = fill(connect, 1, 3, "toil")
    began = bench.loop.now
    assert all(bench.until_answered(client)["ok"] for _ in range(3))
    assert bench.loop.now - began >= (2 * 0.1 - BURST) / SHARE


def test_a_served_crowd_is_never_stuck(path: Path, connect: Connect) -> None:
    """Clients that ask again and again all get every answer."""
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


def test_a_client_that_reads_nothing_costs_little(bench: Bench, connect: Connect, path: Path) -> None:
    """Of 200 answers of a megabyte that nobody reads one is kept; others are served meanwhile."""
    deaf, other = socket.socket(socket.AF_UNIX), connect(zmq.REQ)
    with closing(deaf):
        deaf.connect(str(path))
        before = resident_kib()
        for sent in raw_dealer_messages([b"", request("at-length")], 200):
            deaf.sendall(sent)
            other.send(request("ping"))
            assert bench.until_answered(other)["ok"]
        assert resident_kib() - before < 16 * 1024


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
        bench.turn()
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
    bench.turn_until(waiting[0].abandoned, "the connection to end")


def test_the_quietest_makes_room(bench: Bench, connect: Connect) -> None:
    """With one connection too many, the one that was quiet the longest goes, and whoever has just come is served."""
    clients = fill(connect, MOST, 1)
    assert all(bench.until_answered(client)["ok"] for client in clients)
    for _ in range(3):
        late = connect(zmq.REQ)
        late.send(request("ping"))
        assert bench.until_answered(late)["ok"]
    assert bench.events.count("accept.evicted") >= 3
