"""A large message stays in the pieces in which it came: to put it together would cost a copy of all that it has.

    Connection.receive ─▶ Pieces ─▶ Request.raw ─▶ a peer's outbox ─▶ sendmsg

Layer 1, pure. Called by: `connection`, which fills it; the queue, which looks at its head; `zqd.net.link`, which sends it.
"""

from __future__ import annotations

from collections.abc import Iterable

from zqd.zmtp.frames import LARGE, Raw

SMALL = 1 << 12  # bytes; smaller pieces are put together as they come: objects for them would cost more


class Pieces:
    """A whole raw message, once nothing is missing. Only its last frame is in pieces: all before it is in the first one."""

    __slots__ = ("_size", "missing", "parts")

    def __init__(self, head: Raw, missing: int) -> None:
        self.parts: list[Raw] = [head]
        """All there is of it, in order."""
        self.missing = missing
        """Bytes still to come."""
        self._size = len(head)

    def add(self, data: bytes) -> None:
        """More of it, at most what is missing."""
        self.missing -= len(data)
        self._size += len(data)
        last = self.parts[-1]
        if isinstance(last, bytearray) and len(last) < LARGE:
            last += data
        elif len(data) >= SMALL:
            self.parts.append(data)
        elif data:
            self.parts.append(bytearray(data))

    def behind(self, size: int) -> Pieces:
        """The same message without its first `size` bytes, which lie before the last frame. Nothing is copied."""
        rest = Pieces(memoryview(self.parts[0])[size:], 0)
        rest.parts += self.parts[1:]
        rest._size = self._size - size
        return rest

    def __len__(self) -> int:
        """Bytes that are there."""
        return self._size

    def __bytes__(self) -> bytes:
        """Put together."""
        return b"".join(self.parts)


RawMessage = Raw | Pieces
"""One whole message as it came, frame headers included."""


def head_of(raw: RawMessage) -> Raw:
    """A message as far as it is in one piece: at least all headers of its frames, and all frames but the last."""
    return raw.parts[0] if isinstance(raw, Pieces) else raw


def behind(raw: RawMessage, size: int) -> RawMessage:
    """What of a message is behind its first `size` bytes, which lie before its last frame."""
    if isinstance(raw, Pieces):
        return raw.behind(size)
    return raw[size:] if len(raw) < LARGE else memoryview(raw)[size:]


def flat(pieces: Iterable[RawMessage]) -> list[Raw]:
    """The bytes of all of them, in order."""
    parts: list[Raw] = []
    for one in pieces:
        if isinstance(one, Pieces):
            parts += one.parts
        else:
            parts.append(one)
    return parts
