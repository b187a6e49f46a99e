"""libzmq peers of the wrong socket type at a real zqd: refused once, and nobody else notices."""

from __future__ import annotations

import pytest
import zmq

from tests.conftest import Connect
from tests.interop.peers import exchange, monitored
from tests.support.processes import Zqd, wait_for

WRONG = [
    *[("frontend", kind) for kind in ("SUB", "PUB", "PUSH", "PULL", "PAIR", "REP")],
    *[("backend", kind) for kind in ("SUB", "PUB", "PUSH", "PULL", "PAIR", "REQ")],
]


@pytest.mark.parametrize(("side", "kind"), WRONG)
def test_a_wrong_socket_type_is_refused_for_good(zqd: Zqd, connect: Connect, side: str, kind: str) -> None:
    """zqd logs why it refuses the peer, libzmq does not come again, and others are served as before."""
    client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
    exchange(client, worker)
    wrong = connect(getattr(zmq, kind), reconnect_ivl=1)
    with monitored(wrong) as monitor:
        wrong.connect(zqd.frontend if side == "frontend" else zqd.backend)
        refused = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
        ours, allowed = (
            ("ROUTER", "DEALER, REQ, ROUTER") if side == "frontend" else ("DEALER", "DEALER, REP, ROUTER")
        )
        assert refused[0]["reason"] == f"socket type {kind} cannot talk to {ours}: use {allowed}"
        assert refused[0]["queue"] == "default"
        assert refused[0]["address"].startswith("127.0.0.1:")
        # It would come again after a millisecond; what follows takes far longer.
        exchange(client, worker, count=200)
        assert not monitor.wait_for(zmq.Event.CONNECT_RETRIED, patience=0.3)
        assert monitor.seen.count(zmq.Event.CONNECTED) == 1
    assert len(zqd.log("peer.refused")) == 1
    row = zqd.queue()
    assert (row["clients"], row["workers"], row["retried"]) == (1, 1, 0)
