"""Floods of connections from another machine: they cost bounded memory, others are served meanwhile, and addresses are kept apart."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.ctl.echo import worker as echo
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.daemon.keyring import Keyring, assert_no_fault
from tests.faults.flood import KEPT
from tests.faults.test_silence import Cable, cable, ended, network
from tests.interop.peers import exchange
from tests.support.processes import wait_for
from zqd.keys.pair import load_public

__all__ = ["cable"]

MOST = 64  # handshakes at once
MIB = 1 << 20
FIRST, SECOND = "198.18.0.2", "198.18.1.2"  # of the machine at the other end

# A client there that asks again and again, and counts its answers in a file.
FAR_CLIENT = """
import sys, zmq, zmq.auth
endpoint, source, mine, server, path = sys.argv[1:]
client = zmq.Context().socket(zmq.REQ)
client.curve_publickey, client.curve_secretkey = zmq.auth.load_certificate(mine)
client.curve_serverkey, _ = zmq.auth.load_certificate(server)
client.connect(endpoint.replace("tcp://", f"tcp://{source}:0;"))
number = 0
while True:
    client.send(b"far")
    client.recv()
    number += 1
    with open(path, "w") as file:
        file.write(str(number))
"""


class Machine:
    """zqd's end of the cable, and what happens at the other."""

    def __init__(self, folder: Path, cable: Cable, keyring: Keyring) -> None:
        self.folder = folder
        self.cable = cable
        self.keyring = keyring
        # Another address there, by which the same machine is another.
        for namespace, address in (cable.here, "198.18.1.1"), (cable.there, SECOND):
            network("-n", namespace, "addr", "add", f"{address}/24", "dev", "veth")

    def zqd(self, *settings: str, curve: bool = True) -> ConfiguredZqd:
        """One that clients reach from both ends of the cable, and by a unix socket; its workers by another."""
        text = self.keyring.settings("frontend") if curve else "allow_unauthenticated = true\n" + DEFAULT
        ends = f'"tcp://{self.cable.ADDRESS}:0", "ipc://{self.folder}/front"'
        text = text.replace('"tcp://127.0.0.1:0"', ends, 1)
        text = text.replace('"tcp://127.0.0.1:0"', f'"ipc://{self.folder}/back"')
        text += "".join(f"{line}\n" for line in settings)
        return ConfiguredZqd(self.folder, text, wrapper=("ip", "netns", "exec", self.cable.here))

    @contextlib.contextmanager
    def flood(
        self, zqd: ConfiguredZqd, kind: str, *, curve: bool = True, rate: float = math.inf
    ) -> Iterator[Path]:
        """A flood of this kind from the first address, of so many attempts a second at the most; its counts."""
        host, port = zqd.frontend.removeprefix("tcp://").split(":")
        key = load_public(self.keyring.public("zqd")).hex() if curve else ""
        path = self.folder / "flood"
        words = [sys.executable, "-m", "tests.faults.flood", kind, host, port, key, str(path), str(rate)]
        with ended(subprocess.Popen(["ip", "netns", "exec", self.cable.there, *words])):
            wait_for(path.exists, "the flood")
            yield path

    @contextlib.contextmanager
    def client(self, zqd: ConfiguredZqd, source: str) -> Iterator[Path]:
        """alice, there, with this address; the count of her answers."""
        path = self.folder / "answers"
        files = [str(self.keyring.secret_path("alice")), str(self.keyring.folder / "zqd.key")]
        words = [sys.executable, "-c", FAR_CLIENT, zqd.frontend, source, *files, str(path)]
        with ended(subprocess.Popen(["ip", "netns", "exec", self.cable.there, *words])):
            yield path


@pytest.fixture
def machine(tmp_path: Path, cable: Cable) -> Machine:
    """This end of a cable."""
    return Machine(tmp_path, cable, Keyring(tmp_path))


@contextlib.contextmanager
def serving(zqd: ConfiguredZqd) -> Iterator[None]:
    """A worker that answers by itself."""
    with echo(zqd.backend):
        zqd.wait_until("the worker", lambda queue: queue["workers"] == 1)
        yield


def begun(path: Path) -> int:
    """How many connections the flood has begun."""
    counts: dict[str, Any] = json.loads(path.read_text())
    return int(counts["begun"])


def number_in(path: Path) -> int:
    """What was counted so far."""
    return int((path.read_text() if path.exists() else "") or 0)


@pytest.mark.parametrize("kind", ["half_open", "greeted", "hello", "garbage"])
def test_a_flood(machine: Machine, connect: Connect, kind: str) -> None:
    """While it goes on a client on this machine is served, and what it costs in memory and descriptors stays bounded."""
    with machine.zqd("handshake_rate = 0", f"max_handshakes = {MOST}") as zqd:
        client = connect(zmq.REQ, zqd.frontends[1], **machine.keyring.options())
        worker = connect(zmq.REP, zqd.backend)
        exchange(client, worker)
        with machine.flood(zqd, kind) as path:
            wait_for(lambda: begun(path) > 2 * KEPT, "a beginning")
            descriptors, memory = zqd.fds(), zqd.resident()
            first = begun(path)
            most = exchanges = 0
            while begun(path) < first + 3000 or exchanges < 20:
                exchange(client, worker)
                exchanges += 1
                most = max(most, zqd.fds())
            newcomer = connect(zmq.REQ, zqd.frontends[1], **machine.keyring.options("bob"))
            exchange(newcomer, worker)
        assert most < 2 * MOST
        assert descriptors < 2 * MOST
        assert zqd.resident() < memory + 16 * MIB
        assert len(zqd.log("client.joined")) == 2
        assert_no_fault(zqd)


def test_those_that_are_over_the_bound_are_told(machine: Machine, connect: Connect) -> None:
    """Each is counted as refused, the log says where it came from and sums up the rest, without CURVE as with it."""
    with (
        machine.zqd("handshake_rate = 0", f"max_handshakes = {MOST}", curve=False) as zqd,
        machine.flood(zqd, "half_open", curve=False),
    ):
        zqd.wait_until("refusals", lambda queue: queue["refused"] > 100)
        line = zqd.log("peer.refused")[0]
        assert line["reason"] == f"over {MOST} handshakes at once"
        assert line["address"].startswith(f"{FIRST}:")
        wait_for(
            lambda: [line for line in zqd.log("events.folded") if line["of"] == "peer.refused"], "the sum"
        )
        exchange(connect(zmq.REQ, zqd.frontends[1]), connect(zmq.REP, zqd.backend))
        assert_no_fault(zqd)


@pytest.mark.parametrize("kind", ["half_open", "hello"])
def test_another_address_is_served_meanwhile(machine: Machine, kind: str) -> None:
    """An address that floods uses up its own pace only."""
    with (
        machine.zqd("handshake_rate = 20") as zqd,
        serving(zqd),
        machine.flood(zqd, kind) as path,
    ):
        reason = "more than 20 connections a second from its address"
        wait_for(lambda: [line for line in zqd.log("peer.refused") if line["reason"] == reason], "refusals")
        with machine.client(zqd, SECOND) as answers:
            wait_for(lambda: number_in(answers) > 0, "an answer")
            first, last = begun(path), number_in(answers)
            wait_for(lambda: number_in(answers) > last + 100, "more answers")
            wait_for(lambda: begun(path) > first + 100, "the flood to go on")
        assert {line["address"].rpartition(":")[0] for line in zqd.log("peer.refused")} == {FIRST}
        assert_no_fault(zqd)


def test_an_address_that_floods_gets_in_at_its_pace(machine: Machine) -> None:
    """So a client beside an attacker, behind the same address, is served in the end.

    Each of its attempts has a chance of one in ten or so: a quicker flood would make that a matter of luck.
    """
    with (
        machine.zqd("handshake_rate = 50") as zqd,
        serving(zqd),
        machine.flood(zqd, "hello", rate=200),
    ):
        zqd.wait_until("refusals", lambda queue: queue["refused"] > 100)
        with machine.client(zqd, FIRST) as answers:
            wait_for(lambda: number_in(answers) > 10, "answers")
            refused = zqd.queue()["refused"]
            zqd.wait_until("more refusals", lambda queue: queue["refused"] > refused + 100)
        reason = "more than 50 connections a second from its address"
        assert {line["reason"] for line in zqd.log("peer.refused")} == {reason}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'frontend_deny = ["{SECOND}"]', "its address is denied"),
        (f'frontend_allow = ["{FIRST}"]', "its address is not among those allowed"),
    ],
    ids=["deny", "allow"],
)
def test_addresses(machine: Machine, connect: Connect, line: str, reason: str) -> None:
    """The right key does not help at the wrong address; a unix socket has none."""
    with machine.zqd(line) as zqd, serving(zqd):
        with machine.client(zqd, SECOND) as answers:
            (refused, *_) = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
            assert refused["address"].startswith(f"{SECOND}:")
            assert (refused["reason"], refused["side"]) == (reason, "frontend")
            assert number_in(answers) == 0
        with machine.client(zqd, FIRST) as answers:
            wait_for(lambda: number_in(answers) > 0, "an answer")
        near = connect(zmq.REQ, zqd.frontends[1], **machine.keyring.options())
        near.send(b"near")
        assert near.recv() == b"near"


def test_this_machine_is_never_too_fast(tmp_path: Path, connect: Connect) -> None:
    """Its connections are not counted, in whatever state."""
    text = DEFAULT + "handshake_rate = 1\nmax_handshakes = 1\n"
    with ConfiguredZqd(tmp_path, text) as zqd:
        worker = connect(zmq.REP, zqd.backend)
        for _ in range(30):
            exchange(connect(zmq.REQ, zqd.frontend), worker)
        assert zqd.queue()["refused"] == 0
