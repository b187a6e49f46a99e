from __future__ import annotations

import pytest

from tests.zmtp import peers
from zqd.zmtp import handshake
from zqd.zmtp.handshake import HandshakeError, Null

# Commands


def test_a_command_is_a_short_name_and_its_data() -> None:
    """Name and data of a command are told apart by the name's length."""
    assert handshake.command(b"PING", b"\0\7ctx") == b"\4PING\0\7ctx"
    assert handshake.split_command(b"\4PING\0\7ctx") == (b"PING", b"\0\7ctx")
    assert handshake.split_command(b"\5READY") == (b"READY", b"")


@pytest.mark.parametrize("body", [b"", b"\1", b"\5REA"])
def test_a_command_without_its_whole_name_is_refused(body: bytes) -> None:
    """A name that ends past the command is malformed."""
    with pytest.raises(HandshakeError, match="without a name"):
        handshake.split_command(body)


def test_an_error_command_holds_at_most_255_ascii_bytes() -> None:
    """The reason is cut to what its one length byte can tell, and what is not ASCII is replaced."""
    assert handshake.error_command("no") == b"\5ERROR\2no"
    assert handshake.error_command("ä–") == b"\5ERROR\2??"
    assert handshake.error_command("x" * 300) == b"\5ERROR\xff" + b"x" * 255


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\2no", "no"),
        (b"", "no reason given"),
        (b"\x09cut", "cut"),
        (b"\2no and more", "no"),
        (b"\1\n", "\\x0a"),
    ],
)
def test_the_reason_of_an_error_command_is_read_leniently(data: bytes, reason: str) -> None:
    """A reason is read as far as it is there, and made printable."""
    assert handshake.error_reason(data) == reason


def test_peer_sent_bytes_are_made_printable_and_cut() -> None:
    """What a peer sends reaches a log escaped and bounded."""
    assert handshake.printable(b"PUB") == "PUB"
    assert handshake.printable(b"a\nb\x1b\xff") == "a\\x0ab\\x1b\\xff"
    assert len(handshake.printable(b"\xff" * 1000)) == 64


# Metadata


def test_metadata_are_read_whatever_the_case_of_their_names() -> None:
    """Property names are case-insensitive (RFC 23) and come out in lower case, values as they are."""
    data = peers.metadata({b"SOCKET-type": b"REQ", b"Identity": b"", b"X-Long": b"v" * 300})
    assert handshake.parse_metadata(data) == {b"socket-type": b"REQ", b"identity": b"", b"x-long": b"v" * 300}


def test_no_metadata_are_no_properties() -> None:
    """A command without data has no properties."""
    assert handshake.parse_metadata(b"") == {}


@pytest.mark.parametrize(
    "data",
    [
        b"\x0b",
        b"\x0bSocket",
        b"\x01X\0\0\0",
        b"\x01X\0\0\0\x05four",
        b"\x01X\xff\xff\xff\xff",
        b"\0\0\0\0\0",
        b"\x01X\0\0\0\1v\x01",
    ],
    ids=["no name", "half a name", "half a size", "half a value", "4 GiB", "empty name", "a byte too many"],
)
def test_malformed_metadata_are_refused(data: bytes) -> None:
    """Lengths that do not add up are an error, never a read past the end."""
    with pytest.raises(HandshakeError, match="malformed metadata"):
        handshake.parse_metadata(data)


# Socket types


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ours, theirs)
        for ours, kind in ((b"ROUTER", b"REQ"), (b"DEALER", b"REP"))
        for theirs in (kind, b"DEALER", b"ROUTER")
    ],
)
def test_fitting_socket_types_are_accepted(ours: bytes, theirs: bytes) -> None:
    """The front end is a ROUTER and the back end a DEALER, and takes what may talk to one (RFC 28)."""
    handshake.check_socket_type(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(b"ROUTER", b"REP"), (b"DEALER", b"REQ"), (b"ROUTER", b"PUB"), (b"DEALER", b"req")]
)
def test_other_socket_types_are_refused_with_the_fitting_ones_named(ours: bytes, theirs: bytes) -> None:
    """The refusal tells whoever reads it what to use instead."""
    with pytest.raises(
        HandshakeError, match=f"{theirs.decode()} cannot talk to {ours.decode()}: use DEALER, RE"
    ):
        handshake.check_socket_type(ours, theirs)


def test_a_missing_socket_type_is_refused() -> None:
    """A peer that names no type is told so."""
    with pytest.raises(HandshakeError, match="socket type missing"):
        handshake.check_socket_type(b"ROUTER", b"")


# NULL


def test_null_answers_ready_with_ready() -> None:
    """READY is answered by READY with our socket type, and the peer's metadata are known."""
    null = Null(b"ROUTER")
    answer = null.receive(handshake.command(b"READY", peers.metadata({b"Socket-Type": b"REQ"})))
    assert answer == b"\5READY\x0bSocket-Type\0\0\0\6ROUTER"
    assert null.complete
    assert null.metadata == {b"socket-type": b"REQ"}
    assert null.cipher is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (b"\5ERROR\5Not I", "peer refused us: Not I"),
        (b"\5HELLO", "expected READY, got HELLO"),
        (b"\5READY\x0bSocket-Type", "malformed metadata"),
        (b"\5READY", "socket type missing"),
        (b"", "without a name"),
    ],
)
def test_null_takes_nothing_but_a_good_ready(command: bytes, reason: str) -> None:
    """What is not a READY of a fitting peer is refused, and the handshake is not over."""
    null = Null(b"ROUTER")
    with pytest.raises(HandshakeError, match=reason):
        null.receive(command)
    assert not null.complete
