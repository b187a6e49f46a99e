"""Large frames that come in pieces."""

from __future__ import annotations

import pytest

from tests.zmtp.peers import in_traffic, outcome
from zqd.zmtp.frames import LARGE, MORE, encode_frame, encode_message
from zqd.zmtp.pieces import HUGE, SMALL, Pieces

HELLO = encode_message([b"", b"hello"])


def test_pieces_are_put_together_in_their_order() -> None:
    """Large and small ones."""
    chunks = [b"first", b"a" * SMALL, b"b", b"c" * 10, b"d" * LARGE, b"e", b"last"]
    pieces = Pieces()
    pieces.begin(chunks[0], sum(map(len, chunks[1:])))
    for chunk in chunks[1:-1]:
        pieces.add(chunk)
    assert pieces.missing == len(chunks[-1])
    assert pieces.finish(chunks[-1]) == b"".join(chunks)
    assert pieces.missing == 0


def test_many_small_pieces_are_few_objects() -> None:
    """A peer that sends byte by byte costs about as much memory as its bytes."""
    pieces = Pieces()
    pieces.begin(b"x", 4 * LARGE)
    for _ in range(3 * LARGE):
        pieces.add(b"y")
    assert len(pieces._pieces) <= 5


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


def test_a_huge_message_grows_in_one_buffer() -> None:
    """It would take twice its memory to put its pieces together."""
    raw = encode_message([b"", bytes(HUGE + 1)])
    connection = in_traffic(2 * HUGE)
    messages = []
    for at in range(0, len(raw), 1 << 20):
        messages += connection.receive(raw[at : at + (1 << 20)])
        assert connection._pieces.missing == 0
    assert outcome(messages) == [raw]


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
    assert connection._pieces.missing == connection.buffered == 0
    assert connection.receive(b"x" * LARGE) == []
