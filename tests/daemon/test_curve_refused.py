"""Who is not let in, or breaks the protocol, at a daemon with CURVE: refused, counted, logged with its address; others are served."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.daemon.keyring import CurvePeer, Keyring, assert_no_fault, both_there, refusal, refusals
from tests.faults.raw import RawPeer
from tests.interop.peers import exchange, monitored
from tests.support.processes import wait_for
from tests.zmtp import peers
from tests.zmtp.curve_client import random as bytes_of
from zqd.zmtp.frames import COMMAND, encode_frame, encode_message

Socket = zmq.Socket[bytes]


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob, who may enter, and of mallory, who may not."""
    return Keyring(tmp_path, "mallory")


@pytest.fixture
def zqd(tmp_path: Path, keyring: Keyring) -> Iterator[ConfiguredZqd]:
    """One with CURVE on both sides; it ends without a fault."""
    with ConfiguredZqd(tmp_path, keyring.settings()) as zqd:
        yield zqd
        assert_no_fault(zqd)


@pytest.fixture
def bystanders(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> Iterator[None]:
    """A client and a worker that are served before and after, by the same connections."""
    client = connect(zmq.REQ, zqd.frontend, **keyring.options("alice"))
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    exchange(client, worker)
    yield
    exchange(client, worker, count=3)
    assert len(zqd.log("worker.joined")) == 1
    assert zqd.control("clients")[0]["received"] == 4


# libzmq's peers


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize(
    ("name", "server", "reason"),
    [
        ("mallory", "zqd", "key {} is not authorized"),
        ("alice", "bob", "HELLO is not for our key: the peer has another server key"),
        ("", "", "peer uses NULL, this endpoint CURVE"),
    ],
    ids=["unknown key", "wrong server key", "NULL"],
)
@pytest.mark.usefixtures("bystanders")
def test_a_peer_is_refused(
    zqd: ConfiguredZqd, keyring: Keyring, connect: Connect, side: str, name: str, server: str, reason: str
) -> None:
    """The log says where from and why, the status counts it, and libzmq does not try again."""
    front = side == "frontend"
    peer = connect(zmq.REQ if front else zmq.REP)
    with monitored(peer) as monitor:
        if name:
            for option, value in keyring.options(name, server).items():
                setattr(peer, option, value)
        peer.connect(zqd.frontend if front else zqd.backend)
        (line,) = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
        assert line["reason"] == reason.format(keyring.public("mallory"))
        assert line["address"].startswith("127.0.0.1:")
        assert (line["level"], line["queue"]) == ("warning", "default")
        assert monitor.wait_for(zmq.Event.DISCONNECTED, zmq.Event.HANDSHAKE_FAILED_AUTH)
        assert not monitor.wait_for(zmq.Event.HANDSHAKE_SUCCEEDED, patience=0.3)
    assert zqd.queue()["refused"] == len(zqd.log("peer.refused"))
    assert (zqd.queue()["clients"], zqd.queue()["workers"]) == (1, 1)


def test_a_curve_peer_where_there_is_none(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """At an endpoint without keys; those without keys are served there."""
    with ConfiguredZqd(tmp_path, DEFAULT) as zqd:
        connect(zmq.REQ, zqd.frontend, **keyring.options())
        wait_for(lambda: zqd.log("peer.refused"), "the refusal")
        assert zqd.log("peer.refused")[0]["reason"] == "peer uses CURVE, this endpoint NULL"
        exchange(connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend))


def test_a_worker_at_the_front_end(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """The right key does not make up for the wrong type."""
    connect(zmq.REP, zqd.frontend, **keyring.options())
    (line,) = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
    assert line["reason"] == "socket type REP cannot talk to ROUTER: use DEALER, REQ, ROUTER"


def test_a_peer_of_zmtp_2(zqd: ConfiguredZqd) -> None:
    """It has no CURVE."""
    with RawPeer(zqd.frontend) as peer:
        peer.send(peers.v2_greeting(3))
        (line,) = wait_for(lambda: zqd.log("peer.refused"), "the refusal")
        assert line["reason"] == "ZMTP 2.0 has no CURVE"


def test_a_handshake_that_is_never_finished(tmp_path: Path, keyring: Keyring) -> None:
    """At whatever step it stops."""
    text = keyring.settings(more='handshake_timeout = "500ms"\n')
    with ConfiguredZqd(tmp_path, text) as zqd:
        steps: tuple[Callable[[CurvePeer], object], ...] = (
            lambda peer: peer,
            CurvePeer.greet,
            CurvePeer.welcome,
        )
        for step in steps:
            with CurvePeer(zqd.frontend, keyring.client()) as peer:
                step(peer)
                assert refusal(zqd, peer.address) == "no handshake within 0.5 s"
                peer.read_to_end()


# By hand: in the handshake


def hello(change: Callable[[bytes], bytes]) -> Callable[[CurvePeer], None]:
    """A HELLO that was changed."""

    def attack(peer: CurvePeer) -> None:
        peer.greet()
        peer.tell(change(peer.client.hello()))

    return attack


def initiate(**wrong: object) -> Callable[[CurvePeer], None]:
    """An INITIATE with something wrong about it."""

    def attack(peer: CurvePeer) -> None:
        peer.welcome()
        peer.tell(peer.client.initiate(**wrong))  # type: ignore[arg-type]  # of all kinds

    return attack


def flipped(data: bytes, place: int = -1) -> bytes:
    """With one bit turned over."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def changed_initiate(peer: CurvePeer) -> None:
    """One bit of the box is another."""
    peer.welcome()
    peer.tell(flipped(peer.client.initiate()))


def signed_otherwise(peer: CurvePeer) -> None:
    """The box of its HELLO holds something else than it has to."""
    peer.greet()
    peer.tell(peer.client.hello(signed=b"\1" * 64))


def second_hello(peer: CurvePeer) -> None:
    """HELLO twice."""
    peer.welcome()
    peer.tell(peer.client.hello())


def message_too_early(peer: CurvePeer) -> None:
    """A message frame where a command has to be."""
    peer.greet()
    peer.send(encode_message([b"", b"body"]))


def null_ready(peer: CurvePeer) -> None:
    """Goes on as without security."""
    peer.greet()
    peer.send(peers.ready())


def huge_command(peer: CurvePeer) -> None:
    """Announces a command that nobody would keep."""
    peer.greet()
    peer.send(b"\6" + (1 << 40).to_bytes(8, "big"))


def as_a_server(peer: CurvePeer) -> None:
    """Says that it is the server."""
    peer.send(peers.greeting(mechanism=b"CURVE", as_server=True))


HANDSHAKES: dict[str, tuple[Callable[[CurvePeer], None], str]] = {
    "HELLO cut short": (hello(lambda body: body[:-1]), "HELLO of 199 bytes, expected 200"),
    "HELLO too long": (hello(lambda body: body + b"\0"), "HELLO of 201 bytes, expected 200"),
    "HELLO of another version": (hello(lambda body: flipped(body, 6)), "CurveZMQ 0.0 is not supported"),
    "HELLO padded": (hello(lambda body: flipped(body, 20)), "HELLO whose padding is not zero"),
    "HELLO forged": (hello(flipped), "HELLO is not for our key"),
    "HELLO with a zero key": (
        hello(lambda body: body[:80] + bytes(32) + body[112:]),
        "HELLO is not for our key",
    ),
    "HELLO with other content": (
        signed_otherwise,
        "HELLO with a wrong signature",
    ),
    "two HELLOs": (second_hello, "expected INITIATE, got HELLO"),
    "INITIATE with a cookie of its own": (initiate(cookie=bytes(96)), "INITIATE has the cookie of another"),
    "INITIATE with an old nonce": (initiate(nonce=1), "INITIATE has nonce 1 after 1"),
    "INITIATE forged": (changed_initiate, "INITIATE is forged"),
    "INITIATE by another than it says": (
        initiate(voucher=bytes_of("somebody", 32)),
        "INITIATE with a forged vouch",
    ),
    "INITIATE that vouches for another": (initiate(vouched=bytes(64)), "INITIATE whose vouch is for another"),
    "INITIATE with bad metadata": (initiate(metadata=b"\xff"), "malformed metadata"),
    "a message": (message_too_early, "message before the handshake was over"),
    "READY": (null_ready, "expected HELLO, got READY"),
    "a huge command": (huge_command, "handshake frame of"),
    "a server": (as_a_server, "peer is a CURVE server, as this endpoint is"),
    "garbage": (lambda peer: peer.send(b"GET / HTTP/1.1\r\n\r\n"), "not a ZMTP peer"),
}


@pytest.mark.parametrize(("attack", "reason"), HANDSHAKES.values(), ids=HANDSHAKES)
@pytest.mark.usefixtures("bystanders")
def test_a_bad_handshake(
    zqd: ConfiguredZqd, keyring: Keyring, attack: Callable[[CurvePeer], None], reason: str
) -> None:
    """It is refused for what is wrong with it, once, and its connection ends."""
    with CurvePeer(zqd.frontend, keyring.client()) as peer:
        attack(peer)
        assert refusal(zqd, peer.address).startswith(reason)
        peer.read_to_end()
    assert zqd.queue()["refused"] == 1
    assert len(zqd.log("client.joined")) == 1


@pytest.mark.usefixtures("bystanders")
def test_a_recorded_session(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """Whoever plays it again on another connection gets as far as WELCOME; no request is made twice."""
    with CurvePeer(zqd.frontend, keyring.client()) as peer:
        peer.establish()
        peer.said.append(peer.client.messages(b"", b"pay"))
    zqd.wait_until("its end", lambda queue: queue["clients"] == 1)
    with CurvePeer(zqd.frontend, keyring.client()) as again:
        again.send(peers.greeting(mechanism=b"CURVE") + b"".join(peer.said))
        assert refusal(zqd, again.address) == "INITIATE has the cookie of another connection"
        again.read_to_end()
    assert zqd.queue()["received"] == 1


# In the traffic


def replayed(peer: CurvePeer) -> None:
    """A request, and the same bytes again."""
    request = peer.client.messages(b"", b"once")
    peer.send(request + request)


def reordered(peer: CurvePeer) -> None:
    """Two requests, the second one first."""
    first, second = peer.client.messages(b"", b"once"), peer.client.messages(b"", b"twice")
    peer.send(second + first)


def forged(peer: CurvePeer) -> None:
    """One good request, and one with a bit turned over."""
    peer.send(peer.client.messages(b"", b"once") + flipped(peer.client.messages(b"", b"twice")))


def truncated(peer: CurvePeer) -> None:
    """One good request, and one whose last frame misses its last byte."""
    good, frame = peer.client.messages(b"", b"once"), peer.client.message(0, b"twice")
    peer.send(good + encode_frame(frame[2:-1]))


def too_short(peer: CurvePeer) -> None:
    """A MESSAGE that holds less than its own overhead."""
    peer.send(peer.client.messages(b"", b"once") + encode_frame(b"\7MESSAGE" + bytes(24)))


def plain(peer: CurvePeer) -> None:
    """Goes on in plain text."""
    peer.send(peer.client.messages(b"", b"once") + encode_message([b"", b"twice"]))


def other_keys(peer: CurvePeer) -> None:
    """A MESSAGE whose box is of another connection."""
    good = peer.client.messages(b"", b"once")
    peer.client.server_transient = peer.client.public
    peer.send(good + peer.client.message(0, b"twice"))


def reserved_flags(peer: CurvePeer) -> None:
    """A MESSAGE with flags that nobody knows."""
    peer.send(peer.client.messages(b"", b"once") + peer.client.message(0x80, b"twice"))


TRAFFIC: dict[str, tuple[Callable[[CurvePeer], None], str]] = {
    "replayed": (replayed, "MESSAGE 3 after 4: replayed, or out of order"),
    "reordered": (reordered, "MESSAGE 3 after 6: replayed, or out of order"),
    "forged": (forged, "MESSAGE 6 is forged"),
    "truncated": (truncated, "MESSAGE 5 is forged"),
    "too short": (too_short, "MESSAGE of 32 bytes, expected at least 33"),
    "plain": (plain, "unsecured frame (flags 0x01) in secured traffic"),
    "of other keys": (other_keys, "MESSAGE 5 is forged"),
    "with reserved flags": (reserved_flags, "MESSAGE 5 with reserved flags 0x80"),
}


@pytest.mark.parametrize(("attack", "reason"), TRAFFIC.values(), ids=TRAFFIC)
@pytest.mark.usefixtures("bystanders")
def test_bad_traffic(
    zqd: ConfiguredZqd, keyring: Keyring, attack: Callable[[CurvePeer], None], reason: str
) -> None:
    """It ends the connection; at most the one good request before it was taken, and that is dropped with its client."""
    zqd.control("pause")
    with CurvePeer(zqd.frontend, keyring.client("bob")) as peer:
        peer.establish()
        attack(peer)
        assert refusal(zqd, peer.address).startswith(reason)
        peer.read_to_end()
    row = zqd.wait_until("its end", lambda queue: queue["clients"] == 1)
    assert row["received"] <= 2
    assert row["dropped"] == row["received"] - 1
    assert row["refused"] == 1
    zqd.control("resume")


def mutated(chance: random.Random, sent: bytes) -> bytes:
    """With something done to it somewhere."""
    at = chance.randrange(len(sent))
    end = chance.randrange(at, len(sent)) + 1
    return chance.choice(
        (
            sent[:at] + sent[end:],
            sent[:end] + sent[at:],
            sent[:at] + chance.randbytes(end - at) + sent[end:],
            sent[:at] + chance.randbytes(chance.randrange(1, 300)) + sent[at:],
            flipped(sent, at),
        )
    )


def logged(zqd: ConfiguredZqd) -> int:
    """How many refusals the log tells of, storms of them in one line."""
    folded = [int(line["more"]) for line in zqd.log("events.folded") if line["of"] == "peer.refused"]
    return len(zqd.log("peer.refused")) + sum(folded)


@pytest.mark.usefixtures("bystanders")
def test_anything_at_all(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """Sessions that are damaged somewhere, at any step: each is refused or merely ends, and none is a fault."""
    chance = random.Random(26)
    zqd.control("pause")
    for number in range(300):
        with CurvePeer(zqd.frontend, keyring.client()) as peer:
            step = number % 3
            if step == 0:
                sent = peers.greeting(mechanism=b"CURVE") + encode_frame(peer.client.hello(), COMMAND)
            elif step == 1:
                peer.welcome()
                sent = encode_frame(peer.client.initiate(), COMMAND)
            else:
                peer.establish()
                sent = peer.client.messages(b"", b"a", b"b") + peer.client.command(b"PING", b"\0\0x")
            peer.send(mutated(chance, sent))
    row = zqd.wait_until("their end", lambda queue: queue["clients"] == 1)
    assert row["refused"] > 100
    wait_for(lambda: logged(zqd) == row["refused"], "every refusal to be logged, or told in sum")
    zqd.control("resume")


class SlowPeer(CurvePeer):
    """Sends one byte at a time."""

    def send(self, data: bytes) -> None:
        """Each by itself."""
        for at in range(len(data)):
            super().send(data[at : at + 1])


def test_byte_by_byte(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """A handshake and a request that come in single bytes are as good as any."""
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    with SlowPeer(zqd.frontend, keyring.client()) as peer:
        peer.establish()
        peer.send(peer.client.messages(b"", b"body"))
        both_there(zqd)
        worker.send(worker.recv())
        assert [peer.carried()[1], peer.carried()[1]] == [b"", b"body"]
        assert refusals(zqd, peer.address) == []
