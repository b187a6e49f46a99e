"""The gate by itself, and the device's bound on handshakes: who comes in, how fast, and how many at once."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zmtp import peers
from tests.zmtp.curve_client import CLIENT, CurveClient, accepted, new_server
from zqd.config import load
from zqd.keys.authorized import Authorized, Entry
from zqd.net.device import Device
from zqd.net.gate import IPV6_SITE, MOST_ADDRESSES, Gate, is_loopback
from zqd.net.link import Link, Stage
from zqd.net.loop import Loop
from zqd.net.side import Room
from zqd.zmtp.connection import Connection
from zqd.zmtp.curve import Curve, CurveServer
from zqd.zmtp.handshake import Null
from zqd.zmtp.secured import SecuredConnection

IPC = "ipc:pid=812"


def gate(allow: str = "", deny: str = "", rate: int = 0, curve: CurveServer | None = None) -> Gate:
    """With networks in words."""
    allowed, denied = ([ipaddress.ip_network(word) for word in words.split()] for words in (allow, deny))
    return Gate(allowed, denied, rate, curve)


# Addresses


@pytest.mark.parametrize(
    ("allow", "deny", "address", "reason"),
    [
        ("", "", "192.0.2.7:1", None),
        ("192.0.2.0/24", "", "192.0.2.7:1", None),
        ("192.0.2.0/24", "", "192.0.3.7:1", "its address is not among those allowed"),
        ("192.0.2.0/24 10.0.0.0/8", "", "10.9.8.7:1", None),
        ("", "192.0.2.7", "192.0.2.7:1", "its address is denied"),
        ("", "192.0.2.7", "192.0.2.8:1", None),
        ("192.0.2.0/24", "192.0.2.7", "192.0.2.7:1", "its address is denied"),
        ("192.0.2.0/24", "192.0.2.7", "192.0.2.8:1", None),
        ("192.0.2.0/24", "", "127.0.0.1:1", "its address is not among those allowed"),
        ("0.0.0.0/0", "", "[2001:db8::1]:1", "its address is not among those allowed"),
        ("2001:db8::/32", "", "[2001:db8::1]:1", None),
        ("", "2001:db8::/32", "[2001:db8::1]:1", "its address is denied"),
        ("", "fe80::/10", "[fe80::1%eth0]:1", "its address is denied"),
        ("", "10.0.0.0/8", "[::ffff:10.9.8.7]:1", "its address is denied"),
        ("10.0.0.0/8", "", "[::ffff:10.9.8.7]:1", None),
        ("10.0.0.0/8", "0.0.0.0/0", IPC, None),
    ],
)
def test_who_may_come_in(allow: str, deny: str, address: str, reason: str | None) -> None:
    """What is denied goes before what is allowed; a unix socket has a mode instead of an address."""
    door = gate(allow, deny)
    assert door.refusal(address, 0.0) == reason
    assert door.still_admits(address, Null(b"ROUTER")) == reason


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        (IPC, True),
        ("192.0.2.7:1", False),
        ("[::ffff:192.0.2.7]:1", False),
        ("[2001:db8::1]:1", False),
    ],
)
def test_who_is_on_this_machine(address: str, loopback: bool) -> None:
    """And so is never too fast, nor one of too many."""
    assert is_loopback(address) is loopback
    door = gate(rate=1)
    refused = [door.refusal(address, 0.0) is not None for _ in range(3)]
    assert refused == ([False] * 3 if loopback else [False, True, True])


# How fast


def test_a_second_has_so_many() -> None:
    """All at once if they like; then each has to wait for its share."""
    door = gate(rate=4)
    assert [door.refusal("192.0.2.7:1", 100.0) for _ in range(5)] == [
        *[None] * 4,
        "more than 4 connections a second from its address",
    ]
    assert door.refusal("192.0.2.7:1", 100.2) is not None
    assert door.refusal("192.0.2.7:1", 100.5) is None
    assert [door.refusal("192.0.2.7:1", 200.0) is None for _ in range(5)] == [True] * 4 + [False]


def test_who_hammers_is_let_in_at_the_rate() -> None:
    """Over ten seconds as many as ten seconds have, however many try: being refused costs nothing."""
    door = gate(rate=10)
    let_in = sum(door.refusal("192.0.2.7:1", number / 1000) is None for number in range(10_000))
    assert 100 <= let_in <= 110


def test_each_address_has_its_own_pace() -> None:
    """One that floods takes nothing from the others; ports make no difference, and of IPv6 a whole network is one."""
    door = gate(rate=1)
    assert door.refusal("192.0.2.7:1", 0.0) is None
    assert door.refusal("192.0.2.7:2", 0.0) is not None
    assert door.refusal("192.0.2.8:1", 0.0) is None
    assert door.refusal("[2001:db8::1]:1", 0.0) is None
    assert door.refusal("[2001:db8::ffff]:1", 0.0) is not None
    assert door.refusal("[2001:db8:0:1::1]:1", 0.0) is None
    assert ipaddress.ip_network(f"2001:db8::/{IPV6_SITE}").num_addresses == 1 << 64


def test_whoever_is_denied_has_no_pace() -> None:
    """It is not even remembered."""
    door = gate(deny="192.0.2.0/24", rate=1)
    for _ in range(3):
        assert door.refusal("192.0.2.7:1", 0.0) == "its address is denied"
    assert door._pace == {}


def test_the_memory_of_paces_is_bounded() -> None:
    """Of many addresses those are forgotten that came last the longest ago."""
    door = gate(rate=1)
    assert door.refusal("192.0.2.7:1", 0.0) is None
    for number in range(MOST_ADDRESSES - 1):
        assert door.refusal(f"{ipaddress.ip_address('10.0.0.0') + number}:1", 0.0) is None
    assert door.refusal("192.0.2.7:1", 0.0) is not None
    for number in range(3 * MOST_ADDRESSES):
        door.refusal(f"{ipaddress.ip_address('11.0.0.0') + number}:1", 0.0)
    assert len(door._pace) == MOST_ADDRESSES


# Mechanisms


def test_without_a_key_peers_come_in_plain() -> None:
    """As ever."""
    connection = gate().connection(b"ROUTER", 1000)
    assert type(connection) is Connection
    assert connection.mechanism.name == b"NULL"


def test_with_a_key_each_connection_has_its_own_secrets() -> None:
    """And CURVE."""
    door = gate(curve=new_server())
    connections = [door.connection(b"ROUTER", 1000) for _ in range(100)]
    mechanisms = [connection.mechanism for connection in connections]
    assert {type(connection) for connection in connections} == {SecuredConnection}
    assert len({mechanism._entropy for mechanism in mechanisms if isinstance(mechanism, Curve)}) == 100


def test_who_may_stay() -> None:
    """Whose key is on the list still; who came without security may not once there is a key."""
    client, connection = CurveClient(), accepted(new_server())
    client.connect(connection)
    lists = {
        "alice": Authorized({CLIENT: Entry("alice", None, "here")}),
        "nobody": Authorized({}),
        "anybody": Authorized({}, anonymous=True),
        "in the past": Authorized({CLIENT: Entry("alice", 1.0, "here")}, anonymous=True),
    }
    reasons = {
        name: gate(curve=CurveServer(bytes(32), guard, bytes(32))).still_admits(
            "192.0.2.7:1", connection.mechanism
        )
        for name, guard in lists.items()
    }
    assert reasons["alice"] is reasons["anybody"] is None
    assert "is not authorized" in str(reasons["nobody"])
    assert "has expired" in str(reasons["in the past"])
    assert gate().still_admits("192.0.2.7:1", connection.mechanism) is None
    plain = gate(curve=new_server()).still_admits("192.0.2.7:1", Null(b"ROUTER"))
    assert plain == "this endpoint uses CURVE now"


# How many at once


class Doorway:
    """A device with a bound on handshakes, and the other ends of its connections."""

    def __init__(self, most: int, path: Path) -> None:
        config = load(path).queues[0]
        config = dataclasses.replace(
            config, settings=dataclasses.replace(config.settings, max_handshakes=most, handshake_rate=0)
        )
        self.told: list[tuple[str, dict[str, object]]] = []
        self.loop = Loop()
        self.device = Device(
            self.loop,
            config,
            boot=bytes(8),
            room=Room(10_000),
            numbers=itertools.count(1),
            notify=lambda event, fields: self.told.append((event, fields)),
            on_fault=lambda fault: self.told.append(("fault", {"fault": fault})),
        )
        self._ends: list[socket.socket] = []

    def come(self, address: str = "192.0.2.7:1", sent: bytes = b"") -> Link:
        """A peer from there, that has sent so much."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._ends.append(theirs)
        self.device._client_connected(ours, address)
        link = list(self.device._links.values())[-1]
        if sent:
            theirs.send(sent)
            link.read()
        return link

    def refused(self) -> list[object]:
        """The reasons."""
        return [fields["reason"] for event, fields in self.told if event == "peer.refused"]

    def close(self) -> None:
        """Give everything back."""
        self.device.close()
        self.loop.close()
        for end in self._ends:
            end.close()
        assert [fields for event, fields in self.told if event == "fault"] == []


@pytest.fixture
def doorway(tmp_path: Path) -> Iterator[Doorway]:
    """For three at once."""
    (tmp_path / "zqd.toml").write_text("")
    doorway = Doorway(3, tmp_path / "zqd.toml")
    yield doorway
    doorway.close()


def test_the_slowest_makes_room(doorway: Doorway) -> None:
    """The one that has been in its handshake for the longest; each is counted and told once."""
    links = [doorway.come() for _ in range(5)]
    assert [link.stage is Stage.OPEN for link in links] == [False, False, True, True, True]
    assert doorway.refused() == ["over 3 handshakes at once"] * 2
    assert doorway.device.refused == 2
    assert doorway.device.frontend.connections == 3


def test_whoever_is_through_counts_no_more(doorway: Doorway) -> None:
    """Any number of peers may be connected, and they are never the ones that go."""
    greeted = peers.greeting() + peers.ready()
    links = [doorway.come(sent=greeted) for _ in range(10)]
    slow = [doorway.come() for _ in range(4)]
    links += [doorway.come(sent=greeted) for _ in range(3)]
    assert {link.stage for link in links} == {Stage.OPEN}
    assert all(link.peer is not None for link in links)
    assert [link.stage is Stage.OPEN for link in slow].count(True) <= 2


def test_whoever_is_gone_counts_no_more(doorway: Doorway) -> None:
    """However its handshake ended."""
    for _ in range(10):
        doorway.come(sent=b"GET / HTTP/1.1\r\n\r\n")
    first = doorway.come()
    for _ in range(10):
        doorway.come().lost("")
    assert first.stage is Stage.OPEN
    assert set(doorway.refused()) == {"not a ZMTP peer"}


def test_peers_on_this_machine_do_not_count(doorway: Doorway) -> None:
    """They neither go nor make others go."""
    far = [doorway.come() for _ in range(3)]
    near = [doorway.come(address) for address in ("127.0.0.1:1", "[::1]:1", IPC) for _ in range(5)]
    assert {link.stage for link in (*far, *near)} == {Stage.OPEN}
    doorway.come()
    assert [link.stage is Stage.OPEN for link in far] == [False, True, True]
    assert {link.stage for link in near} == {Stage.OPEN}


def test_what_is_kept_of_them_is_bounded(doorway: Doorway) -> None:
    """A slow one in front of many fast ones does not make the list grow."""
    doorway.come()
    for _ in range(100):
        doorway.come(sent=peers.greeting() + peers.ready())
    assert len(doorway.device._handshakes) <= 3
