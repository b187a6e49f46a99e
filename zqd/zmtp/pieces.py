"""A large frame that comes in pieces: they are kept as they came, and put together once, when all are there.

Layer 1, pure. Called by: `connection`.
"""

from __future__ import annotations

from zqd.zmtp.frames import LARGE

SMALL = 1 << 12  # bytes; smaller pieces are put together as they come: objects for them would cost more
HUGE = 16 << 20  # bytes; put together, a larger frame would take twice its memory: it is no matter of pieces


class Pieces:
    """What has come from the start of a message on; `missing` bytes more, and its frame is whole."""

    __slots__ = ("_pieces", "missing")

    def __init__(self) -> None:
        self.missing = 0
        """Bytes; 0 where no frame comes in pieces."""
        self._pieces: list[bytes | bytearray] = []

    def begin(self, first: bytes, missing: int) -> None:
        """A frame is not whole: this is there already, of it and of what belongs before it."""
        self._pieces = [first]
        self.missing = missing

    def add(self, data: bytes) -> None:
        """More of it, and not all that is missing."""
        self.missing -= len(data)
        last = self._pieces[-1]
        if isinstance(last, bytearray) and len(last) < LARGE:
            last += data
        else:
            self._pieces.append(data if len(data) >= SMALL else bytearray(data))

    def finish(self, data: bytes) -> bytes:
        """With this all is there that was missing: everything, from the start on."""
        whole = b"".join((*self._pieces, data))
        self.clear()
        return whole

    def clear(self) -> None:
        """Forget it."""
        self._pieces = []
        self.missing = 0
