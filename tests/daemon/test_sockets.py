"""zqd's own sockets: who may do what where, their files, and what their clients cannot do to others."""

from __future__ import annotations

import resource
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import PATIENCE, Zqd, wait_for
from zqd.control.commands import COMMANDS
from zqd.zmtp.frames import encode_message

PING = b'{"zqctl": 1, "command": "ping"}'
REQUIRED: dict[str, dict[str, Any]] = {"kick": {"peer": "c1"}, "cancel": {"request": "00"}}
READS: dict[str, dict[str, Any]] = {"wait": {"idle": True}}


def beside(zqd: Zqd, name: str) -> Path:
    """The file `name` where the control socket lies."""
    return zqd.control_path.with_name(name)


@pytest.mark.parametrize("name", [name for name, row in COMMANDS.items() if row.reads])
def test_everybody_may_look(zqd: Zqd, name: str) -> None:
    """What the status socket answers to a command that only reads is what the control socket answers."""
    args = READS.get(name, {})
    reply = zqd.ask(beside(zqd, "status.sock"), name, **args)
    assert reply["ok"], reply
    assert type(reply["result"]) is type(zqd.ask(zqd.control_path, name, **args)["result"])


@pytest.mark.parametrize("name", [name for name, row in COMMANDS.items() if not row.reads])
def test_not_everybody_may_give_orders(zqd: Zqd, name: str) -> None:
    """The status socket refuses each order, and nothing has happened."""
    before = zqd.queue()["state"], zqd.status()["state"], zqd.status()["log_level"]
    reply = zqd.ask(beside(zqd, "status.sock"), name, **REQUIRED.get(name, {}))
    assert (reply["ok"], reply["code"]) == (False, "not-permitted")
    assert "\n" not in reply["error"]
    assert (zqd.queue()["state"], zqd.status()["state"], zqd.status()["log_level"]) == before


def test_a_command_that_does_not_exist(zqd: Zqd) -> None:
    """Is unknown at either socket, not forbidden."""
    for path in (zqd.control_path, beside(zqd, "status.sock")):
        assert zqd.ask(path, "fly")["code"] == "unknown-command"


@pytest.mark.parametrize("umask", ["0000", "0022", "0777"])
def test_modes(tmp_path: Path, umask: str) -> None:
    """0660 for orders, 0666 for what everybody may do, whatever the umask is."""
    with Zqd(tmp_path, wrapper=("sh", "-c", f'umask {umask}; exec "$@"', "sh")) as zqd:
        modes = {
            name: stat.S_IMODE(beside(zqd, name).stat().st_mode) for name in ("status.sock", "events.sock")
        }
        assert modes == {"status.sock": 0o666, "events.sock": 0o666}
        assert stat.S_IMODE(zqd.control_path.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    ("control", "status", "events"),
    [("control.sock", "status.sock", "events.sock"), ("mine", "mine.status", "mine.events")],
)
def test_names_beside_the_control_socket(tmp_path: Path, control: str, status: str, events: str) -> None:
    """By the name of the control socket; the status tells them, and all are removed at the end."""
    zqd = Zqd(tmp_path)
    zqd._command[zqd._command.index("--control") + 1] = f"ipc://{tmp_path}/{control}"
    zqd.control_path = tmp_path / control
    with zqd:
        assert zqd.status()["sockets"] == {
            "control": str(tmp_path / control),
            "status": str(tmp_path / status),
            "events": str(tmp_path / events),
        }
        assert zqd.ask(tmp_path / status, "ping")["ok"]
        assert (tmp_path / events).is_socket()
    assert [path.name for path in tmp_path.iterdir()] == ["zqd.log"]


def test_names_of_the_configuration(tmp_path: Path) -> None:
    """`status` and `events` may lie elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    text = f'status = "ipc://{elsewhere}/s"\nevents = "ipc://{elsewhere}/e"\n' + DEFAULT
    with ConfiguredZqd(tmp_path, text) as zqd:
        assert zqd.ask(elsewhere / "s", "ping")["ok"]
        assert (elsewhere / "e").is_socket()
        assert not beside(zqd, "status.sock").exists()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["control.sock", "status.sock", "events.sock"])
def test_a_socket_in_use(tmp_path: Path, name: str) -> None:
    """Somebody listens there: status 69, and that one keeps his file; nothing else is left."""
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / name))
        taken.listen()
        command = [sys.executable, "-m", "zqd.daemon", "--control", f"ipc://{tmp_path}/control.sock"]
        command += [
            "--log-level",
            "error",
            "--frontend",
            f"ipc://{tmp_path}/f",
            "--backend",
            f"ipc://{tmp_path}/b",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (
            69,
            f"zqd: cannot listen at ipc://{tmp_path}/{name}: something else listens there already\n",
        )
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_group_of_the_control_socket(tmp_path: Path) -> None:
    """`control_group` is that of the control socket."""
    group = tmp_path.stat().st_gid
    with ConfiguredZqd(tmp_path, f'control_group = "{group}"\n' + DEFAULT) as zqd:
        assert zqd.control_path.stat().st_gid == group


# What a client can do


@pytest.mark.slow
def test_a_client_that_never_reads(zqd: Zqd) -> None:
    """Its requests are read no further; others are answered, and zqd holds little of it."""
    name = "status.sock"
    with RawPeer(f"ipc://{beside(zqd, name)}", receive_buffer=4096) as peer:
        peer.shake_hands(b"DEALER")
        before = zqd.resident()
        request = encode_message([b"", b'{"zqctl": 1, "command": "config"}'])
        peer.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.send(request * 1_000_000)
        for _ in range(10):
            assert zqd.ask(beside(zqd, name), "ping")["ok"]
        assert zqd.resident() - before < 16 << 20
        # Not because of its silence alone: who has not read an answer in ten seconds is given up.
        wait_for(lambda: zqd.log("peer.silent"), "it to be given up")
        assert zqd.ask(beside(zqd, name), "ping")["ok"]
    assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("name", ["control.sock", "status.sock", "events.sock"])
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(1000),
        b"\xff" * 1000,
        b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48) + b"\4\3abc",
    ],
)
def test_no_zmtp(zqd: Zqd, name: str, data: bytes) -> None:
    """Whoever speaks something else is hung up on; zqd goes on."""
    with RawPeer(f"ipc://{beside(zqd, name)}") as peer:
        peer.send(data)
        peer.read_to_end()
    assert zqd.ask(zqd.control_path, "ping")["ok"]
    assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("kind", [zmq.SUB, zmq.PULL, zmq.REP, zmq.PUB])
@pytest.mark.parametrize("name", ["control.sock", "status.sock"])
def test_other_kinds_of_sockets(zqd: Zqd, connect: Connect, name: str, kind: int) -> None:
    """Are refused in the handshake, with a line in the log."""
    connect(kind, f"ipc://{beside(zqd, name)}")
    refused = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
    assert refused[0]["side"] == name.removesuffix(".sock")
    assert zqd.ask(zqd.control_path, "ping")["ok"]


@pytest.mark.parametrize("name", ["control.sock", "status.sock", "events.sock"])
def test_many_connections_shut_out_nobody(zqd: Zqd, name: str, crowd: Crowd) -> None:
    """Silent ones make room for the next; descriptors of clients and workers are not touched."""
    crowd.worker(zqd.backend)
    crowd.client(zqd.frontend, think=0.001)
    crowd.goes_on()
    before = zqd.status()["descriptors"]
    with ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(PATIENCE)
            sock.connect(str(beside(zqd, name)))
        for other in ("control.sock", "status.sock"):
            assert zqd.ask(beside(zqd, other), "ping")["ok"]
        assert zqd.status()["descriptors"] == before
        assert zqd.fds() < 150
        crowd.goes_on()
    assert not zqd.log("zqd.fault")


def test_a_small_limit_of_descriptors(tmp_path: Path, connect: Connect) -> None:
    """However many connect to the control sockets, clients get all the room that there is for them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard > 128
    with Zqd(tmp_path, wrapper=("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")) as zqd, ExitStack() as stack:
        for name in ("control.sock", "status.sock", "events.sock"):
            for _ in range(100):
                stack.enter_context(RawPeer(f"ipc://{beside(zqd, name)}"))
        room = zqd.status()["descriptors"]
        free = room["limit"] - room["reserve"]
        for _ in range(free - 1):
            connect(zmq.REQ, zqd.frontend)
        zqd.wait_until("all of them", lambda queue: queue["clients"] == free - 1)
        connect(zmq.REP, zqd.backend)
        connect(zmq.REQ, zqd.frontend)
        wait_for(lambda: zqd.log("accept.full"), "it to be full")
        assert not zqd.log("accept.failed")
        assert zqd.ask(beside(zqd, "status.sock"), "ping")["ok"]


def test_requests_in_the_wrong_form(zqd: Zqd, connect: Connect) -> None:
    """Each is answered by what is wrong, and the client may go on."""
    client = connect(zmq.DEALER, f"ipc://{zqd.control_path}")
    for frames in ([b"", b"{"], [b"", b"[]"], [b"", b"\xff"], [b"", b"1", b"2"], [b"", b"{}"], [b"no"]):
        client.send_multipart(frames)
        assert b'"code":"bad-request"' in client.recv_multipart()[-1]
    client.send_multipart([b"", PING])
    assert b'"ok":true' in client.recv_multipart()[-1]
