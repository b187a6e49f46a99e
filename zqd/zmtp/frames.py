"""Frames and messages as they are on the wire (RFC 23 "Framing", the same in ZMTP 2.0, RFC 15).

A message stays **raw** all the way through zqd: its frames, headers included, in one bytes-like object (or in the
`pieces` in which a large one came). So
forwarding is appending, and no body is ever decoded. What needs a look inside, the envelope, is here.

Layer 1, pure. Called by: `connection` (receiving), the core (envelopes, failures), tests and benches (encoding).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

MORE = 1
LONG = 2
COMMAND = 4

LARGE = 1 << 16  # bytes; from here on a message is handed over without a copy where it can be

EMPTY_MORE = b"\x01\x00"  # the empty frame that ends an envelope, and the whole envelope of a plain REQ

_SIZE = struct.Struct("!Q")
unpack_size = _SIZE.unpack_from

Raw = bytes | bytearray | memoryview
"""Bytes as they are on the wire, frame headers included: a message, or a part of one."""


def encode_frame(body: bytes, flags: int = 0) -> bytes:
    """One frame: `flags` (MORE, COMMAND), length, `body`; LONG is set where the length needs it."""
    if len(body) > 255:
        return bytes((flags | LONG,)) + _SIZE.pack(len(body)) + body
    return bytes((flags, len(body))) + body


def frame_header(size: int, flags: int = 0) -> bytes:
    """The header of a frame whose body has `size` bytes."""
    return bytes((flags | LONG,)) + _SIZE.pack(size) if size > 255 else bytes((flags, size))


def encode_message(frames: Iterable[bytes]) -> bytes:
    """One raw message of these frame bodies (at least one)."""
    *heads, last = frames
    return b"".join([encode_frame(body, MORE) for body in heads]) + encode_frame(last)


def frame_bounds(raw: Raw, at: int) -> tuple[int, int]:
    """Start and end of the body of the frame whose header is at `at`; the end may lie past what is there.

    Raises IndexError or struct.error where not even the header is there.
    """
    if raw[at] & LONG:
        start = at + 9
        return start, start + int(unpack_size(raw, at + 1)[0])
    start = at + 2
    return start, start + raw[at + 1]


def message_end(data: bytes, at: int) -> int:
    """Where the message ends of which a frame begins at `at`; beyond the data where it is not whole, or not made of frames of messages."""
    try:
        while (flags := data[at]) <= LONG | MORE:
            at += 9 + unpack_size(data, at + 1)[0] if flags & LONG else 2 + data[at + 1]
            if not flags & MORE:
                return at
    except (IndexError, struct.error):  # the end of the data within a header, or before it
        pass
    return len(data) + 1


def cut_short(data: bytes, start: int, at: int, messages: list[Any], most: int) -> tuple[int, int]:
    """Cut off whole messages of short frames, by far the most, until there are `most` in `messages`.

    The first one begins at `start`, and its first frame that was not looked at is at `at`; returns the same of what is left:
    the end of the data, an unfinished message, or one with something else than short frames.
    """
    size = len(data)
    try:
        while (flags := data[at]) <= MORE and (end := at + 2 + data[at + 1]) <= size:
            at = end
            if not flags:
                messages.append(data[start:at])
                start = at
                if len(messages) == most:
                    break
    except IndexError:  # of the data, or of the header that it ends in
        pass
    return start, at


def decode_message(raw: Raw) -> list[bytes]:
    """The frame bodies of one raw message, which must be whole (as `Connection.receive` gives it)."""
    bodies = []
    at, size = 0, len(raw)
    while at < size:
        start, end = frame_bounds(raw, at)
        bodies.append(bytes(raw[start:end]))
        at = end
    return bodies


def envelope_of(raw: Raw) -> bytes | None:
    """The envelope: the frames up to and including the first empty one, raw; None where no frame is empty.

    RFC 28: a REQ sends `["", body…]`, a correlating REQ `[id, "", body…]`, a DEALER anything. None also where the
    empty frame is the last one: there is no body, and a REP would swallow such a message and stay busy for ever.
    """
    if raw[:2] == EMPTY_MORE:
        return EMPTY_MORE
    at, size = 0, len(raw)
    while at < size:
        start, end = frame_bounds(raw, at)
        if start == end:
            return bytes(raw[:end]) if raw[at] & MORE else None
        at = end
    return None


def same_envelope(envelope: bytes, raw: Raw) -> bool:
    """A message has this envelope, perhaps in other bytes: a short frame may have a long header (RFC 23 "Framing")."""
    if raw[: len(envelope)] == envelope:
        return True
    found = envelope_of(raw)
    return found is not None and decode_message(found) == decode_message(envelope)
