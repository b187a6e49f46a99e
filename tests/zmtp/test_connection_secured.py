"""A mechanism with a cipher goes through the same calls as NULL: the seam that CURVE will use."""

from __future__ import annotations

import pytest

from tests.zmtp import peers
from tests.zmtp.peers import Xor, XorMechanism, feed, outcome, take_outbox
from zqd.zmtp import handshake
from zqd.zmtp.connection import ANNOUNCED_FACTOR, BATCH
from zqd.zmtp.frames import COMMAND, LARGE, MORE, encode_frame, encode_message
from zqd.zmtp.opening import Phase
from zqd.zmtp.pieces import Pieces, RawMessage
from zqd.zmtp.secured import SecuredConnection

HELLO = encode_message([b"", b"hello"])
PARTS = [b"hop", b"", b"x" * 300, b"", b"last"]
HANDSHAKE = peers.command_frame(b"HELLO") + peers.command_frame(
    b"INITIATE", Xor().encode(0, peers.metadata({b"Socket-Type": b"REQ", b"Identity": b"me"}))
)
# Of a frame that is larger by one byte than one that carries a message of 100 bytes can be.
LONG_HEADER = b"\2" + (101 + Xor.overhead - 9).to_bytes(8, "big")


def secured(limit: int = peers.LIMIT) -> SecuredConnection:
    """A secured front-end connection in traffic, its outbox taken."""
    connection = SecuredConnection(XorMechanism(b"ROUTER"), b"ROUTER", limit)
    assert feed(connection, peers.greeting(mechanism=b"XOR") + HANDSHAKE) == []
    take_outbox(connection)
    return connection


def carried(flags: int, body: bytes) -> bytes:
    """The frame that carries a frame with these flags and body."""
    return encode_frame(Xor().encode(flags, body))


def carried_message(*bodies: bytes) -> bytes:
    """The frames that carry a message."""
    return b"".join(carried(MORE, body) for body in bodies[:-1]) + carried(0, bodies[-1])


def carried_command(name: bytes, data: bytes = b"") -> bytes:
    """The frame that carries a command."""
    return carried(COMMAND, handshake.command(name, data))


# Handshake


def test_a_handshake_of_several_steps_is_answered_step_by_step() -> None:
    """Each command of the peer gets the mechanism's answer, and traffic begins when it is complete."""
    connection = peers.fresh(mechanism=XorMechanism(b"ROUTER"))
    connection.receive(peers.greeting(mechanism=b"XOR"))
    sent = take_outbox(connection)
    assert sent[12:32] == b"XOR".ljust(20, b"\0")
    assert sent[32] == 1
    connection.receive(peers.command_frame(b"HELLO"))
    assert (take_outbox(connection), connection.phase) == (
        peers.command_frame(b"WELCOME", b"key"),
        Phase.HANDSHAKE,
    )
    connection.receive(HANDSHAKE[len(peers.command_frame(b"HELLO")) :])
    assert (take_outbox(connection), connection.phase) == (peers.command_frame(b"READY"), Phase.TRAFFIC)
    assert (connection.peer_type, connection.identity) == (b"REQ", b"me")


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (peers.ready(), "unexpected READY"),
        (peers.command_frame(b"HELLO") * 2, "unexpected HELLO"),
        (peers.command_frame(b"HELLO") + peers.command_frame(b"INITIATE", b"??"), "forged frame"),
    ],
)
def test_a_mechanism_can_refuse_at_any_step(sent: bytes, error: str) -> None:
    """What a mechanism raises becomes the connection's error and an ERROR command."""
    connection = peers.fresh(mechanism=XorMechanism(b"ROUTER"))
    connection.receive(peers.greeting(mechanism=b"XOR") + sent)
    assert connection.error == error
    text = bytes((len(error),)) + error.encode()
    assert take_outbox(connection).endswith(peers.command_frame(b"ERROR", text))


def test_a_plain_peer_is_refused_by_a_secured_endpoint() -> None:
    """A NULL peer's greeting does not get round the mechanism."""
    connection = peers.fresh(mechanism=XorMechanism(b"ROUTER"))
    assert connection.receive(peers.greeting() + peers.ready() + HELLO) == []
    assert connection.error == "peer uses NULL, this endpoint XOR"


# Traffic


@pytest.mark.parametrize("piece", [1, 2, 50, 10_000])
def test_secured_messages_come_out_as_plain_ones_do(piece: int) -> None:
    """`receive` gives raw plain messages whatever carried them, in any cut, from the handshake on."""
    sent = (
        peers.greeting(mechanism=b"XOR")
        + HANDSHAKE
        + carried_message(*PARTS)
        + carried_message(b"", b"hello") * 2
    )
    connection = peers.fresh(mechanism=XorMechanism(b"ROUTER"))
    messages = feed(connection, sent, range(piece, len(sent), piece))
    assert outcome(messages) == [encode_message(PARTS), HELLO, HELLO]
    assert (connection.error, connection.buffered) == (None, 0)


def test_wrap_is_the_way_back() -> None:
    """What `wrap` makes of raw pieces is what the peer's `receive` makes the same messages of."""
    raw = encode_message(PARTS)
    large = Pieces(raw[:3], len(raw) - 3)
    large.add(raw[3:])
    outbox: list[RawMessage] = [raw[:7], memoryview(raw)[7:], bytearray(HELLO), large]
    sent = b"".join(secured().wrap(outbox))
    assert HELLO not in sent
    assert outcome(feed(secured(), sent)) == [raw, HELLO, raw]


def test_wrap_leaves_plain_traffic_alone() -> None:
    """Without a cipher what is in an outbox are the bytes to send, not copies of them, and a message in pieces is just those."""
    large = Pieces(HELLO, 4)
    large.add(b"tail")
    outbox: list[RawMessage] = [HELLO, memoryview(HELLO), large]
    wrapped = peers.in_traffic().wrap(outbox)
    assert wrapped == [HELLO, HELLO, HELLO, b"tail"]
    assert all(one is other for one, other in zip(wrapped, [*outbox[:2], *large.parts], strict=True))


def test_many_secured_messages_come_in_batches() -> None:
    """BATCH and `more` hold for secured traffic too."""
    connection = secured()
    messages = connection.receive(carried(0, b"x") * (BATCH + 1))
    assert (len(messages), connection.more) == (BATCH, True)
    assert connection.receive(b"") == [encode_message([b"x"])]


def test_a_secured_message_of_the_limit_exactly_is_taken() -> None:
    """What counts is the message that was carried, with its own headers."""
    raw = encode_message([b"", b"x" * 40, b"y" * 52])
    assert len(raw) == 98
    assert outcome(feed(secured(limit=98), carried_message(b"", b"x" * 40, b"y" * 52))) == [raw]


def test_half_a_secured_message_is_held() -> None:
    """`buffered` counts the opened frames of an unfinished message and the unopened rest."""
    connection = secured()
    connection.receive(carried(MORE, b"part") + carried(0, b"end")[:3])
    assert connection.buffered == len(encode_frame(b"part", MORE)) + 3
    assert outcome(connection.receive(carried(0, b"end")[3:])) == [encode_message([b"part", b"end"])]
    assert connection.buffered == 0


# Over the limit


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_an_oversize_message_is_discarded_and_reported(piece: int) -> None:
    """Where each frame alone can be opened, the connection goes on as in plain traffic (rule 15)."""
    bodies = [b"hop", b"", b"x" * 60, b"", b"y" * 60, b"z"]
    sent = carried_message(b"", b"hello") + carried_message(*bodies) + carried_message(b"", b"hello")
    connection = secured(limit=100)
    messages = feed(connection, sent, range(piece, len(sent), piece))
    assert outcome(messages) == [
        HELLO,
        (encode_message([b"hop", b"", b"x"])[:7], len(encode_message(bodies))),
        HELLO,
    ]
    assert (connection.error, connection.buffered) == (None, 0)


def test_nothing_of_an_oversize_message_is_held() -> None:
    """From the frame that passes the limit on."""
    connection = secured(limit=100)
    connection.receive(carried(MORE, b"") + carried(MORE, b"x" * 90))
    assert connection.buffered == 94
    connection.receive(carried(MORE, b"y" * 90) + carried(MORE, b"z" * 90))
    assert connection.buffered == 0


def test_a_ping_within_an_oversize_message_is_answered() -> None:
    """Heartbeats go on."""
    connection = secured(limit=100)
    sent = carried(MORE, b"") + carried(MORE, b"x" * 99) + carried_command(b"PING", b"\0\0") + carried(0, b"")
    assert outcome(feed(connection, sent)) == [(b"\x01\x00", 2 + 101 + 2)]
    assert take_outbox(connection) == carried_command(b"PONG")


def test_a_frame_that_cannot_be_opened_ends_the_connection_with_its_oversize() -> None:
    """Nobody knows whether its message goes on; but that it is too large can still be answered."""
    connection = secured(limit=100)
    sent = carried(MORE, b"") + LONG_HEADER
    assert outcome(feed(connection, sent + bytes(200))) == [(b"\x01\x00", 2 + 101)]
    assert connection.error == "message of at least 103 bytes (limit 100) in secured traffic"


def test_such_a_frame_is_judged_by_its_header() -> None:
    """None of its body is awaited."""
    connection = secured(limit=100)
    assert connection.receive(LONG_HEADER[:8]) == []
    assert connection.error is None
    assert connection.receive(LONG_HEADER[8:]) == []
    assert connection.error is not None


def test_the_largest_frame_that_may_carry_a_message_of_the_limit_is_awaited() -> None:
    """One byte less than that."""
    connection = secured(limit=100)
    connection.receive(b"\2" + (100 + Xor.overhead - 9).to_bytes(8, "big"))
    assert connection.error is None


def test_endless_frames_end_the_connection() -> None:
    """A message that goes on for ever is cut off at the same bound as a plain one."""
    connection = secured(limit=100)
    sent = carried(MORE, b"") + carried(MORE, b"x" * 48) * (ANNOUNCED_FACTOR * 2)
    assert feed(connection, sent, range(1, len(sent))) == []
    assert connection.error == f"message of {2 + 50 * 32} bytes announced (limit 100)"


def test_a_large_message_is_handed_over_whole() -> None:
    """And the next one starts anew."""
    connection = secured()
    sent = carried_message(b"", b"x" * LARGE) + carried_message(b"", b"hello")
    assert outcome(feed(connection, sent)) == [encode_message([b"", b"x" * LARGE]), HELLO]


# Commands


def test_a_carried_ping_is_answered_by_a_carried_pong() -> None:
    """Commands are secured both ways, and may come between a message's frames."""
    connection = secured()
    sent = carried(MORE, b"") + carried_command(b"PING", b"\0\0ctx") + carried(0, b"hello")
    assert outcome(feed(connection, sent)) == [HELLO]
    assert take_outbox(connection) == carried_command(b"PONG", b"ctx")


def test_our_own_ping_is_carried() -> None:
    """`ping` goes through the cipher."""
    connection = secured()
    connection.ping(30)
    assert take_outbox(connection) == carried_command(b"PING", b"\x01\x2c")


# The end


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (encode_frame(b"forged"), "forged frame"),
        (encode_frame(b""), "forged frame"),
        (carried_command(b"ERROR", b"\4gone"), "peer gave up: gone"),
        (carried_command(b"PING"), "malformed PING"),
        (carried(COMMAND, b""), "command without a name"),
        (peers.ping(), "unsecured frame (flags 0x04) in secured traffic"),
        (b"\x80\x00", "unsecured frame (flags 0x80) in secured traffic"),
        (HELLO, "unsecured frame (flags 0x01) in secured traffic"),
        (
            carried_message(b"x" * 60, b"y" * 60),
            "message of at least 124 bytes (limit 100) without an envelope",
        ),
        (carried(0, b"x" * 99), "message of at least 101 bytes (limit 100) without an envelope"),
        (LONG_HEADER, "message of at least 101 bytes (limit 100) in secured traffic"),
        (
            carried(MORE, b"") + b"\2" + b"\xff" * 8,
            f"message of at least {2**64 + 1} bytes (limit 100) in secured traffic",
        ),
    ],
)
@pytest.mark.parametrize("piece", [1, 10_000])
def test_what_is_wrong_ends_the_connection_behind_what_came_before(
    bad: bytes, error: str, piece: int
) -> None:
    """Forged, unsecured, malformed or oversize: earlier messages come out, later ones do not, nothing is held."""
    sent = carried_message(b"", b"hello") + carried(MORE, b"") + carried(0, b"two") + bad
    sent += carried_message(b"", b"never")
    connection = secured(limit=100)
    messages = feed(connection, sent, range(piece, len(sent), piece))
    assert outcome(messages) == [HELLO, encode_message([b"", b"two"])]
    assert connection.error == error
    assert (connection.phase, connection.buffered, connection.more) == (Phase.FAILED, 0, False)
    assert connection.receive(carried_message(b"", b"never")) == []


def test_half_a_message_before_an_error_is_dropped() -> None:
    """What was opened of an unfinished message is not held on to."""
    connection = secured()
    assert connection.receive(carried(MORE, b"") + carried(MORE, b"part") + b"\x80\x00") == []
    assert connection.buffered == 0
