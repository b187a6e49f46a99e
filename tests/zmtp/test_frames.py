from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zqd.zmtp.frames import (
    COMMAND,
    MORE,
    Raw,
    cut_short,
    decode_message,
    encode_frame,
    encode_message,
    envelope_of,
    frame_bounds,
    message_end,
)

LONG_EMPTY_MORE = bytes.fromhex("03 00 00 00 00 00 00 00 00")

# Encoding


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "00 00"),
        (1, "00 01"),
        (255, "00 ff"),
        (256, "02 00 00 00 00 00 00 01 00"),
        (1 << 16, "02 00 00 00 00 00 01 00 00"),
        (1 << 20, "02 00 00 00 00 00 10 00 00"),
    ],
)
def test_a_frame_is_long_from_256_bytes_on(size: int, header: str) -> None:
    """A frame has a length of one byte up to 255 and of eight above (RFC 23 "Framing")."""
    assert encode_frame(b"x" * size) == bytes.fromhex(header) + b"x" * size


def test_flags_are_kept_beside_long() -> None:
    """MORE and COMMAND stand in the flags of short and long frames."""
    assert encode_frame(b"a", MORE) == b"\x01\x01a"
    assert encode_frame(b"a", COMMAND) == b"\x04\x01a"
    assert encode_frame(bytes(256), MORE)[0] == 3
    assert encode_frame(bytes(256), COMMAND)[0] == 6


def test_every_frame_of_a_message_but_the_last_says_more() -> None:
    """A message is its frames, and only the last has no MORE flag."""
    assert encode_message([b"", b"ab", b"c"]) == b"\x01\x00" + b"\x01\x02ab" + b"\x00\x01c"
    assert encode_message(iter([b"c"])) == b"\x00\x01c"


# Bounds


def test_bounds_of_a_short_and_a_long_frame() -> None:
    """The body of a frame lies behind a header of two or nine bytes."""
    raw = encode_frame(b"ab", MORE) + encode_frame(bytes(300))
    assert frame_bounds(raw, 0) == (2, 4)
    assert frame_bounds(raw, 4) == (13, 313)


def test_bounds_may_lie_past_the_end() -> None:
    """A header tells the end of a frame whose body is not there yet."""
    assert frame_bounds(b"\x00\x09", 0) == (2, 11)
    assert frame_bounds(b"\x02" + b"\xff" * 8, 0) == (9, 9 + 2**64 - 1)


@pytest.mark.parametrize("header", [b"", b"\x00", b"\x02", b"\x02" + bytes(7)])
def test_bounds_of_an_incomplete_header_are_an_error(header: bytes) -> None:
    """Without a whole header there are no bounds."""
    with pytest.raises((IndexError, struct.error)):
        frame_bounds(header, 0)


# Decoding


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8))
def test_decoding_undoes_encoding(bodies: list[bytes]) -> None:
    """The bodies that go into a message come out of it."""
    assert decode_message(encode_message(bodies)) == bodies


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_raw_message_is_decoded(kind: Callable[[bytes], Raw]) -> None:
    """A raw message may be bytes, a bytearray or a memoryview; bodies and envelope are always bytes."""
    raw = kind(encode_message([b"id", b"", b"body"]))
    assert decode_message(raw) == [b"id", b"", b"body"]
    assert envelope_of(raw) == encode_frame(b"id", MORE) + encode_frame(b"", MORE)
    assert type(envelope_of(raw)) is bytes


def test_a_small_body_may_come_in_a_long_frame() -> None:
    """The long form is decoded whatever the size (RFC 23 leaves the choice to the sender)."""
    assert decode_message(LONG_EMPTY_MORE + b"\x02" + (3).to_bytes(8, "big") + b"abc") == [b"", b"abc"]


# Envelopes


@pytest.mark.parametrize(
    ("bodies", "frames"),
    [
        ([b"", b"body"], 1),
        ([b"", b""], 1),
        ([b"", b"", b"body"], 1),
        ([b"\0\0\0\1", b"", b"body"], 2),
        ([b"hop", b"x" * 300, b"", b"body", b"", b"more"], 3),
    ],
    ids=["req", "empty body", "second empty frame", "correlating req", "hops"],
)
def test_the_envelope_ends_with_the_first_empty_frame(bodies: list[bytes], frames: int) -> None:
    """The envelope is all frames up to and including the first empty one, raw (RFC 28)."""
    expected = b"".join(encode_frame(body, MORE) for body in bodies[:frames])
    assert envelope_of(encode_message(bodies)) == expected


@pytest.mark.parametrize("bodies", [[b"body"], [b"a", b"b"], [b""], [b"id", b""]])
def test_without_an_empty_frame_and_something_after_it_there_is_no_envelope(bodies: list[bytes]) -> None:
    """A message that REP would swallow has no envelope: no frame is empty, or nothing follows it."""
    assert envelope_of(encode_message(bodies)) is None


def test_an_empty_frame_in_the_long_form_ends_the_envelope() -> None:
    """The delimiter is recognised by its size, not by its two usual bytes, and kept as the client sent it."""
    assert envelope_of(LONG_EMPTY_MORE + encode_frame(b"body")) == LONG_EMPTY_MORE


def test_an_envelope_can_be_read_off_the_beginning_of_a_message() -> None:
    """Whole frames are enough: the body need not be there."""
    start = encode_frame(b"id", MORE) + encode_frame(b"", MORE)
    assert envelope_of(start) == start
    assert envelope_of(encode_frame(b"id", MORE)) is None
    assert envelope_of(b"") is None


# Whole messages


@pytest.mark.parametrize(
    "frames",
    [[b"x"], [b"", b"x"], [b"id", b"", b"x" * 255], [b"", b"x" * 256], [b"x" * 256, b""], [b"", b""]],
)
def test_where_a_message_ends(frames: list[bytes]) -> None:
    """At its last frame; beyond the data where it is not whole, or is no message."""
    raw = encode_message(frames)
    assert message_end(raw, 0) == message_end(raw + raw, 0) == len(raw)
    assert message_end(b"abc" + raw, 3) == 3 + len(raw)
    assert all(message_end(raw[:size], 0) > size for size in range(len(raw)))
    command = encode_frame(b"\4PING\0\0", COMMAND)
    assert message_end(command, 0) > len(command)
    assert message_end(encode_frame(b"", MORE) + command, 0) > len(command) + 2


def test_short_frames_are_cut_as_far_as_they_go() -> None:
    """To the end, to an unfinished message, to a long frame, or to as many as are wanted."""
    raw = encode_message([b"", b"one"])
    for rest in (b"", b"\1", b"\1\0", b"\1\0\0\7two", encode_message([b"", b"x" * 256])):
        messages: list[bytes] = []
        start, at = cut_short(raw + raw + rest, 0, 0, messages, 100)
        assert messages == [raw, raw]
        assert start == 2 * len(raw)
        assert at == start + (2 if len(rest) > 1 else 0)  # behind the empty frame, which has been looked at
    messages = []
    assert cut_short(raw * 3, 0, 0, messages, 2) == (2 * len(raw), 2 * len(raw))
    assert messages == [raw, raw]
