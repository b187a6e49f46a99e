"""A connection in traffic: messages and their boundaries, commands, what is held, what ends it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zmtp import peers
from tests.zmtp.peers import feed, in_traffic, outcome, ping, pong, take_outbox
from zqd.zmtp.connection import BATCH, MAX_COMMANDS_WITHIN
from zqd.zmtp.frames import COMMAND, LARGE, MORE, encode_frame, encode_message
from zqd.zmtp.handshake import MAX_HANDSHAKE_COMMAND
from zqd.zmtp.opening import Phase

HELLO = encode_message([b"", b"hello"])
WORLD = encode_message([b"", b"world"])
PIECES = [b"", b"part", b"x" * 300]  # a multipart message's frames

# Messages


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1 << 16, (1 << 20) - 100])
@pytest.mark.parametrize("cut", [None, 1, 3, 12, -1])
def test_a_message_of_any_size_comes_out_raw(size: int, cut: int | None) -> None:
    """A message is the bytes that the peer sent, whatever its size and wherever it was cut."""
    raw = encode_message([b"", bytes(range(256)) * (size // 256) + b"x" * (size % 256)])
    connection = in_traffic()
    messages = feed(connection, raw, [] if cut is None else [cut % len(raw)])
    assert outcome(messages) == [raw]
    assert connection.buffered == 0
    assert take_outbox(connection) == b""


def test_a_message_of_the_limit_exactly_is_taken() -> None:
    """The limit counts a message's bytes with its headers, and a message may have that many."""
    raw = encode_message([b"", b"x" * 93])
    assert len(raw) == 97
    assert outcome(feed(in_traffic(limit=97), raw)) == [raw]


def test_a_message_ends_with_the_first_frame_without_more() -> None:
    """Frames belong together up to the one without MORE, and several messages may come at once."""
    raw = encode_message(PIECES)
    assert outcome(feed(in_traffic(), raw + HELLO + raw + encode_message([b""]))) == [
        raw,
        HELLO,
        raw,
        b"\x00\x00",
    ]


def test_a_message_of_short_bodies_in_long_frames_stays_as_it_was_sent() -> None:
    """Frames are not re-encoded, not even where their sender chose the long form."""
    raw = b"\x03" + bytes(8) + b"\x02" + (5).to_bytes(8, "big") + b"hello"
    for cut in range(1, len(raw)):
        assert outcome(feed(in_traffic(), raw + HELLO, [cut])) == [raw, HELLO]


def test_a_message_is_given_out_as_soon_as_it_is_whole() -> None:
    """No message waits for bytes of the next one."""
    connection = in_traffic()
    assert connection.receive(HELLO[:-1]) == []
    assert connection.receive(HELLO[-1:] + WORLD[:2]) == [HELLO]
    assert connection.receive(WORLD[2:]) == [WORLD]


def test_messages_behind_the_handshake_in_the_same_read_come_out() -> None:
    """A client may send its request together with its READY."""
    connection = peers.fresh()
    assert feed(connection, peers.greeting() + peers.ready() + HELLO + WORLD) == [HELLO, WORLD]


@pytest.mark.parametrize("behind", [b"", HELLO, HELLO[:3]])
def test_a_large_message_is_the_callers_to_keep(behind: bytes) -> None:
    """What comes next does not change a message that was given out, however it was assembled."""
    raw = encode_message([b"", b"x" * LARGE])
    connection = in_traffic()
    messages = feed(connection, raw + behind, [1000, 2000])
    feed(connection, HELLO[len(behind) % len(HELLO) :] + WORLD)
    assert outcome(messages)[0] == raw


def test_half_a_message_is_held_and_no_more() -> None:
    """`buffered` counts what has come of the unfinished message, and nothing once that is whole."""
    connection = in_traffic()
    raw = encode_message(PIECES)
    for cut in range(1, len(raw)):
        assert connection.receive(raw[cut - 1 : cut]) == []
        assert connection.buffered == cut
    assert connection.receive(raw[-1:] + HELLO + raw[:100]) == [raw, HELLO]
    assert connection.buffered == 100


def test_receiving_nothing_changes_nothing() -> None:
    """An empty read, as `more` asks for, is always allowed."""
    connection = in_traffic()
    assert connection.receive(b"") == []
    connection.receive(HELLO[:4])
    assert connection.receive(b"") == []
    assert connection.receive(HELLO[4:]) == [HELLO]


# Many at once


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (BATCH, 1), (BATCH + 1, 2), (3 * BATCH, 3)])
def test_a_call_returns_a_batch_and_says_when_there_is_more(count: int, calls: int) -> None:
    """At most BATCH messages come out of one call, and `more` is set while whole ones may be left."""
    connection = in_traffic()
    messages = connection.receive(HELLO * count)
    made = 1
    while connection.more:
        assert len(messages) == BATCH * made
        messages += connection.receive(b"")
        made += 1
    assert (len(messages), made) == (count, calls)
    assert connection.buffered == 0


def test_what_is_left_of_a_batch_is_held_until_it_is_asked_for() -> None:
    """The rest behind a batch stays in the buffer, and an unfinished message at its end survives."""
    connection = in_traffic()
    assert len(connection.receive(HELLO * (BATCH + 1) + WORLD[:4])) == BATCH
    assert connection.buffered == len(HELLO) + 4
    assert connection.receive(b"") == [HELLO]
    assert not connection.more
    assert connection.receive(WORLD[4:]) == [WORLD]


def test_reading_on_in_spite_of_more_loses_nothing() -> None:
    """New bytes go behind what is left of the batch."""
    connection = in_traffic()
    messages = connection.receive(HELLO * (BATCH + 1))
    messages += connection.receive(WORLD)
    assert outcome(messages) == [HELLO] * (BATCH + 1) + [WORLD]


def test_oversize_messages_count_in_a_batch() -> None:
    """A batch ends at its size also where its last message was an oversize one."""
    connection = in_traffic(limit=10)
    sent = HELLO * (BATCH - 1) + encode_message([b"", b"too large"]) + HELLO * (BATCH + 5)
    assert [len(connection.receive(part)) for part in (sent, b"", b"")] == [BATCH, BATCH, 5]


# Commands


@pytest.mark.parametrize("context", [b"", b"c", b"\0" * 16])
def test_a_ping_is_answered_with_its_context(context: bytes) -> None:
    """PONG carries the PING's context (RFC 37), and no message comes of either."""
    connection = in_traffic()
    assert connection.receive(ping(context, ttl=300)) == []
    assert take_outbox(connection) == pong(context)
    assert connection.buffered == 0


def test_pings_among_messages_are_answered_in_order() -> None:
    """Commands may come before, between and behind messages."""
    connection = in_traffic()
    sent = ping(b"1") + HELLO + ping(b"2") + ping(b"3") + WORLD + ping(b"4")
    for cut in range(len(sent)):
        assert feed(connection, sent, [cut]) == [HELLO, WORLD]
        assert take_outbox(connection) == pong(b"1") + pong(b"2") + pong(b"3") + pong(b"4")


def test_pings_within_a_message_are_cut_out() -> None:
    """A PING between two frames of a message, as libzmq sends it, is answered and not part of the message."""
    frames = [encode_frame(body, MORE) for body in PIECES] + [encode_frame(b"last")]
    sent = (
        frames[0]
        + ping(b"1")
        + frames[1]
        + ping(b"2")
        + ping(b"3")
        + frames[2]
        + ping(b"4")
        + frames[3]
        + HELLO
    )
    connection = in_traffic()
    for cut in range(len(sent)):
        assert outcome(feed(connection, sent, [cut])) == [b"".join(frames), HELLO]
        assert take_outbox(connection) == b"".join(pong(b"%d" % number) for number in range(1, 5))


def test_a_ping_in_the_long_form_is_answered() -> None:
    """A command may be a long frame whatever its size."""
    connection = in_traffic()
    sent = b"\x06" + (7).to_bytes(8, "big") + b"\4PING\0\0"
    for cut in range(len(sent)):
        assert feed(connection, sent + HELLO, [cut]) == [HELLO]
        assert take_outbox(connection) == pong()


@pytest.mark.parametrize(
    "command",
    [
        pong(),
        pong(b"context"),
        peers.ready(),
        peers.command_frame(b"SUBSCRIBE", b"topic"),
        b"\x04\x01\x00",
        peers.command_frame(b"FUTURE", bytes(MAX_HANDSHAKE_COMMAND - 9 - 7)),
    ],
    ids=["PONG", "PONG with context", "READY", "SUBSCRIBE", "empty name", "the largest"],
)
def test_commands_that_do_not_concern_us_are_passed_over(command: bytes) -> None:
    """Unknown commands in traffic mean nothing and disturb nothing."""
    connection = in_traffic()
    sent = HELLO[:2] + command + HELLO[2:] + command
    assert feed(connection, sent, range(1, len(sent))) == [HELLO]
    assert (connection.error, take_outbox(connection)) == (None, b"")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (peers.command_frame(b"PING"), "malformed PING"),
        (peers.command_frame(b"PING", b"\0"), "malformed PING"),
        (ping(b"c" * 17), "malformed PING"),
        (b"\x04\x00", "command without a name"),
        (b"\x04\x02\x09P", "command without a name"),
        (peers.command_frame(b"ERROR", b"\4gone"), "peer gave up: gone"),
        (peers.command_frame(b"ERROR"), "peer gave up: no reason given"),
        (b"\x06" + (MAX_HANDSHAKE_COMMAND - 8).to_bytes(8, "big"), "command of 8193 bytes"),
        (b"\x06" + (1 << 63).to_bytes(8, "big"), f"command of {9 + (1 << 63)} bytes"),
    ],
    ids=[
        "no TTL",
        "half a TTL",
        "context",
        "no name",
        "half a name",
        "ERROR",
        "bare ERROR",
        "too large",
        "2^63",
    ],
)
def test_a_bad_command_ends_the_connection_behind_what_came_before(command: bytes, error: str) -> None:
    """A malformed command or the peer's ERROR fails the connection; earlier messages still come out."""
    sent = HELLO + WORLD + command + HELLO
    for cuts in ([], [len(HELLO + WORLD)], range(1, len(sent))):
        connection = in_traffic()
        assert feed(connection, sent, cuts) == [HELLO, WORLD]
        assert connection.error == error
        assert take_outbox(connection) == b""


@pytest.mark.parametrize("flags", [0x05, 0x07, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF])
def test_reserved_flags_end_the_connection_at_the_header(flags: int) -> None:
    """Bits 3-7 must be zero and commands have no MORE (RFC 23): such a frame's body is not waited for."""
    header = bytes((flags,)) + (b"\0" * 7 + b"\x40" if flags & 2 else b"\x40")
    for before in (b"", HELLO[:2]):
        connection = in_traffic()
        assert connection.receive(HELLO + before + header) == [HELLO]
        assert connection.error == f"frame with reserved flags 0x{flags:02x}"
        assert connection.buffered == 0


def test_a_peer_of_2_has_no_commands() -> None:
    """In ZMTP 2.0 the COMMAND flag is a reserved one (RFC 15)."""
    connection = peers.v2_in_traffic()
    assert connection.receive(HELLO + ping()) == [HELLO]
    assert connection.error == "frame with reserved flags 0x04"
    assert take_outbox(connection) == b""


def test_commands_within_one_message_are_bounded_in_a_read() -> None:
    """Each costs a move of what is behind it, so that a read full of them would be dear."""
    most = HELLO[:2] + ping() * MAX_COMMANDS_WITHIN + HELLO[2:]
    connection = in_traffic()
    assert connection.receive(most) == [HELLO]
    assert connection.receive(HELLO[:2] + ping() * (MAX_COMMANDS_WITHIN + 1) + HELLO[2:]) == []
    assert connection.error == "too many commands within one message"


def test_commands_before_messages_are_not_bounded() -> None:
    """A peer may send heartbeats for ever."""
    connection = in_traffic()
    assert feed(connection, (ping() + HELLO) * 1000) == [HELLO] * 1000
    assert take_outbox(connection) == pong() * 1000


# Heartbeats of our own


@pytest.mark.parametrize(("ttl", "tenths"), [(0, 0), (0.1, 1), (30, 300), (1e9, 0xFFFF)])
def test_our_ping_tells_its_ttl_in_tenths_of_a_second(ttl: float, tenths: int) -> None:
    """The TTL is two bytes, at most 6553.5 s (RFC 37)."""
    connection = in_traffic()
    connection.ping(ttl)
    assert take_outbox(connection) == b"\x04\x07\x04PING" + tenths.to_bytes(2, "big")


def test_only_a_peer_of_3_1_in_traffic_answers_pings() -> None:
    """PING came with ZMTP 3.1 (rule 27), and has no place in a handshake or behind an error."""
    connection = peers.fresh()
    answers = []
    for sent in (b"", peers.greeting(), peers.ready(), b"\x80\x00"):
        connection.receive(sent)
        answers.append(connection.answers_pings)
    assert answers == [False, False, True, False]
    assert not in_traffic(minor=0).answers_pings
    assert not peers.v2_in_traffic().answers_pings


# The end


def test_behind_an_error_nothing_comes_out_and_nothing_is_held() -> None:
    """A failed connection swallows all that it is still given."""
    connection = in_traffic()
    connection.receive(HELLO + ping() + b"\x80\x00" + ping())
    assert connection.phase is Phase.FAILED
    assert take_outbox(connection) == pong()
    assert connection.receive(HELLO + ping()) == []
    assert (connection.buffered, connection.more, take_outbox(connection)) == (0, False, b"")
    assert connection.error == "frame with reserved flags 0x80"


def test_an_error_behind_a_batch_comes_when_its_turn_does() -> None:
    """All whole messages before the error come out, in as many calls as they need."""
    connection = in_traffic()
    sent = HELLO * (BATCH + 1) + b"\x80\x00"
    assert len(connection.receive(sent)) == BATCH
    assert (connection.error, connection.more) == (None, True)
    assert connection.receive(b"") == [HELLO]
    assert connection.phase is Phase.FAILED


# Any cut


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.data())
def test_a_whole_session_gives_the_same_however_it_is_cut(data: st.DataObject) -> None:
    """Where reads begin and end means nothing: same messages, same answers, same state."""
    limit = 1000
    session = b"".join(
        [
            peers.greeting(),
            peers.ready(b"DEALER", b"me"),
            ping(b"first") + HELLO,
            encode_message(PIECES),
            encode_frame(b"", MORE) + ping(b"within") + encode_frame(b"x" * 256),
            encode_message([b"hop", b"", b"y" * 1500]),  # over the limit
            encode_message([b""]) + pong() + encode_message([b"", bytes(limit - 11)]),
            encode_message([b"hop", b"", b"a", b"z" * 999, b"b"]) + encode_frame(b"\5OTHER", COMMAND) + WORLD,
            HELLO[:-2],
        ]
    )
    cuts = data.draw(st.lists(st.integers(0, len(session)), max_size=30), label="cuts")
    whole, cut = peers.fresh(limit=limit), peers.fresh(limit=limit)
    expected = feed(whole, session)
    messages = feed(cut, session, cuts)
    assert outcome(messages) == outcome(expected)
    assert len(messages) == 8
    assert take_outbox(cut) == take_outbox(whole)
    assert (cut.error, cut.phase, cut.buffered) == (None, Phase.TRAFFIC, len(HELLO) - 2)
