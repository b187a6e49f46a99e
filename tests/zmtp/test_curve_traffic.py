"""What CURVE carries: MESSAGE commands in both directions, and what is wrong with them (RFC 26, "The MESSAGE Command")."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.zmtp import peers
from tests.zmtp.curve_client import CARRIED_COMMAND, CurveClient, connected, split_frames
from tests.zmtp.peers import feed, outcome, take_outbox
from zqd.zmtp.frames import COMMAND, MORE, encode_frame, encode_message
from zqd.zmtp.opening import Phase

HELLO = encode_message([b"", b"hello"])
SIZES = [0, 1, 2, 221, 222, 223, 254, 255, 256, 65_535, 65_536, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_comes_through(size: int) -> None:
    """In either direction, from empty bodies to long ones."""
    client, connection = connected(limit=2 << 20)
    raw = encode_message([b"", b"x" * size])
    assert outcome(feed(connection, client.messages(b"", b"x" * size))) == [raw]
    sent = b"".join(connection.wrap([raw[:1], memoryview(raw)[1:]]))
    assert client.take(sent) == [(MORE, b""), (0, b"x" * size)]


@pytest.mark.parametrize("size", [97, 98, 222, 255, 256, 1000])
def test_the_limit_counts_what_is_carried(size: int) -> None:
    """A message of the limit exactly comes through, however much larger the frames are that carry it."""
    raw = encode_message([b"", b"x" * size])
    client, connection = connected(limit=len(raw))
    assert outcome(feed(connection, client.messages(b"", b"x" * size))) == [raw]
    client, connection = connected(limit=len(raw) - 1)
    messages = outcome(feed(connection, client.messages(b"", b"x" * size)))
    assert messages == [(b"\x01\x00", len(raw))]


def test_nonces_rise_over_all_that_is_sent() -> None:
    """READY, messages and commands are one sequence."""
    client, connection = connected()
    connection.ping(30)
    sent = take_outbox(connection) + b"".join(connection.wrap([HELLO]))
    connection.receive(client.command(b"PING", b"\0\0ctx"))
    sent += take_outbox(connection) + b"".join(connection.wrap([HELLO]))
    numbers = [int.from_bytes(body[8:16], "big") for _, body in split_frames(sent)]
    assert numbers == [2, 3, 4, 5, 6, 7]
    carried = client.take(sent)
    assert carried[0] == (CARRIED_COMMAND, b"\4PING\x01\x2c")
    assert carried[3] == (CARRIED_COMMAND, b"\4PONGctx")


def test_the_same_message_never_looks_the_same() -> None:
    """Its nonce is another one."""
    _, connection = connected()
    assert connection.wrap([HELLO]) != connection.wrap([HELLO])


@pytest.mark.parametrize("piece", [1, 13, 100])
def test_messages_and_commands_in_any_pieces(piece: int) -> None:
    """Cut anywhere, the same comes out."""
    client, connection = connected()
    sent = client.message(MORE, b"") + client.command(b"PING", b"\0\0") + client.message(0, b"hello")
    sent += client.messages(b"hop", b"", b"x" * 300)
    messages = feed(connection, sent, range(piece, len(sent), piece))
    assert outcome(messages) == [HELLO, encode_message([b"hop", b"", b"x" * 300])]
    assert client.take(take_outbox(connection)) == [(CARRIED_COMMAND, b"\4PONG")]


def damaged(frame: bytes, at: int) -> bytes:
    """The frame with one bit of that byte turned over."""
    return frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]


def swapped(client: CurveClient) -> bytes:
    """Two messages in the wrong order."""
    first, second = client.message(0, b"one"), client.message(0, b"two")
    return second + first


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda c: damaged(c.message(0, b"x"), 18), "MESSAGE 5 is forged"),
        (lambda c: damaged(c.message(0, b"x"), -1), "MESSAGE 5 is forged"),
        (lambda c: damaged(c.message(0, b"x"), 17), "MESSAGE 4 after 4: replayed, or out of order"),
        (lambda c: damaged(c.message(0, b"x"), 3), "frame in secured traffic that is no MESSAGE"),
        (lambda c: c.message(0, b"x", nonce=4), "MESSAGE 4 after 4: replayed, or out of order"),
        (lambda c: c.message(0, b"x", nonce=0), "MESSAGE 0 after 4: replayed, or out of order"),
        (lambda c: encode_frame(c.message(0, b"x")[2:-1]), "MESSAGE 5 is forged"),
        (lambda c: encode_frame(c.message(0, b"")[2:-1]), "MESSAGE of 32 bytes, expected at least 33"),
        (lambda _: encode_frame(b"\7MESSAGE"), "MESSAGE of 8 bytes, expected at least 33"),
        (lambda _: encode_frame(b""), "frame in secured traffic that is no MESSAGE"),
        (lambda _: encode_frame(b"x" * 100), "frame in secured traffic that is no MESSAGE"),
        (lambda c: c.message(4, b"x"), "MESSAGE 5 with reserved flags 0x04"),
        (lambda c: c.message(3, b"x"), "MESSAGE 5 with reserved flags 0x03"),
        (lambda c: c.message(0x80, b"x"), "MESSAGE 5 with reserved flags 0x80"),
        (lambda c: CurveClientOf(c).message(0, b"x"), "MESSAGE 5 is forged"),
        (lambda _: HELLO, "unsecured frame (flags 0x01) in secured traffic"),
        (lambda _: peers.ping(), "unsecured frame (flags 0x04) in secured traffic"),
        (
            lambda c: encode_frame(c.message(0, b"x")[2:], COMMAND),
            "unsecured frame (flags 0x04) in secured traffic",
        ),
        (
            lambda c: encode_frame(c.message(0, b"x")[2:], MORE),
            "unsecured frame (flags 0x01) in secured traffic",
        ),
        (lambda _: peers.command_frame(b"ERROR", b"\1x"), "unsecured frame (flags 0x04) in secured traffic"),
        (lambda c: c.command(b"ERROR", b"\4gone"), "peer gave up: gone"),
        (lambda c: c.command(b"PING"), "malformed PING"),
        (lambda c: c.message(CARRIED_COMMAND, b""), "command without a name"),
    ],
)
@pytest.mark.parametrize("piece", [1, 10_000])
def test_what_is_wrong_ends_the_connection(
    make: Callable[[CurveClient], bytes], error: str, piece: int
) -> None:
    """Behind what came before it, without an answer, and with nothing of what follows (RFC 26)."""
    client, connection = connected()
    sent = client.messages(b"", b"hello") + make(client)
    sent += client.messages(b"", b"never")
    assert outcome(feed(connection, sent, range(piece, len(sent), piece))) == [HELLO]
    assert (connection.error, connection.phase, connection.buffered) == (error, Phase.FAILED, 0)
    assert take_outbox(connection) == b""
    assert connection.receive(client.messages(b"", b"never")) == []


class CurveClientOf(CurveClient):
    """Somebody between client and server, who knows all but the secrets."""

    def __init__(self, client: CurveClient) -> None:
        super().__init__(seed="somebody else's")
        self.server_transient, self.nonce = client.server_transient, client.nonce


def test_a_replayed_message_ends_the_connection() -> None:
    """Nobody can make a request happen twice."""
    client, connection = connected()
    sent = client.message(0, b"pay")
    assert outcome(connection.receive(sent)) == [encode_message([b"pay"])]
    assert connection.receive(sent) == []
    assert connection.error == "MESSAGE 3 after 3: replayed, or out of order"


def test_messages_out_of_order_end_the_connection() -> None:
    """The one that is late is not taken."""
    client, connection = connected()
    assert outcome(connection.receive(swapped(client))) == [encode_message([b"two"])]
    assert connection.error == "MESSAGE 3 after 4: replayed, or out of order"


def test_our_own_messages_do_not_come_back() -> None:
    """What we have sent is not taken for what the peer sends."""
    _, connection = connected()
    connection.wrap([HELLO, HELLO])
    assert connection.receive(b"".join(connection.wrap([HELLO]))) == []
    assert connection.error == "MESSAGE 6 is forged"


def test_a_forged_nonce_does_not_lock_the_peer_out() -> None:
    """Only what was opened counts: here the end comes by the forgery, not by the nonce."""
    client, connection = connected()
    forged = encode_frame(b"\7MESSAGE" + b"\xff" * 8 + bytes(32))
    assert connection.receive(forged + client.message(0, b"x")) == []
    assert connection.error == f"MESSAGE {2**64 - 1} is forged"
