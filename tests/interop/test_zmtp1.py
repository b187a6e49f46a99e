"""Peers of libzmq 2, which speak ZMTP 1.0 (RFC 13): not served, and told so in the log."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest
import zmq

from tests.conftest import Connect
from tests.interop.peers import exchange
from tests.support.processes import PATIENCE, Zqd, wait_for

# What they send at once: their identity as a frame (length with flags, flags, body), then a request, if they are a REQ.
REQUEST = b"\x01\x01" + b"\x06\x00hello"
OPENINGS = {
    "anonymous": b"\x01\x00",
    "named": b"\x05\x00name",
    "long name": b"\xff" + (256).to_bytes(8, "big") + b"\x00" + b"n" * 255,
    "anonymous and asking": b"\x01\x00" + REQUEST,
    "named and asking": b"\x05\x00name" + REQUEST,
}


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_a_peer_of_zmtp_1_is_refused(zqd: Zqd, connect: Connect, side: str, opening: bytes) -> None:
    """zqd logs that it does not support ZMTP 1.0, closes the connection in order, and serves the others as before."""
    client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
    exchange(client, worker)
    where = urlsplit(zqd.frontend if side == "frontend" else zqd.backend)
    with socket.create_connection((where.hostname, where.port), PATIENCE) as old:
        address = "{}:{}".format(*old.getsockname())
        old.sendall(opening)
        while old.recv(1 << 16):  # a reset would raise
            pass
        exchange(client, worker, count=10)
    refused = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
    assert [(line["reason"], line["address"]) for line in refused] == [("ZMTP 1.0 is not supported", address)]
    row = zqd.queue()
    assert (row["clients"], row["workers"], row["replied"]) == (1, 1, 11)


def test_it_may_come_again_and_again(zqd: Zqd, connect: Connect) -> None:
    """libzmq 2 reconnects for ever: zqd keeps no descriptor of it, and others are served meanwhile."""
    client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
    exchange(client, worker)
    before = zqd.fds()
    where = urlsplit(zqd.frontend)
    for _ in range(100):
        with socket.create_connection((where.hostname, where.port), PATIENCE) as old:
            old.sendall(OPENINGS["anonymous and asking"])
            exchange(client, worker)
    wait_for(lambda: zqd.fds() == before, "all its descriptors")
    assert zqd.queue()["replied"] == 101
