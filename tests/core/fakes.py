"""The clients and workers that talk to a `Harness`: what each was sent, what it keeps, and what it may do.

Every second message comes in pieces, as large ones do: to the queue that must make no difference.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from zqd.core.peers import Client, Worker
from zqd.zmtp.connection import Oversize
from zqd.zmtp.frames import MORE, decode_message, encode_frame, encode_message, frame_bounds
from zqd.zmtp.pieces import Pieces, RawMessage, flat

if TYPE_CHECKING:
    from tests.core.harness import Harness


class Outbox(list[RawMessage]):
    """A peer's outbox that tells each message as it is written: what a queue does can be seen in its order."""

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, message: RawMessage) -> None:
        """A whole message."""
        super().append(message)
        self._tell(bytes(message))

    def __iadd__(self, pieces: Iterable[RawMessage]) -> Self:  # type: ignore[misc, override]  # narrower than `+`
        """A whole message in pieces."""
        whole = list(pieces)
        super().extend(whole)
        self._tell(b"".join(flat(whole)))
        return self


class FakeClient:
    """A client and its connection. Messages that the queue does not want now stay in `unread`."""

    def __init__(self, harness: Harness, peer: Client) -> None:
        self.harness = harness
        self.peer = peer
        self.name = peer.address
        self.unread: deque[bytes | Oversize] = deque()
        """What it sent and the queue has not taken, a refused message first."""
        self.received: list[list[bytes]] = []
        """The answers that it got: all frames of each."""
        self.unsent: int | None = None
        """Bytes of answers that it has not read; None while it reads at once."""
        self.gone = False

    @property
    def answers(self) -> list[bytes]:
        """What followed the envelope in each answer, its frames joined by `|`."""
        return [b"|".join(frames[frames.index(b"") + 1 :]) for frames in self.received]

    @property
    def is_read(self) -> bool:
        """The queue wants to read from it."""
        return not (self.gone or self.peer.paused or self.peer.stalled)

    def send(self, *bodies: bytes, envelope: tuple[bytes, ...] = (), options: str | None = None) -> None:
        """One request of one frame for each body, under an envelope if one is given (rule 25: options come first)."""
        first = () if options is None else (f"zqd/1 {options}".encode(),)
        for body in bodies:
            self.send_raw(encode_message([*first, *envelope, b"", body]))

    def send_frames(self, *frames: bytes) -> None:
        """One message of these frames, whether they make sense or not."""
        self.send_raw(encode_message(frames))

    def send_raw(self, *messages: bytes | Oversize) -> None:
        """Messages as they are on the wire; the queue gets as many of them as it wants."""
        self.unread.extend(messages)
        self.push()

    def hold(self, size: int) -> None:
        """The connection holds this much of a message that is not whole yet (rule 17)."""
        self.harness.step(f"{self.name} holds {size} unfinished bytes", lambda: self._hold(size))

    def push(self) -> None:
        """Offer the queue what is unread, as long as it takes it."""
        offered = False
        while self.unread and self.is_read:
            raw = self.unread.popleft()
            offered = True
            if not self._offer(raw):
                self.unread.appendleft(raw)
                break
        if offered and self.peer.unfinished and not self.gone:
            self.hold(0)  # whole at last

    def receive(self, frames: list[bytes]) -> None:
        """An answer from the queue."""
        assert not self.gone, f"{self.name} gets something after it has left"
        self.received.append(frames)

    def pile_up(self, size: int) -> None:
        """So many bytes of answers are in its socket's way."""
        if self.unsent is not None:
            self.unsent += size
            self._tell_unsent()

    def stop_reading(self) -> None:
        """Answers pile up from now on (rule 19)."""
        self.unsent = 0

    def read(self, size: int | None = None) -> None:
        """It reads so many bytes of what has piled up; None: all, and from now on at once."""
        assert self.unsent is not None
        self.unsent -= self.unsent if size is None else min(size, self.unsent)
        self._tell_unsent()
        if size is None:
            while self.unsent:  # what came while it read
                self.unsent = 0
                self._tell_unsent()
            self.unsent = None

    def leave(self) -> None:
        """Its connection ends."""
        self.gone = True
        queue, now = self.harness.queue, self.harness.now
        self.harness.step(f"{self.name} leaves", lambda: queue.client_left(self.peer, now))

    def _offer(self, raw: bytes | Oversize) -> bool:
        harness, queue, peer = self.harness, self.harness.queue, self.peer
        if isinstance(raw, Oversize):
            harness.step(f"{self.name} sends too much", lambda: queue.oversize_request(peer, raw.envelope))
            return True
        taken = harness.step(
            f"{self.name} sends {raw[:40]!r}", lambda: queue.request(peer, as_it_comes(raw), harness.now)
        )
        if taken:
            harness.saw_taken(self, raw)
        return taken

    def _hold(self, size: int) -> None:
        wanted = self.harness.queue.unfinished(self.peer, size)
        assert wanted or self.peer.paused, "rule 17: it is not to be read on, and not paused"
        assert wanted or size, "rule 17: it is not to be read on, and holds nothing"

    def _tell_unsent(self) -> None:
        size = self.unsent
        if size is not None and not self.gone:
            queue, now = self.harness.queue, self.harness.now
            self.harness.step(f"{self.name} has {size} unsent", lambda: queue.unsent(self.peer, size, now))


@dataclass(slots=True)
class Task:
    """A dispatch that a worker has not answered."""

    key: bytes
    """Header and id frame, as on the wire."""
    message: bytes
    """The client's message."""
    since: float
    """When it arrived, or became the one that a REP runs."""

    @property
    def id(self) -> bytes:
        """The 16 bytes that the broker made."""
        return self.key[2:]

    @property
    def envelope(self) -> list[bytes]:
        """The frames up to and including the first empty one."""
        frames = decode_message(self.message)
        return frames[: frames.index(b"") + 1]

    @property
    def body(self) -> bytes:
        """What follows the envelope, frames joined by `|`."""
        frames = decode_message(self.message)
        return b"|".join(frames[frames.index(b"") + 1 :])


class FakeWorker:
    """A worker program; over reconnects it stays the same and still has its tasks."""

    peer: Worker

    def __init__(self, harness: Harness, name: str, *, in_order: bool) -> None:
        self.harness = harness
        self.name = name
        self.in_order = in_order
        """A REP: it runs the first of its tasks only."""
        self.tasks: list[Task] = []
        """What it has not answered, in the order in which it came."""
        self.old_tasks: list[Task] = []
        """What it had not answered when it lost its last connection."""
        self.told_left = False
        self.gone = False

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of its tasks."""
        return [task.body for task in self.tasks]

    def take(self, task: Task) -> None:
        """A dispatch from the queue."""
        assert not self.gone, f"{self.name} gets something after it has gone"
        assert not self.told_left, f"{self.name} gets something after `left`"
        self.tasks.append(task)

    def done(self, place: int = 0) -> Task:
        """Take out a task that is going to be answered; what a REP had behind it runs from now on."""
        task = self.tasks.pop(place)
        if self.in_order and place == 0 and self.tasks:
            self.tasks[0].since = self.harness.now
        return task

    def reply(
        self, body: bytes | None = None, *, place: int = 0, envelope: tuple[bytes, ...] | None = None
    ) -> None:
        """Answer a task: `re:` and its body where nothing else is given, under the envelope that came with it."""
        task = self.done(place)
        frames = task.envelope if envelope is None else envelope
        self.send_frames(task.id, *frames, b"re:" + task.body if body is None else body)

    def reply_old(self) -> None:
        """Answer the first of its old tasks."""
        task = self.old_tasks.pop(0)
        self.send_frames(task.id, *task.envelope, b"re:" + task.body)

    def fail(self, code: int, reason: str, *, place: int = 0) -> None:
        """Say that a task has failed (rule 26)."""
        self.send_frames(b"zqd/1", b"fail", self.done(place).id, str(code).encode(), reason.encode())

    def reply_too_much(self, *, place: int = 0) -> None:
        """A reply over `max_message_size`: its envelope is all that is left of it (rule 15)."""
        task = self.done(place)
        raw = task.key + encode_message([*task.envelope, b"-"])[:-3]
        queue, now = self.harness.queue, self.harness.now
        self.harness.step(f"{self.name} replies too much", lambda: queue.oversize_reply(self.peer, raw, now))

    def hello(self, **told: object) -> None:
        """Say who it is (rule 26)."""
        self.send_frames(b"zqd/1", b"hello", json.dumps(told).encode())

    def ask_to_leave(self) -> None:
        """Say that it wants to go (rule 26)."""
        self.send_frames(b"zqd/1", b"leave")

    def send_frames(self, *frames: bytes) -> None:
        """One message of these frames, whether they make sense or not."""
        self.send_raw(encode_message(frames))

    def send_raw(self, raw: bytes) -> None:
        """One message as it is on the wire."""
        queue, now = self.harness.queue, self.harness.now
        self.harness.step(
            f"{self.name} sends {raw[:60]!r}", lambda: queue.reply(self.peer, as_it_comes(raw), now)
        )

    def die(self) -> None:
        """Its connection ends."""
        self.gone = True
        queue, now = self.harness.queue, self.harness.now
        self.harness.step(f"{self.name} is gone", lambda: queue.worker_left(self.peer, now))

    def reconnect(self) -> None:
        """The same program on another connection, busy with what it had (rule 13)."""
        self.gone = self.told_left = False
        self.harness.workers.pop(self.peer, None)
        self.old_tasks += self.tasks
        self.tasks = []
        self.harness.join(self)


def as_it_comes(raw: bytes) -> RawMessage:
    """The same message, in pieces or not: the same bytes always come in the same way."""
    if zlib.crc32(raw) % 2:
        return raw
    start = end = 0
    while end < len(raw):
        start, end = frame_bounds(raw, end)
    pieces = Pieces(raw[:start], len(raw) - start)
    middle = (start + len(raw)) // 2
    pieces.add(raw[start:middle])
    pieces.add(raw[middle:])
    return pieces


def split_messages(raw: bytes) -> Iterator[bytes]:
    """Cut bytes into whole messages, which they must be."""
    start = at = 0
    while at < len(raw):
        more = raw[at] & MORE
        at = frame_bounds(raw, at)[1]
        if not more:
            yield raw[start:at]
            start = at
    assert start == len(raw), f"half a message is sent: {raw[start:]!r}"


def padded(text: bytes, size: int) -> bytes:
    """A body that makes a plain REQ's message exactly `size` bytes on the wire."""
    for body in (text.ljust(size - 2 - header, b".") for header in (2, 9)):
        if 2 + len(encode_frame(body)) == size:
            return body
    raise ValueError(f"no body makes a message of {size} bytes")
