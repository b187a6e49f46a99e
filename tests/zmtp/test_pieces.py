"""Large frames that come in pieces."""

from __future__ import annotations

import pytest

from tests.zmtp.peers import in_traffic, outcome
from zqd.zmtp.connection import Oversize
from zqd.zmtp.frames import EMPTY_MORE, LARGE, MORE, encode_frame, encode_message, envelope_of
from zqd.zmtp.pieces import SMALL, Pieces, flat, head_of

HELLO = encode_message([b"", b"hello"])


def test_pieces_are_a_message_in_order() -> None:
    """Large and small ones; what is missing is told."""
    chunks = [b"first", b"a" * SMALL, b"b", b"c" * 10, b"d" * LARGE, b"e", b"last"]
    pieces = Pieces(chunks[0], sum(map(len, chunks[1:])))
    for chunk in chunks[1:-1]:
        pieces.add(chunk)
    assert pieces.missing == len(chunks[-1])
    pieces.add(chunks[-1])
    assert pieces.missing == 0
    assert bytes(pieces) == b"".join(chunks)
    assert len(pieces) == len(b"".join(chunks))


def test_large_pieces_are_kept_as_they_came() -> None:
    """No byte of them is copied, and none of what is behind the id of a reply."""
    head, rest = b"id" + b"h" * 100, b"x" * LARGE
    pieces = Pieces(head, len(rest))
    pieces.add(rest)
    assert pieces.parts[0] is head
    assert pieces.parts[1] is rest
    behind = pieces.behind(2)
    assert memoryview(behind.parts[0]).obj is head
    assert behind.parts[1] is rest
    assert bytes(behind) == bytes(pieces)[2:]
    assert len(behind) == len(pieces) - 2


def test_many_small_pieces_are_few_objects() -> None:
    """A peer that sends byte by byte costs about as much memory as its bytes."""
    pieces = Pieces(b"x", 4 * LARGE)
    for _ in range(3 * LARGE):
        pieces.add(b"y")
    assert len(pieces.parts) <= 5


def test_the_head_has_all_frames_but_the_last() -> None:
    """However little of a message comes first: its envelope can be told from one piece."""
    raw = encode_message([b"id", b"", b"x" * LARGE])
    for first in range(1, 30):
        connection = in_traffic(1 << 20)
        assert connection.receive(raw[:first]) == []
        (message,) = connection.receive(raw[first:-1]) or connection.receive(raw[-1:])
        assert not isinstance(message, Oversize)
        assert bytes(message) == raw
        assert envelope_of(head_of(message)) == encode_frame(b"id", MORE) + EMPTY_MORE


def test_flat_is_the_bytes_of_all_in_order() -> None:
    """Messages in one piece and in several."""
    pieces = Pieces(b"ab", 2)
    pieces.add(b"cd")
    assert flat([b"1", pieces, memoryview(b"2")]) == [b"1", b"ab", b"cd", b"2"]


@pytest.mark.parametrize("step", [1 << 14, 1 << 16, 100_001])
def test_a_large_message_comes_out_as_it_went_in(step: int) -> None:
    """However it is cut, with what is before and behind it; what is held is told all the time."""
    raw = encode_message([b"id", b"", b"x" * 300_000])
    stream = HELLO + raw + HELLO
    connection = in_traffic(1 << 20)
    messages = []
    for at in range(0, len(stream), step):
        messages += connection.receive(stream[at : at + step])
        held = min(at + step, len(stream)) - len(HELLO)
        if held < len(raw):
            assert connection.buffered == held
            assert not connection.clear
    assert outcome(messages) == [HELLO, raw, HELLO]
    assert connection.buffered == 0


def test_a_message_that_is_whole_at_once_is_not_copied() -> None:
    """The bytes that were received are the message."""
    raw = encode_message([b"", b"x" * LARGE])
    (message,) = in_traffic(1 << 20).receive(raw)
    assert message is raw


def test_a_huge_message_is_not_copied_either() -> None:
    """Its pieces are the bytes that were received."""
    raw = encode_message([b"", bytes(20 << 20)])
    connection = in_traffic(32 << 20)
    chunks = [raw[at : at + (1 << 20)] for at in range(0, len(raw), 1 << 20)]
    *nothing, (message,) = [connection.receive(chunk) for chunk in chunks]
    assert not any(nothing)
    assert isinstance(message, Pieces)
    assert all(part is chunk for part, chunk in zip(message.parts, chunks[:-1], strict=False))
    assert outcome([message]) == [raw]


def test_receiving_nothing_in_the_middle_changes_nothing() -> None:
    """An empty read is always allowed."""
    raw = encode_message([b"", b"x" * LARGE])
    connection = in_traffic(1 << 20)
    assert connection.receive(raw[:-1]) == connection.receive(b"") == []
    assert outcome(connection.receive(raw[-1:])) == [raw]


def test_a_limit_that_has_shrunk_meanwhile_holds() -> None:
    """The message is told as too large when its frame is whole, and what follows is received."""
    raw = encode_message([b"", b"x" * LARGE])
    connection = in_traffic(1 << 20)
    connection.receive(raw[:100])
    connection.max_message_size = LARGE // 2
    oversize, hello = connection.receive(raw[100:] + HELLO)
    assert outcome([hello]) == [HELLO]
    assert outcome([oversize]) != [raw]


def test_a_failure_forgets_the_pieces() -> None:
    """As all else that is held."""
    connection = in_traffic(1 << 20)
    connection.receive(encode_frame(b"", MORE) + b"\x02" + LARGE.to_bytes(8, "big") + b"x")
    connection._fail("a test")
    assert connection._pieces is None
    assert connection.buffered == 0
    assert connection.receive(b"x" * LARGE) == []
