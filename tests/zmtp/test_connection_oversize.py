"""Messages over the limit: told by a header, discarded as they come, reported with their envelope (rule 15)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.zmtp import peers
from tests.zmtp.peers import feed, in_traffic, outcome, ping, pong, take_outbox
from zqd.zmtp.connection import ANNOUNCED_FACTOR, BATCH
from zqd.zmtp.frames import MORE, encode_frame, encode_message

LIMIT = 100
HELLO = encode_message([b"", b"hello"])
HOP = encode_frame(b"hop", MORE) + encode_frame(b"", MORE)


def long_header(size: int, flags: int = 0) -> bytes:
    """The header of a long frame whose body is not sent."""
    return bytes((flags | 2,)) + size.to_bytes(8, "big")


# Discarded, and the connection goes on


@pytest.mark.parametrize(
    ("bodies", "envelope"),
    [
        ([b"", b"x" * 97], b"\x01\x00"),
        ([b"", b"x" * 1000], b"\x01\x00"),
        ([b"hop", b"", b"x" * 1000], HOP),
        ([b"hop", b"", b"first", b"x" * 1000], HOP),
        ([b"hop", b"", b"x" * 300, b"", b"x" * 300, b"y"], HOP),
        ([b"", b"x" * 50, b"y" * 50, b"z"], b"\x01\x00"),
        ([b"", *[b""] * 200], b"\x01\x00"),
    ],
    ids=["by one byte", "long", "hop", "second body", "several large", "only together", "empty frames"],
)
@pytest.mark.parametrize("piece", [1, 2, 7, 64, 10_000])
def test_it_is_discarded_and_reported_with_its_envelope(
    bodies: list[bytes], envelope: bytes, piece: int
) -> None:
    """Whatever its frames and cuts, an oversize message stands in its place among the others."""
    raw = encode_message(bodies)
    sent = HELLO + raw + HELLO + raw
    connection = in_traffic(LIMIT)
    messages = feed(connection, sent, range(piece, len(sent), piece))
    assert outcome(messages) == [HELLO, (envelope, len(raw)), HELLO, (envelope, len(raw))]
    assert (connection.error, connection.buffered) == (None, 0)


def test_nothing_of_it_is_held() -> None:
    """From the header that passes the limit on, a body of any size leaves the buffer empty."""
    connection = in_traffic(LIMIT)
    assert connection.receive(HOP + long_header(1500)) == []
    assert connection.buffered == 0
    for _ in range(14):
        assert connection.receive(bytes(100)) == []
        assert connection.buffered == 0
    assert outcome(connection.receive(bytes(100))) == [(HOP, len(HOP) + 1509)]


def test_it_is_reported_when_its_last_byte_has_come() -> None:
    """Its place among the messages is known only at its end."""
    connection = in_traffic(LIMIT)
    raw = encode_message([b"", b"x" * 500])
    assert connection.receive(raw[:-1]) == []
    assert outcome(connection.receive(raw[-1:])) == [(b"\x01\x00", len(raw))]


def test_the_limit_is_checked_on_the_header() -> None:
    """What is announced counts, not what has come: a gigabyte is never buffered, however slowly it arrives."""
    connection = in_traffic(1 << 26)
    assert connection.receive(b"\x01\x00" + long_header((1 << 30) - 11)) == []
    for _ in range(100):
        assert connection.receive(bytes(1 << 16)) == []
        assert connection.buffered == 0
    assert connection.error is None


@pytest.mark.parametrize("piece", [1, 5, 10_000])
def test_pings_within_it_are_answered(piece: int) -> None:
    """Heartbeats between the frames of a discarded message keep the connection alive, and are not counted."""
    frames = [encode_frame(b"x" * 200, MORE), encode_frame(b"y", MORE), encode_frame(b"z" * 300)]
    sent = HOP + frames[0] + ping(b"1") + frames[1] + ping(b"2") + ping(b"3") + frames[2] + HELLO
    connection = in_traffic(LIMIT)
    messages = feed(connection, sent, range(piece, len(sent), piece))
    assert outcome(messages) == [(HOP, len(HOP + b"".join(frames))), HELLO]
    assert take_outbox(connection) == pong(b"1") + pong(b"2") + pong(b"3")


def test_many_of_them_come_in_batches() -> None:
    """Oversize messages are bounded per call like all others."""
    connection = in_traffic(limit=4)
    messages = connection.receive(encode_message([b"", b"xyz"]) * (BATCH + 2))
    assert (len(messages), connection.more) == (BATCH, True)
    assert len(connection.receive(b"")) == 2
    assert not connection.more


def test_a_peer_of_2_may_send_one() -> None:
    """Discarding is the same for ZMTP 2.0."""
    connection = peers.v2_in_traffic()
    connection.max_message_size = LIMIT
    raw = encode_message([b"", b"x" * 500])
    assert outcome(feed(connection, raw + HELLO, range(1, len(raw)))) == [(b"\x01\x00", len(raw)), HELLO]


def test_a_new_limit_holds_from_the_next_frame_on() -> None:
    """The owner may change the limit at any time, also while a message is coming in."""
    connection = in_traffic(LIMIT)
    raw = encode_message([b"", b"x" * 200])
    assert connection.receive(raw[:50]) == []
    connection.max_message_size = 1000
    assert outcome(connection.receive(raw[50:] + raw)) == [(b"\x01\x00", len(raw)), raw]
    connection.max_message_size = LIMIT
    assert outcome(connection.receive(raw)) == [(b"\x01\x00", len(raw))]


# Not to be borne


@pytest.mark.parametrize(
    "before",
    [b"", encode_frame(b"hop", MORE), encode_frame(b"x" * 40, MORE) * 2],
    ids=["first frame", "behind a hop", "behind more hops"],
)
@pytest.mark.parametrize("cut", [False, True])
def test_without_a_whole_envelope_the_connection_ends(before: bytes, cut: bool) -> None:
    """There is nobody to answer 413 to; the messages before it still come out."""
    sent = HELLO + before + long_header(101)
    connection = in_traffic(LIMIT)
    messages = feed(connection, sent, range(1, len(sent)) if cut else [])
    assert outcome(messages) == [HELLO]
    size = len(before) + 9 + 101
    assert connection.error == f"message of at least {size} bytes (limit 100) without an envelope"
    assert connection.buffered == 0
    assert connection.receive(bytes(101) + HELLO) == []


def test_the_frame_that_passes_the_limit_may_not_be_the_delimiter() -> None:
    """An envelope that itself passes the limit is an incomplete one."""
    connection = in_traffic(LIMIT)
    connection.receive(encode_frame(b"x" * 97, MORE) + encode_frame(b"", MORE))
    assert connection.error == "message of at least 101 bytes (limit 100) without an envelope"


def announced(*sizes: int) -> Sequence[bytes]:
    """An envelope, then frames that make a message of that many bytes in all, each with its body."""
    frames, total = [b"\x01\x00"], 2
    for size in sizes[:-1]:
        frames.append(long_header(size - 9, MORE) + bytes(size - 9))
        total += size
    size = sizes[-1] - total
    frames.append(long_header(size - 9) + bytes(size - 9))
    return frames


@pytest.mark.parametrize("head", [(), (500, 500)])
def test_sixteen_times_the_limit_is_borne(head: tuple[int, ...]) -> None:
    """A message of exactly 16 times the limit is still discarded."""
    most = ANNOUNCED_FACTOR * LIMIT
    connection = in_traffic(LIMIT)
    messages = feed(connection, b"".join(announced(*head, most)) + HELLO)
    assert outcome(messages) == [(b"\x01\x00", most), HELLO]


@pytest.mark.parametrize("head", [(), (500, 500)])
def test_more_than_that_ends_the_connection_at_the_header(head: tuple[int, ...]) -> None:
    """One byte more is refused as soon as it is announced, in one frame or in several."""
    size = ANNOUNCED_FACTOR * LIMIT + 1
    *frames, last = announced(*head, size)
    connection = in_traffic(LIMIT)
    assert outcome(feed(connection, HELLO + b"".join(frames) + last[:8])) == [HELLO]
    assert connection.answers_pings
    assert connection.receive(last[8:9]) == []
    assert connection.error == f"message of {size} bytes announced (limit 100)"
    assert connection.buffered == 0


def test_endless_frames_end_the_connection() -> None:
    """A message that goes on for ever is cut off at the same bound as an announced one."""
    connection = in_traffic(LIMIT)
    sent = b"\x01\x00" + encode_frame(b"x" * 48, MORE) * (ANNOUNCED_FACTOR * 2)
    assert feed(connection, sent, range(1, len(sent))) == []
    assert connection.error == f"message of {2 + 50 * 32} bytes announced (limit 100)"


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("before", [b"", b"\x01\x00"])
def test_a_header_of_2_to_the_63_ends_the_connection(size: int, before: bytes) -> None:
    """No announced size is too large to be refused."""
    connection = in_traffic()
    assert outcome(connection.receive(HELLO + before + long_header(size) + bytes(1000))) == [HELLO]
    assert connection.error is not None
    assert str(len(before) + 9 + size) in connection.error
    assert connection.buffered == 0


@pytest.mark.parametrize(
    "bad", [b"\x05\x00", b"\x80\x05", ping(b"c" * 17), peers.command_frame(b"ERROR", b"\1x")]
)
@pytest.mark.parametrize("cut", [False, True])
def test_an_error_within_it_ends_the_connection(bad: bytes, cut: bool) -> None:
    """What must not come between frames must not do so within a discarded message either."""
    sent = HELLO + HOP + encode_frame(b"x" * 200, MORE) + bad
    connection = in_traffic(LIMIT)
    assert outcome(feed(connection, sent, range(1, len(sent)) if cut else [])) == [HELLO]
    assert connection.error is not None
    assert (connection.buffered, connection.receive(HELLO)) == (0, [])


def test_half_of_one_then_silence_leaves_nothing_held() -> None:
    """While the rest of it is awaited only what is not yet a whole header is in the buffer."""
    connection = in_traffic(LIMIT)
    connection.receive(HOP + encode_frame(b"x" * 200, MORE) + long_header(300)[:6])
    assert connection.buffered == 6
    assert connection.receive(long_header(300)[6:] + bytes(299)) == []
    assert connection.buffered == 0
