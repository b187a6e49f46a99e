"""`zqd.systemd.passed` with what systemd's own program passes."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PATIENCE, steady_endpoint, wait_for
from tests.systemd.receiver import ROOT, command


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test has started."""
    with ExitStack() as stack:
        yield stack


def activated(
    activation: list[str],
    path: Path,
    plan: dict[str, Any],
    stack: ExitStack,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> tuple[dict[str, Any], bytes]:
    """Let systemd start the receiver by a connection to `path`; what it got, and what the connection got."""
    process = stack.enter_context(
        subprocess.Popen(
            [*activation, *command(plan)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    )
    stack.callback(process.kill)

    def connect() -> socket.socket | None:
        assert process.poll() is None, process.communicate()[1].decode()
        client = socket.socket(socket.AF_UNIX, kind)
        try:
            client.connect(str(path))
        except OSError:  # not there yet, or bound and not listening yet
            client.close()
            return None
        return client

    client = stack.enter_context(wait_for(connect, f"systemd-socket-activate to listen at {path}"))
    output, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complaints.decode()
    client.settimeout(PATIENCE)
    return json.loads(output), client.recv(100) if "greet" in plan else b""


def test_systemd_passes_sockets_by_name(activate: str, tmp_path: Path, stack: ExitStack) -> None:
    """The connection that was there before the program started is served; a TCP socket comes along."""
    path = tmp_path / "frontend.sock"
    port = steady_endpoint().removeprefix("tcp://")
    activation = [activate, "-l", str(path), "-l", port, "--fdname=frontend:backend"]
    plan = {"claim": ["backend", "frontend"], "expected": ["frontend", "backend"], "greet": "frontend"}
    answer, greeting = activated(activation, path, plan, stack)
    assert answer["error"] is None
    assert greeting == b"hello"
    (frontend,), (backend,) = answer["claimed"]["frontend"], answer["claimed"]["backend"]
    assert (frontend["family"], frontend["address"]) == ("AF_UNIX", str(path))
    assert (backend["family"], "{}:{}".format(*backend["address"])) == ("AF_INET", port)
    assert not any(row["blocking"] for row in (frontend, backend))
    assert all(row["close_on_exec"] for row in (frontend, backend))
    assert answer["environment"] == []


def test_systemd_passes_several_of_one_name(activate: str, tmp_path: Path, stack: ExitStack) -> None:
    """As a socket unit with several ListenStream= does."""
    path, other = tmp_path / "a.sock", tmp_path / "b.sock"
    activation = [activate, "-l", str(path), "-l", str(other), "--fdname=frontend:frontend"]
    answer, _ = activated(activation, path, {"claim": ["frontend"], "expected": ["frontend"]}, stack)
    assert [row["address"] for row in answer["claimed"]["frontend"]] == [str(path), str(other)]


def test_an_unnamed_socket_of_systemd_is_refused(activate: str, tmp_path: Path, stack: ExitStack) -> None:
    """Nobody would serve it: the one line says what to write."""
    path = tmp_path / "x.sock"
    answer, _ = activated([activate, "-l", str(path)], path, {"expected": ["frontend"]}, stack)
    assert answer["names"] == ["unknown"]
    assert answer["error"].endswith("expected FileDescriptorName=frontend in the socket unit")


def test_a_seqpacket_socket_of_systemd_is_refused(activate: str, tmp_path: Path, stack: ExitStack) -> None:
    """ListenSequentialPacket= listens as well, and no ZMQ peer can use it."""
    path = tmp_path / "x.sock"
    activation = [activate, "--seqpacket", "-l", str(path), "--fdname=frontend"]
    answer, _ = activated(activation, path, {"claim": ["frontend"]}, stack, socket.SOCK_SEQPACKET)
    assert answer["error"] == (
        "the socket passed as 'frontend' (descriptor 3) has the type SOCK_SEQPACKET; "
        "expected a listening stream socket (ListenStream= in the socket unit)"
    )
