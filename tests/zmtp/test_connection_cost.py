"""The cost of receiving is linear in the bytes, however they are cut: work is counted, not timed."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any, Self

import pytest

from tests.zmtp.peers import feed, in_traffic, outcome, ping
from zqd.zmtp import connection as connection_module
from zqd.zmtp.connection import BATCH
from zqd.zmtp.frames import MORE, encode_frame, encode_message

SIZE = 1 << 22


@dataclasses.dataclass
class Tally:
    """Work that a connection did on its buffers."""

    copied: int = 0
    """Bytes copied into or out of a buffer, or moved within it."""
    looked: int = 0
    """Single bytes looked at: flags and lengths of frame headers."""


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    """Counts what connections made from now on do; their buffers count it."""
    work = Tally()

    class Buffer(bytearray):
        def __init__(self, source: bytes | bytearray | memoryview = b"") -> None:
            super().__init__(source)
            work.copied += len(self)

        def __iadd__(self, more: Any) -> Self:
            work.copied += len(more)
            super().__iadd__(more)
            return self

        def __add__(self, more: Any) -> bytearray:
            work.copied += len(self) + len(more)
            return Buffer(super().__add__(more))

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            if isinstance(key, slice):
                work.copied += len(found)
            else:
                work.looked += 1
            return found

        def __delitem__(self, key: Any) -> None:
            if key.start:  # at the front CPython moves the beginning instead
                work.copied += len(self) - key.stop
            super().__delitem__(key)

    class LooksLikeBytes(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, bytes)

        def __call__(cls, source: bytes | memoryview) -> bytes:
            made = bytes(source)
            work.copied += len(made) if made is not source else 0
            return made

    class Bytes(metaclass=LooksLikeBytes):
        pass

    monkeypatch.setattr(connection_module, "bytearray", Buffer, raising=False)
    monkeypatch.setattr(connection_module, "bytes", Bytes, raising=False)
    return work


def even_cuts(size: int, pieces: int) -> list[int]:
    """Cuts that make so many pieces."""
    return [size * number // pieces for number in range(1, pieces)]


@pytest.mark.parametrize("pieces", [1, 1_000, 10_000])
def test_a_large_message_is_copied_once(tally: Tally, pieces: int) -> None:
    """A message of 4 MiB is copied into the buffer and handed over, its header looked at once a piece."""
    raw = encode_message([b"", bytes(SIZE)])
    connection = in_traffic(2 * SIZE)
    before = dataclasses.replace(tally)
    assert outcome(feed(connection, raw, even_cuts(len(raw), pieces))) == [raw]
    assert tally.copied - before.copied <= 1.01 * len(raw)
    assert tally.looked - before.looked <= 4 * pieces


@pytest.mark.parametrize("pieces", [1_000, 10_000])
def test_a_message_of_many_frames_is_scanned_once(tally: Tally, pieces: int) -> None:
    """A frame that has been looked at is not looked at again when the next piece comes."""
    frames = SIZE // 1024
    raw = encode_message([b"", *[bytes(1024)] * frames])
    connection = in_traffic(2 * SIZE)
    before = dataclasses.replace(tally)
    assert outcome(feed(connection, raw + raw, even_cuts(2 * len(raw), pieces))) == [raw, raw]
    assert tally.copied - before.copied <= 4.04 * len(raw)
    assert tally.looked - before.looked <= 4 * (2 * frames + pieces)


@pytest.mark.parametrize("pieces", [1_000, 10_000])
def test_an_oversize_message_is_not_copied(tally: Tally, pieces: int) -> None:
    """What is discarded costs nothing but its headers."""
    raw = encode_message([b"", *[bytes(1024)] * (SIZE // 1024)])
    connection = in_traffic(SIZE // 2)
    assert len(feed(connection, raw, even_cuts(len(raw), pieces))) == 1
    assert tally.copied <= 1.01 * SIZE // 2 + 20 * pieces


def test_a_growing_message_stays_in_one_buffer() -> None:
    """The buffer grows at its end and is not replaced from piece to piece, where more frames follow."""
    raw = encode_message([b"", bytes(SIZE), b""])
    connection = in_traffic(2 * SIZE)
    connection.receive(raw[:1000])
    buffer = connection._buffer
    for start, end in pairwise([*range(1000, len(raw), 1000)]):
        connection.receive(raw[start:end])
        assert connection._buffer is buffer


def test_a_batch_costs_its_own_messages(tally: Tally) -> None:
    """What is left behind a batch is copied once, not once a batch."""
    raw = encode_message([b"", b"x"])
    connection = in_traffic()
    assert len(feed(connection, raw * (50 * BATCH))) == 50 * BATCH
    assert tally.copied <= 2.1 * len(raw) * 50 * BATCH
    assert tally.looked <= 5 * 50 * BATCH


def test_a_ping_within_a_message_moves_one_read_at_most(tally: Tally) -> None:
    """Cutting a command out of a large unfinished message does not touch what came in earlier reads."""
    connection = in_traffic(2 * SIZE)
    connection.receive(encode_frame(b"", MORE) + encode_frame(bytes(SIZE), MORE))
    before = tally.copied
    for _ in range(1000):
        connection.receive(ping() + encode_frame(b"x", MORE))
    assert tally.copied - before <= 1000 * 100
