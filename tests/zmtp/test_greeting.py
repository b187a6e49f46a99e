"""How a connection opens: greetings, mechanisms, socket types (RFC 23, RFC 15), through `Connection`."""

from __future__ import annotations

import pytest

from tests.zmtp import peers
from zqd.zmtp.frames import encode_message
from zqd.zmtp.opening import Phase

ELEVEN = peers.SIGNATURE + b"\x03"
OUR_TAIL = b"\x01NULL" + bytes(16 + 1 + 31)
OUR_READY = peers.command_frame(b"READY", peers.metadata({b"Socket-Type": b"ROUTER"}))
HELLO = encode_message([b"", b"hello"])

# What is sent when


def test_signature_and_major_version_are_sent_at_once() -> None:
    """Eleven bytes go out before the peer has said anything (RFC 23 "Backwards interoperability")."""
    assert peers.take_outbox(peers.fresh()) == ELEVEN


def test_the_rest_of_the_greeting_waits_for_the_peers_major_version() -> None:
    """Ten bytes of signature do not tell the version, the eleventh does."""
    connection = peers.fresh()
    peers.take_outbox(connection)
    connection.receive(peers.greeting()[:10])
    assert peers.take_outbox(connection) == b""
    connection.receive(peers.greeting()[10:11])
    assert peers.take_outbox(connection) == OUR_TAIL
    connection.receive(peers.greeting()[11:])
    assert peers.take_outbox(connection) == b""


def test_ready_answers_ready() -> None:
    """Our READY goes out when the peer's has been accepted, not before."""
    connection = peers.fresh()
    connection.receive(peers.greeting())
    assert (peers.take_outbox(connection), connection.phase) == (ELEVEN + OUR_TAIL, Phase.HANDSHAKE)
    connection.receive(peers.ready())
    assert (peers.take_outbox(connection), connection.phase) == (OUR_READY, Phase.TRAFFIC)


@pytest.mark.parametrize("cut", range(1, 64 + len(peers.ready()) + len(HELLO)))
def test_a_peer_of_3_is_answered_the_same_however_its_bytes_are_cut(cut: int) -> None:
    """Greeting, READY and the first message may be cut anywhere."""
    connection = peers.fresh()
    messages = peers.feed(connection, peers.greeting() + peers.ready(identity=b"me") + HELLO, [cut])
    assert peers.outcome(messages) == [HELLO]
    assert peers.take_outbox(connection) == ELEVEN + OUR_TAIL + OUR_READY
    assert connection.identity == b"me"


@pytest.mark.parametrize("revision", [1, 2])
@pytest.mark.parametrize("cut", range(1, 12 + 4 + len(HELLO)))
def test_a_peer_of_2_never_receives_what_belongs_to_3(cut: int, revision: int) -> None:
    """A 2.0 peer gets our socket type and an empty identity after the major version, and no tail, no READY."""
    connection = peers.fresh()
    messages = peers.feed(connection, peers.v2_greeting(3, identity=b"me", revision=revision) + HELLO, [cut])
    assert peers.outcome(messages) == [HELLO]
    assert peers.take_outbox(connection) == ELEVEN + b"\x06" + b"\0\0"
    assert connection.version == (2, 0)
    assert connection.peer_type == b"REQ"
    assert connection.identity == b"me"


def test_a_back_end_tells_a_peer_of_2_that_it_is_a_dealer() -> None:
    """Our socket type in a 2.0 greeting is RFC 15's number."""
    connection = peers.fresh(b"DEALER")
    connection.receive(peers.v2_greeting(4))
    assert peers.take_outbox(connection) == ELEVEN + b"\x05" + b"\0\0"
    assert connection.peer_type == b"REP"


# Versions told apart


@pytest.mark.parametrize(
    ("major", "minor", "version"), [(3, 0, (3, 0)), (3, 1, (3, 1)), (3, 7, (3, 1)), (4, 0, (3, 1))]
)
def test_the_peers_version_is_known(major: int, minor: int, version: tuple[int, int]) -> None:
    """A 3.x peer's minor version counts as it is; a later major must speak what we announced."""
    connection = peers.fresh()
    connection.receive(peers.greeting(major=major, minor=minor) + peers.ready())
    assert connection.version == version
    assert connection.phase is Phase.TRAFFIC


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x00",
        b"\x05\x00name",
        b"\xff" + (256).to_bytes(8, "big") + b"\x00" + b"i" * 255,
        peers.SIGNATURE_OF_V2 + b"\x00",
    ],
    ids=["anonymous", "named", "long name", "revision 0"],
)
def test_a_peer_of_1_is_refused_by_name(data: bytes) -> None:
    """ZMTP 1.0 has no signature, or revision 0 behind it; it gets nothing but our eleven bytes."""
    for cuts in (range(0), range(1, len(data))):
        connection = peers.fresh()
        assert peers.feed(connection, data, cuts) == []
        assert connection.error == "ZMTP 1.0 is not supported"
        assert peers.take_outbox(connection) == ELEVEN
        assert connection.buffered == 0


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x02\x00", b"\0\1" * 40]
)
def test_garbage_is_told_by_its_first_two_bytes(data: bytes) -> None:
    """What is no ZMTP peer at all is refused without waiting for a whole greeting."""
    connection = peers.fresh()
    errors = []
    for piece in (data[:1], data[1:2], data[2:]):
        assert connection.receive(piece) == []
        errors.append(connection.error)
    assert errors == [None, "not a ZMTP peer", "not a ZMTP peer"]


def test_half_a_greeting_then_silence_is_only_held() -> None:
    """An unfinished greeting is no error: its owner's handshake time-out ends it."""
    connection = peers.fresh()
    connection.receive(peers.greeting()[:40])
    assert connection.error is None
    assert connection.buffered == 40


# Refusals in a 3.x handshake


def refusal(data: bytes, socket_type: bytes = b"ROUTER") -> tuple[str | None, bytes]:
    """The error of a connection that received this behind a greeting, and what it sent then."""
    connection = peers.fresh(socket_type)
    connection.receive(peers.greeting())
    peers.take_outbox(connection)
    assert connection.receive(data) == []
    assert connection.phase is Phase.FAILED
    assert connection.buffered == 0
    return connection.error, peers.take_outbox(connection)


def error_frame(reason: str) -> bytes:
    """An ERROR command as it is on the wire."""
    return peers.command_frame(b"ERROR", bytes((len(reason),)) + reason.encode())


@pytest.mark.parametrize(
    ("ours", "theirs", "use"),
    [
        (b"ROUTER", b"REP", "DEALER, REQ, ROUTER"),
        (b"ROUTER", b"SUB", "DEALER, REQ, ROUTER"),
        (b"DEALER", b"REQ", "DEALER, REP, ROUTER"),
    ],
)
def test_a_wrong_socket_type_gets_an_error_command_and_no_ready(ours: bytes, theirs: bytes, use: str) -> None:
    """The peer is told why in an ERROR command, so that libzmq gives up instead of trying for ever."""
    reason = f"socket type {theirs.decode()} cannot talk to {ours.decode()}: use {use}"
    assert refusal(peers.ready(theirs), ours) == (reason, error_frame(reason))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (peers.command_frame(b"READY", b"\x0bSocket"), "malformed metadata"),
        (peers.command_frame(b"READY"), "socket type missing"),
        (peers.command_frame(b"HELLO", bytes(194)), "expected READY, got HELLO"),
        (b"\x04\x00", "command without a name"),
        (HELLO, "message before the handshake was over"),
        (b"\x05" + peers.ready()[1:], "message before the handshake was over"),
        (b"\x06" + (1 << 63).to_bytes(8, "big"), f"handshake frame of {9 + (1 << 63)} bytes"),
        (b"\x06" + (8184).to_bytes(8, "big"), "handshake frame of 8193 bytes"),
    ],
    ids=["metadata", "no type", "hello", "no name", "message", "more", "2^63", "too large"],
)
def test_a_bad_handshake_gets_an_error_command_with_the_reason(data: bytes, reason: str) -> None:
    """What is wrong with the handshake is told the peer and the owner alike."""
    error, sent = refusal(data)
    assert error is not None
    assert error.startswith(reason)
    assert sent == error_frame(error)


def test_a_peer_that_refuses_us_is_quoted() -> None:
    """The reason of a peer's ERROR command is the connection's error."""
    assert refusal(peers.command_frame(b"ERROR", b"\4busy"))[0] == "peer refused us: busy"


def test_a_peer_of_another_mechanism_is_refused_after_its_greeting() -> None:
    """The mechanisms must be the same, and the error names both; our greeting is all that the peer gets."""
    connection = peers.fresh()
    connection.receive(peers.greeting(mechanism=b"CURVE"))
    assert connection.error == "peer uses CURVE, this endpoint NULL"
    assert peers.take_outbox(connection) == ELEVEN + OUR_TAIL


def test_a_ready_in_the_long_form_is_taken() -> None:
    """Handshake commands may be long frames (RFC 23 "Framing")."""
    properties = {b"Socket-Type": b"DEALER", b"Identity": b"i" * 255, b"X-Note": b"n" * 300}
    connection = peers.fresh()
    connection.receive(peers.greeting() + peers.command_frame(b"READY", peers.metadata(properties)))
    assert (connection.peer_type, connection.identity) == (b"DEALER", b"i" * 255)


# Refusals in a 2.0 handshake


def test_a_peer_of_2_of_a_wrong_type_is_refused_without_a_command() -> None:
    """ZMTP 2.0 has no commands: the peer is just closed, and its owner knows why."""
    connection = peers.fresh()
    connection.receive(peers.v2_greeting(4))
    assert connection.error == "socket type REP cannot talk to ROUTER: use DEALER, REQ, ROUTER"
    assert peers.take_outbox(connection) == ELEVEN + b"\x06\0\0"


def test_an_unknown_socket_type_of_2_is_refused() -> None:
    """RFC 15 numbers nine socket types."""
    connection = peers.fresh()
    connection.receive(peers.v2_greeting(9))
    assert connection.error == "unknown ZMTP 2.0 socket type 9"


def test_a_peer_of_2_cannot_talk_to_a_secured_endpoint() -> None:
    """ZMTP 2.0 knows no mechanisms, so it must not get round one."""
    connection = peers.fresh(mechanism=peers.XorMechanism(b"ROUTER"))
    peers.take_outbox(connection)
    connection.receive(peers.v2_greeting(3) + HELLO)
    assert connection.error == "ZMTP 2.0 has no XOR"
    assert peers.take_outbox(connection) == b""


def test_an_identity_of_2_is_bounded() -> None:
    """A 2.0 peer's identity frame is refused by its header."""
    connection = peers.fresh()
    connection.receive(peers.SIGNATURE_OF_V2 + b"\x01\x03" + b"\x02" + (1 << 40).to_bytes(8, "big"))
    assert connection.error == f"handshake frame of {9 + (1 << 40)} bytes"
    assert peers.take_outbox(connection) == ELEVEN + b"\x06\0\0"
