"""Sockets that systemd passes are held to the rules that the configuration has for its own endpoints."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.daemon.keyring import Keyring
from tests.daemon.passing import Named, wrapper
from tests.interop.peers import exchange
from tests.support.processes import PATIENCE, Zqd, wait_for

CONFIG = 78  # exit status (sysexits.h)
IP_FREEBIND = 15  # ip(7): an address that no machine has


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test has opened."""
    with ExitStack() as stack:
        yield stack


def listening(stack: ExitStack, address: str | tuple[str, int]) -> tuple[socket.socket, str]:
    """A listening socket, by its path or its host, and its endpoint."""
    if isinstance(address, str):
        sock = stack.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(address)
    else:
        sock = stack.enter_context(socket.socket())
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.bind(address)
    sock.listen()
    name = sock.getsockname()
    return sock, f"ipc://{address}" if isinstance(address, str) else "tcp://{}:{}".format(*name)


LOOPBACK = ("127.0.0.1", 0)
STRANGERS = ("192.0.2.1", 0)
"""Nobody reaches it, but it is not a loopback address (RFC 5737)."""


def started(folder: Path, *passed: Named, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Status and complaints of a start that must fail, with all that it left behind."""
    fds = [sock.fileno() for _, sock in passed]
    command = [*wrapper([name for name, _ in passed], fds), sys.executable, "-X", "dev", "-W", "error"]
    command += ["-m", "zqd.daemon", "--log-level", "error", "--control", f"ipc://{folder}/control.sock"]
    before = set(folder.iterdir())
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, timeout=PATIENCE, pass_fds=fds
    )
    assert set(folder.iterdir()) == before
    return done.returncode, done.stderr


def passed_zqd(folder: Path, text: str, *passed: Named) -> ConfiguredZqd:
    """One with a configuration file and these sockets."""
    fds = [sock.fileno() for _, sock in passed]
    zqd = ConfiguredZqd(folder, text, wrapper=wrapper([name for name, _ in passed], fds))
    zqd.pass_fds = fds
    return zqd


# Control sockets: whoever may connect may give orders


@pytest.mark.parametrize("role", ["control", "status", "events"])
def test_a_port_for_the_daemons_own(tmp_path: Path, stack: ExitStack, role: str) -> None:
    """Everybody on the machine could connect, and nothing says who may give orders: it does not start."""
    sock, endpoint = listening(stack, LOOPBACK)
    sentence = (
        f"zqd: the socket passed as '{role}' is {endpoint}; expected a unix socket (ListenStream=/path)\n"
    )
    assert started(tmp_path, (role, sock)) == (CONFIG, sentence)


def test_an_abstract_name_for_the_daemons_own(tmp_path: Path, stack: ExitStack) -> None:
    """It has no file, and so no mode that would keep anybody out."""
    sock, _ = listening(stack, f"\0{tmp_path}")
    sentence = f"zqd: the socket passed as 'control' is ipc://@{tmp_path}; expected a unix socket (ListenStream=/path)"
    assert started(tmp_path, ("control", sock)) == (CONFIG, sentence + "\n")


def test_what_is_not_passed_lies_beside_what_is(activate: str, tmp_path: Path, stack: ExitStack) -> None:
    """With `control` alone passed, by systemd itself, status and events are beside that, wherever zqd's own would be."""
    place = tmp_path / "passed"
    place.mkdir()
    command = [
        activate,
        "-l",
        f"{place}/control.sock",
        "--fdname=control",
        sys.executable,
        "-m",
        "zqd.daemon",
    ]
    command += ["--frontend", f"ipc://{tmp_path}/f", "--backend", f"ipc://{tmp_path}/b"]
    process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    stack.callback(process.kill)
    wait_for((place / "control.sock").exists, "systemd-socket-activate to listen")
    assert Zqd.ask(place / "control.sock", "ping")["ok"]
    sockets = Zqd.ask(place / "status.sock", "status")["result"]["sockets"]
    assert sockets == {role: f"{place}/{role}.sock" for role in ("control", "status", "events")}
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert [path.name for path in place.iterdir()] == ["control.sock"]


def test_beside_a_path_that_is_too_long(tmp_path: Path, stack: ExitStack) -> None:
    """There is no room for the other names: said, with the key that mends it."""
    path = str(tmp_path / "c").ljust(104, "c")
    sock, _ = listening(stack, path)
    status, errors = started(tmp_path, ("control", sock), options=("--backend", "tcp://127.0.0.1:0"))
    assert (status, errors.count("\n")) == (CONFIG, 1)
    assert f"zqd: status: 'ipc://{path}.status' is too long" in errors
    assert "expected status = ENDPOINT in the configuration" in errors


# Sides: nobody from another machine without a key


@pytest.mark.parametrize("name", ["frontend", "default.backend"])
def test_a_side_for_strangers(tmp_path: Path, stack: ExitStack, name: str) -> None:
    """The start is refused as it would be for an endpoint of the configuration."""
    sock, endpoint = listening(stack, STRANGERS)
    status, errors = started(tmp_path, (name, sock))
    key = f"queues.default.{name.removeprefix('default.')}"
    assert (status, errors.count("\n")) == (CONFIG, 1)
    assert errors.startswith(
        f"zqd: {key}: the socket passed for it is {endpoint}, which can be reached from other machines"
    )
    assert f"expected {key}_curve_secret" in errors
    assert "--allow-unauthenticated" in errors


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, stack: ExitStack) -> None:
    """Each socket has its line, and so has what else only this machine can tell."""
    passed = [
        (name, listening(stack, STRANGERS)[0]) for name in ("frontend", "frontend", "backend", "events")
    ]
    status, errors = started(tmp_path, *passed, options=("--set", "control_group=no-such-group"))
    assert status == CONFIG
    heads = [line.split()[1] for line in errors.splitlines()]
    assert heads == ["--set", "the", *["queues.default.frontend:"] * 2, "queues.default.backend:"]


def test_a_side_for_strangers_that_is_meant(tmp_path: Path, stack: ExitStack) -> None:
    """It is served when that is allowed, until a reload would take the permission away: that is refused, and it stays."""
    allowed = "allow_unauthenticated = true\n"
    sock, endpoint = listening(stack, STRANGERS)
    with passed_zqd(tmp_path, allowed + DEFAULT, ("frontend", sock)) as zqd:
        assert zqd.frontends == [endpoint]
        sentence = zqd.refused(DEFAULT)
        assert sentence.startswith(f"queues.default.frontend: the socket passed for it is {endpoint}, which")
        assert zqd.control("config", key="allow_unauthenticated")[0]["value"] is True
        assert zqd.reload(allowed + DEFAULT + "prefetch = 2\n")["changes"][0]["new"] == "2"


def test_a_side_for_strangers_with_a_key(tmp_path: Path, stack: ExitStack) -> None:
    """It is served, and a reload that takes the key away is refused; one that allows it besides is not."""
    keyring = Keyring(tmp_path)
    sock, endpoint = listening(stack, STRANGERS)
    with passed_zqd(tmp_path, keyring.settings(), ("backend", sock)) as zqd:
        assert zqd.backends == [endpoint]
        sentence = zqd.refused(keyring.settings("frontend"))
        assert sentence.startswith(f"queues.default.backend: the socket passed for it is {endpoint}, which")
        zqd.reload("allow_unauthenticated = true\n" + keyring.settings("frontend"))


# Queues that name no endpoints


JOBS = "[queues.jobs]\n"


def test_a_queue_of_passed_sockets_alone(tmp_path: Path, stack: ExitStack, connect: Connect) -> None:
    """It need not name endpoints, at the start or at a reload, and has none."""
    passed = {f"jobs.{side}": listening(stack, LOOPBACK) for side in ("frontend", "backend")}
    with passed_zqd(tmp_path, JOBS, *((name, sock) for name, (sock, _) in passed.items())) as zqd:
        (frontend, backend) = (endpoint for _, endpoint in passed.values())
        exchange(connect(zmq.REQ, frontend), connect(zmq.REP, backend))
        assert zqd.reload(JOBS) == {"changes": [], "added": [], "removed": []}
        assert zqd.control("config", key="queues.jobs.frontend")[0]["value"] == []


def test_a_side_that_is_neither_passed_nor_named(tmp_path: Path, stack: ExitStack) -> None:
    """The other side's socket does not help it; the line says what it might have been called."""
    config = tmp_path / "zqd.toml"
    config.write_text(JOBS)
    sock, _ = listening(stack, LOOPBACK)
    status, errors = started(tmp_path, ("jobs.frontend", sock), options=("--config", str(config)))
    assert (status, errors.count("\n")) == (CONFIG, 1)
    assert errors.startswith(f"zqd: {config}: queues.jobs.backend: missing; expected a list of endpoints")
    assert errors.endswith("and no socket was passed as jobs.backend\n")


def test_a_queue_that_comes_back_has_its_sockets(tmp_path: Path, stack: ExitStack, connect: Connect) -> None:
    """A reload takes it away and another brings it back: who connected meanwhile is served, and nothing else is bound."""
    passed = {f"jobs.{side}": listening(stack, LOOPBACK) for side in ("frontend", "backend")}
    both = DEFAULT + JOBS
    with passed_zqd(tmp_path, both, *((name, sock) for name, (sock, _) in passed.items())) as zqd:
        (frontend, backend) = (endpoint for _, endpoint in passed.values())
        client, worker = connect(zmq.REQ, frontend), connect(zmq.REP, backend)
        exchange(client, worker)
        assert zqd.reload(DEFAULT)["removed"] == ["jobs"]
        wait_for(lambda: zqd.log("queue.removed"), "its end")
        client.send(b"meanwhile")
        assert zqd.reload(both)["added"] == ["jobs"]
        assert zqd.queue("jobs")["frontend"] == [frontend]
        worker.send(worker.recv())
        assert client.recv() == b"meanwhile"
        assert zqd.reload(DEFAULT)["removed"] == ["jobs"]  # and once more, to the end with nobody listening
