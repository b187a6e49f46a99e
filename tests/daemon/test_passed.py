"""Sockets that systemd passes, served by the whole of zqd."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.passing import PassedZqd, wrapper
from tests.support.processes import PATIENCE, Zqd, steady_endpoint, wait_for

ROLES = ("control", "status", "events")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test has opened."""
    with ExitStack() as stack:
        yield stack


def tcp(stack: ExitStack) -> tuple[socket.socket, str]:
    """A listening socket and its endpoint."""
    sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return sock, "tcp://{}:{}".format(*sock.getsockname())


def unix(stack: ExitStack, path: Path) -> tuple[socket.socket, str]:
    """The same with a path."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(path))
    sock.listen()
    return sock, f"ipc://{path}"


def exchange(connect: Connect, frontend: str, backend: str) -> zmq.Socket[bytes]:
    """One request and its reply; returns the worker."""
    client, worker = connect(zmq.REQ, frontend), connect(zmq.REP, backend)
    client.send(b"body")
    assert worker.recv() == b"body"
    worker.send(b"reply")
    assert client.recv() == b"reply"
    return worker


def test_traffic_by_passed_sockets(tmp_path: Path, connect: Connect, stack: ExitStack) -> None:
    """The sides of the queue default by their plain names; what the configuration names is not bound."""
    (front, frontend), (back, backend) = tcp(stack), unix(stack, tmp_path / "b")
    never = {side: [f"ipc://{tmp_path}/never.{side}"] for side in ("frontend", "backend")}
    with PassedZqd(tmp_path, ("frontend", front), ("backend", back), **never) as zqd:
        assert (zqd.frontends, zqd.backends) == ([frontend], [backend])
        exchange(connect, frontend, backend)
        assert not list(tmp_path.glob("never*"))
    assert (tmp_path / "b").exists()


def test_clients_that_came_before_are_served(tmp_path: Path, connect: Connect, stack: ExitStack) -> None:
    """They connected, and sent, while nothing ran."""
    (front, frontend), (back, backend) = tcp(stack), tcp(stack)
    clients = [connect(zmq.REQ, frontend) for _ in range(5)]
    worker = connect(zmq.REP, backend)
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    with PassedZqd(tmp_path, ("frontend", front), ("backend", back)):
        for _ in clients:
            worker.send(worker.recv())
        assert [client.recv() for client in clients] == [b"%d" % number for number in range(5)]


def test_several_sockets_of_one_name(tmp_path: Path, connect: Connect, stack: ExitStack) -> None:
    """Each of them is the side; the other side is bound as configured."""
    first, second = tcp(stack), unix(stack, tmp_path / "f")
    with PassedZqd(tmp_path, ("frontend", first[0]), ("frontend", second[0])) as zqd:
        assert zqd.frontends == [first[1], second[1]]
        for frontend in zqd.frontends:
            client = connect(zmq.REQ, frontend)
            client.send(b"body")
        zqd.wait_until("both", lambda queue: queue["queued"] == 2)
        worker = connect(zmq.REP, zqd.backend)
        for _ in range(2):
            worker.send(worker.recv())


def test_further_queues(tmp_path: Path, connect: Connect, stack: ExitStack) -> None:
    """`QUEUE.frontend` and `QUEUE.backend`, for the queue default as well."""
    config = tmp_path / "zqd.toml"
    config.write_text(
        '[queues.default]\n[queues."night-shift"]\nfrontend = ["tcp://127.0.0.1:1"]\nbackend = ["tcp://127.0.0.1:2"]\n'
    )
    names = ("default.frontend", "default.backend", "night-shift.frontend", "night-shift.backend")
    made = {name: tcp(stack) for name in names}
    passed = [(name, sock) for name, (sock, _) in made.items()]
    with PassedZqd(tmp_path, *passed, options=["--config", str(config)], frontend=(), backend=()) as zqd:
        for queue in ("default", "night-shift"):
            row = zqd.queue(queue)
            assert row["frontend"] == [made[f"{queue}.frontend"][1]]
            exchange(connect, row["frontend"][0], made[f"{queue}.backend"][1])
            assert zqd.queue(queue)["replied"] == 1


def test_the_control_sockets(tmp_path: Path, connect: Connect, stack: ExitStack) -> None:
    """Passed by their names, whatever their paths; the files stay at the end, and who may do what stays by the name."""
    places = {role: tmp_path / f"{role}.passed" for role in ROLES}
    passed = [(role, unix(stack, path)[0]) for role, path in places.items()]
    zqd = PassedZqd(tmp_path, *passed)
    zqd.control_path = places["control"]
    with zqd:
        assert zqd.status()["sockets"] == {role: str(path) for role, path in places.items()}
        assert zqd.ask(places["status"], "pause")["code"] == "not-permitted"
        events = connect(zmq.SUB, f"ipc://{places['events']}", subscribe=b"queue.")

        def told() -> bool:
            zqd.control("pause")
            zqd.control("resume")
            return bool(events.poll(50))

        wait_for(told, "an event")
    assert {path.name for path in tmp_path.iterdir()} == {"zqd.log", *(path.name for path in places.values())}


def test_the_next_zqd_takes_over(tmp_path: Path, connect: Connect, stack: ExitStack) -> None:
    """The sockets outlive the process: a client of the time between is served by the next one, and files stay."""
    (front, frontend), (back, backend) = unix(stack, tmp_path / "f"), unix(stack, tmp_path / "b")
    with PassedZqd(tmp_path, ("frontend", front), ("backend", back)) as zqd:
        worker = exchange(connect, frontend, backend)
        assert zqd.stop() == 0
        client = connect(zmq.REQ, frontend)
        client.send(b"early")
        zqd.start()
        worker.send(worker.recv())
        assert client.recv() == b"early"
    assert {path.name for path in tmp_path.iterdir()} == {"zqd.log", "f", "b"}


def failed_start(folder: Path, *passed: tuple[str, int]) -> tuple[int, str]:
    """The status of a start that must fail, and all that it says."""
    before = [*wrapper([name for name, _ in passed], [fd for _, fd in passed])]
    command = [*before, sys.executable, "-X", "dev", "-W", "error", "-m", "zqd.daemon"]
    for side in ("frontend", "backend"):
        command += [f"--{side}", f"ipc://{folder}/{side}"]
    command += ["--control", f"ipc://{folder}/control.sock", "--log-level", "error"]
    fds = [fd for _, fd in passed]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE, pass_fds=fds
    )
    return done.returncode, done.stderr


def check_refused(folder: Path, sentence: str, *passed: tuple[str, int]) -> None:
    """One line with that sentence, status 69, and nothing left behind."""
    before = set(folder.iterdir())
    assert failed_start(folder, *passed) == (69, f"zqd: {sentence}\n")
    assert set(folder.iterdir()) == before


def test_a_wrong_name(tmp_path: Path, stack: ExitStack) -> None:
    """Nobody would serve it: said with what was probably meant, and with all that would be right."""
    sentence = (
        "a socket was passed as 'frontned' (descriptor 3), which nothing here serves (did you mean frontend?); "
        "expected FileDescriptorName=control or status or events or default.frontend or frontend or "
        "default.backend or backend in the socket unit"
    )
    check_refused(tmp_path, sentence, ("frontned", tcp(stack)[0].fileno()))


EXPECTED = "; expected a listening stream socket (ListenStream= in the socket unit)"


@pytest.mark.parametrize("name", ["frontend", "default.backend", "control", "events"])
def test_a_socket_that_does_not_listen(tmp_path: Path, stack: ExitStack, name: str) -> None:
    """Whatever it would be for."""
    sock = stack.enter_context(socket.socket())
    sentence = f"the socket passed as '{name}' (descriptor 3) is not listening{EXPECTED}"
    check_refused(tmp_path, sentence, (name, sock.fileno()))


@pytest.mark.parametrize("name", ["backend", "status"])
def test_a_datagram_socket(tmp_path: Path, stack: ExitStack, name: str) -> None:
    """ListenDatagram= makes such."""
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sentence = f"the socket passed as '{name}' (descriptor 3) has the type SOCK_DGRAM{EXPECTED}"
    check_refused(tmp_path, sentence, (name, sock.fileno()))


def test_a_bad_one_behind_good_ones(tmp_path: Path, stack: ExitStack) -> None:
    """What was had before it is given back; the passed files stay, as they are not ours."""
    good, other = unix(stack, tmp_path / "f")[0], unix(stack, tmp_path / "c")[0]
    bad = stack.enter_context(socket.socket())
    sentence = f"the socket passed as 'backend' (descriptor 5) is not listening{EXPECTED}"
    fds = [("frontend", good.fileno()), ("control", other.fileno()), ("backend", bad.fileno())]
    check_refused(tmp_path, sentence, *fds)


def test_a_name_twice_under_both_its_names(tmp_path: Path, stack: ExitStack) -> None:
    """`frontend` and `default.frontend` are the same side: a bad one of either is refused, and nothing leaks."""
    good, bad = tcp(stack)[0], stack.enter_context(socket.socket())
    sentence = f"the socket passed as 'frontend' (descriptor 4) is not listening{EXPECTED}"
    check_refused(tmp_path, sentence, ("default.frontend", good.fileno()), ("frontend", bad.fileno()))


def test_a_descriptor_that_is_closed(tmp_path: Path) -> None:
    """LISTEN_FDS promises more than there is: one line, no traceback."""
    command = ["bash", "-c", 'LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=frontend:backend exec "$@"', "bash"]
    command += [sys.executable, "-m", "zqd.daemon", "--control", f"ipc://{tmp_path}/control.sock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 69
    assert done.stderr == (
        "zqd: LISTEN_FDS=2 but descriptor 3 cannot be used: Bad file descriptor; "
        "expected the passed sockets to be descriptors 3 to 4\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_passed_to_another_process_is_not_ours(tmp_path: Path, connect: Connect) -> None:
    """LISTEN_PID is somebody else's: the configured endpoints are bound."""
    with Zqd(tmp_path, wrapper=("env", "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=frontend")) as zqd:
        exchange(connect, zqd.frontend, zqd.backend)


def test_systemd_starts_it_with_the_first_client(
    activate: str, tmp_path: Path, connect: Connect, stack: ExitStack
) -> None:
    """systemd-socket-activate(1) listens, a client comes and sends, zqd is started and serves it."""
    port, path = steady_endpoint(), tmp_path / "backend.sock"
    command: list[Any] = [
        activate,
        "-l",
        port.removeprefix("tcp://"),
        "-l",
        path,
        "--fdname=frontend:backend",
    ]
    command += [sys.executable, "-m", "zqd.daemon", "--control", f"ipc://{tmp_path}/control.sock"]
    process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    stack.callback(process.kill)
    client = connect(zmq.REQ, port)
    client.send(b"early")
    worker = connect(zmq.REP, f"ipc://{path}")
    assert worker.recv() == b"early"
    worker.send(b"reply")
    assert client.recv() == b"reply"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert [left.name for left in tmp_path.iterdir()] == ["backend.sock"]
