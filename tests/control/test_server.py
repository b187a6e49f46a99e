from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.control.serving import PaperBroker, listen, served
from zqd.control.commands import PROTOCOL, Arguments, Broker, Command, Later, command
from zqd.control.server import (
    HIGH_WATER,
    MAX_FRAMES,
    MAX_REQUEST,
    MAX_WAITING,
    REQUESTS_PER_TURN,
    ControlServer,
)
from zqd.errors import ConfigError

PATIENCE_MS = 10_000

Connect = Callable[[int], zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """The context of the test's own sockets."""
    context = zmq.Context[zmq.Socket[bytes]]()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def path(sockets: Path) -> Path:
    """Where the control socket lies."""
    return sockets / "control.sock"


@pytest.fixture
def connect(context: zmq.Context[zmq.Socket[bytes]], path: Path) -> Iterator[Connect]:
    """A function that makes a socket of a type, connected to the server."""
    sockets: list[zmq.Socket[bytes]] = []

    def connect(kind: int) -> zmq.Socket[bytes]:
        sockets.append(context.socket(kind))
        sockets[-1].connect(f"ipc://{path}")
        return sockets[-1]

    yield connect
    for sock in sockets:
        sock.close(linger=0)


class Bench:
    """A server without a loop: the test is the loop, and sees each call."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], path: Path, commands: dict[str, Command]
    ) -> None:
        self.faults: list[Exception] = []
        self.listener = listen(path)
        self.server = ControlServer(
            context, self.listener, str(path), PaperBroker(), on_fault=self.faults.append, commands=commands
        )

    def turn(self, *clients: zmq.Socket[bytes]) -> None:
        """Sleep as the daemon's loop does until a client has a reply or the server is to be served; then serve it."""
        poller = zmq.Poller()
        for readable in (self.server.fileno(), *clients):
            poller.register(readable, zmq.POLLIN)
        assert poller.poll(0 if self.server.pending else PATIENCE_MS) or self.server.pending, "stuck"
        self.server.service()

    def until_answered(self, client: zmq.Socket[bytes]) -> Any:
        """Serve until the client has a reply, and return it."""
        while not client.poll(0):
            self.turn(client)
        return answer(client)


@pytest.fixture
def waiting() -> list[Later]:
    """The answers to `wait` that are still to come."""
    return []


@pytest.fixture
def commands(waiting: list[Later]) -> dict[str, Command]:
    """Commands that no zqd has: that fail, that answer later, that answer at length."""
    table: dict[str, Command] = {}

    @command(reads=True, table=table)
    def ping(broker: Broker, args: Arguments) -> object:
        """Answer."""
        return "pong"

    @command(reads=True, table=table)
    def wait(broker: Broker, args: Arguments) -> object:
        """Answer when told."""
        waiting.append(Later())
        return waiting[-1]

    @command(reads=False, table=table)
    def tell(broker: Broker, args: Arguments) -> object:
        """Let the first that waits be answered."""
        waiting.pop(0).finish("it is time")
        return "told"

    @command(reads=True, table=table)
    def at_length(broker: Broker, args: Arguments) -> object:
        """Answer with a megabyte."""
        return "x" * (1 << 20)

    @command(reads=True, table=table)
    def crash(broker: Broker, args: Arguments) -> object:
        """Come to grief."""
        raise ZeroDivisionError("by nothing")

    @command(reads=True, table=table)
    def unspeakable(broker: Broker, args: Arguments) -> object:
        """Return what JSON cannot hold."""
        return {"socket": object()}

    @command(reads=True, table=table)
    def refuse(broker: Broker, args: Arguments) -> object:
        """Refuse with one of zqd's own errors."""
        raise ConfigError(["queues.default.prefetch: too large"])

    return table


@pytest.fixture
def bench(
    context: zmq.Context[zmq.Socket[bytes]], path: Path, commands: dict[str, Command]
) -> Iterator[Bench]:
    """A server that the test serves by hand."""
    bench = Bench(context, path, commands)
    yield bench
    bench.server.close()
    bench.listener.close()


def request(name: str, **args: object) -> bytes:
    """A well-formed request's JSON."""
    return json.dumps({"zqctl": PROTOCOL, "command": name, "args": args}).encode()


def answer(client: zmq.Socket[bytes]) -> Any:
    """The next reply's object."""
    assert client.poll(PATIENCE_MS), "no reply"
    return json.loads(client.recv_multipart()[-1])


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


def test_a_successor_takes_over_the_listener(
    bench: Bench,
    path: Path,
    connect: Connect,
    context: zmq.Context[zmq.Socket[bytes]],
    commands: dict[str, Command],
) -> None:
    """A listener that was passed in serves the next server: nobody is refused in between."""
    bench.server.close()
    client = connect(zmq.REQ)
    client.send(request("ping"))
    bench.server = ControlServer(
        context, bench.listener, str(path), PaperBroker(), on_fault=bench.faults.append, commands=commands
    )
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


def fill(connect: Connect, clients: int, each: int, name: str = "ping") -> list[zmq.Socket[bytes]]:
    """Connected clients that have sent all their requests; nobody has read any."""
    sockets = [connect(zmq.DEALER) for _ in range(clients)]
    for client in sockets:
        for _ in range(each):
            client.send_multipart([b"", request(name)])
    return sockets


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


def wait_for(bench: Bench, waiting: list[Later], count: int) -> None:
    """Serve until `count` commands wait."""
    while len(waiting) < count:
        bench.turn()


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
    client = connect(zmq.REQ)
    client.send(request("wait"))
    wait_for(bench, waiting, 1)
    bench.server.close()
    assert answer(client)["error"] == "zqd stopped before this was done"
    waiting[0].finish("too late")


def test_the_answers_to_come_are_bounded(bench: Bench, connect: Connect, waiting: list[Later]) -> None:
    """One wait too many and the oldest is given up, and can see that nobody waits for it."""
    first, others = connect(zmq.REQ), connect(zmq.DEALER)
    first.send(request("wait"))
    wait_for(bench, waiting, 1)
    for _ in range(MAX_WAITING):
        others.send_multipart([b"", request("wait")])
    wait_for(bench, waiting, MAX_WAITING + 1)
    assert answer(first)["error"] == "too many commands are waiting for their answers; this was the oldest"
    assert [later.done for later in waiting].count(True) == 1
