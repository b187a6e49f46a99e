from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from tests.ctl.doctor.samples import IPC, file
from tests.support.processes import PATIENCE
from zqd.ctl.doctor import endpoints
from zqd.endpoints import IpcEndpoint, TcpEndpoint, parse
from zqd.zmtp import handshake


@contextmanager
def speaking(*answers: bytes) -> Iterator[tuple[TcpEndpoint, list[bytes]]]:
    """A server of one connection that says this, a piece after each that it hears; and what it has heard."""
    heard: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE)
        with sock, contextlib.suppress(ConnectionResetError):
            for answer in answers:
                heard.append(sock.recv(4096))
                sock.sendall(answer)
            while more := sock.recv(4096):
                heard.append(more)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield TcpEndpoint(*listener.getsockname()), heard
        thread.join()


def greeting(mechanism: bytes) -> bytes:
    """What a server greets with."""
    return handshake.SIGNATURE + handshake.MAJOR + handshake.greeting_tail(1, mechanism, as_server=False)


def test_a_visitor_of_the_backend_never_becomes_a_worker() -> None:
    """Signature and version are all that it says: with READY it would be given a request."""
    with speaking(greeting(b"NULL")) as (endpoint, heard):
        assert endpoints.greet("backend", endpoint, PATIENCE)[::2] == ("NULL", None)
    assert b"".join(heard) == handshake.SIGNATURE + handshake.MAJOR


def test_a_visitor_of_a_secured_frontend_goes_no_further() -> None:
    """It has no keys; that keys are asked for is what it came for."""
    with speaking(greeting(b"CURVE")) as (endpoint, heard):
        assert endpoints.greet("frontend", endpoint, PATIENCE)[::2] == ("CURVE", None)
    assert b"".join(heard) == handshake.SIGNATURE + handshake.MAJOR


@pytest.mark.parametrize(
    ("kind", "expected"), [(zmq.ROUTER, "ok"), (zmq.REP, "FAIL")], ids=["router", "another program"]
)
def test_a_frontend_is_shaken_hands_with(kind: int, expected: str) -> None:
    """As by a REQ, with a real libzmq on the other side: only a ROUTER can be zqd's."""
    with zmq.Context() as context, context.socket(kind) as server:
        port = server.bind_to_random_port("tcp://127.0.0.1")
        endpoint = TcpEndpoint("127.0.0.1", port)
        found = endpoints.answers("frontend", endpoint, endpoints.greet("frontend", endpoint, PATIENCE))
    assert found.level == expected
    assert found.about == f"frontend tcp://127.0.0.1:{port}"


@pytest.mark.parametrize(
    "answers",
    [
        [b"HTTP/1.0 400 Bad Request\r\n\r\n" + bytes(64)],
        [greeting(b"NULL"), b"\x00\x05READY"],
        [greeting(b"NULL"), b"\x06" + bytes([0xFF] * 8)],
        [greeting(b"NULL"), b"\x04\x06\x05ERROR"],
        [greeting(b"NULL"), b"\x04\x00"],
    ],
    ids=["http", "no command", "a huge command", "error", "an empty command"],
)
def test_what_speaks_otherwise_is_no_zqd(answers: list[bytes]) -> None:
    """It is said, whatever it sends."""
    with speaking(*answers) as (endpoint, _):
        found = [finding.level for finding in endpoints.examine("frontend", "default", endpoint, PATIENCE)]
    assert found == ["FAIL", "ok"]


def test_a_silent_port_is_told_after_the_time_out() -> None:
    """The kernel takes the connection where zqd accepts none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        finding, _ = endpoints.examine("backend", "default", TcpEndpoint(*listener.getsockname()), 0.05)
    assert (finding.level, finding.text) == ("FAIL", "no greeting came in time")
    assert "accept.full" in finding.advice


def test_a_port_without_listener_is_a_failure() -> None:
    """zqd says that it listens there: then it does so in another namespace."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = TcpEndpoint(*listener.getsockname())
    finding, _ = endpoints.examine("backend", "default", endpoint, PATIENCE)
    assert (finding.level, finding.text) == ("FAIL", "nothing listens there, though zqd says that it does")


def test_a_socket_file_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    """Its mode is then nothing to talk about."""
    (finding,) = endpoints.examine("backend", "default", IpcEndpoint(str(tmp_path / "none")), PATIENCE)
    assert finding.level == "FAIL"


@pytest.mark.parametrize(
    ("listening", "reached"),
    [("tcp://0.0.0.0:1", "tcp://127.0.0.1:1"), ("tcp://[::]:1", "tcp://[::1]:1"), ("ipc:///x", "ipc:///x")],
)
def test_every_address_is_reached_at_loopback(listening: str, reached: str) -> None:
    """Not every system lets one connect to the address of all."""
    assert str(endpoints.reachable(parse(listening))) == reached


# Who may connect?


@pytest.mark.parametrize(
    ("side", "host", "mechanism", "level"),
    [
        ("frontend", "127.0.0.1", "NULL", "ok"),
        ("backend", "127.0.0.1", "NULL", "warn"),
        ("backend", "::1", None, "warn"),
        ("backend", "127.0.0.1", "CURVE", "ok"),
        ("frontend", "10.0.0.1", "NULL", "warn"),
        ("frontend", "::", None, "warn"),
        ("backend", "10.0.0.1", "CURVE", "ok"),
    ],
)
def test_a_port_is_open_to_who_reaches_it(side: str, host: str, mechanism: str | None, level: str) -> None:
    """At loopback that is every user, who as a worker would be given requests; elsewhere it is anybody."""
    finding = endpoints.tcp_exposure(side, "jobs", TcpEndpoint(host, 1), mechanism)
    assert finding.level == level
    if level == "warn":
        assert f"ipc:///run/zqd/queues/jobs-{side}.sock" in finding.advice


@pytest.mark.parametrize(
    ("side", "mode", "directory", "mechanism", "level", "words"),
    [
        ("backend", 0o660, 0o755, "NULL", "ok", "its owner and its group"),
        ("backend", 0o755, 0o755, "NULL", "ok", "only its owner"),
        ("backend", 0o666, 0o700, "NULL", "ok", "its owner and its group"),
        ("backend", 0o666, 0o755, "NULL", "warn", "every user"),
        ("backend", 0o666, 0o755, "CURVE", "ok", "every user"),
        ("frontend", 0o666, 0o755, "NULL", "ok", "every user"),
        ("frontend", 0o660, 0o777, "NULL", "FAIL", "every user"),
    ],
)
def test_a_files_mode_says_who_may_connect(
    side: str, mode: int, directory: int, mechanism: str, level: str, words: str
) -> None:
    """Write permission on the socket, and the way there."""
    finding = endpoints.ipc_exposure(side, "jobs", IPC, mechanism, file(mode, directory))
    assert finding.level == level
    assert words in finding.text


# A request


@pytest.mark.parametrize(
    ("reply", "level"),
    [
        ([b"World"], "ok"),
        ([b""], "ok"),
        ([b"a", b"b"], "ok"),
        ([b"ZQD-ERROR 504 timed out\x1b"], "FAIL"),
        (None, "FAIL"),
    ],
)
def test_a_probe_is_answered_or_not(reply: list[bytes] | None, level: str) -> None:
    """A failure is no answer, and is printed in full without what could upset a terminal."""
    finding = endpoints.reply_finding("probe", reply, 0.0015)
    assert finding.level == level
    if reply == [b"World"]:
        assert finding.text == "a reply of 5 bytes in 1.5 ms"
    assert finding.text.isprintable()


def test_a_probe_is_a_real_request() -> None:
    """A REP on the other side gets the body and its reply counts."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.setsockopt(zmq.LINGER, 0)
        port = server.bind_to_random_port("tcp://127.0.0.1")

        def answer() -> None:
            if server.poll(round(PATIENCE * 1000)):
                *envelope, body = server.recv_multipart()
                server.send_multipart([*envelope, body * 2])

        with background(answer):
            finding = endpoints.probe("default", TcpEndpoint("127.0.0.1", port), b"Hello", PATIENCE)
    assert finding.level == "ok"
    assert finding.text.startswith("a reply of 10 bytes in ")


def test_a_probe_does_not_force_a_locked_door() -> None:
    """Without keys nothing is sent."""
    with speaking(greeting(b"CURVE")) as (endpoint, heard):
        assert endpoints.probe("default", endpoint, b"Hello", PATIENCE).level == "skip"
    assert b"Hello" not in b"".join(heard)


@contextmanager
def background(work: Callable[[], None]) -> Iterator[None]:
    """Something that happens meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()
