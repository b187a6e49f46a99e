"""What a command comes to besides a result: a refusal, or an answer that comes later.

Layer 3. Called by: `commands` and the commands themselves, `server`, `waiters`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable


class Code(enum.StrEnum):
    """What kind of refusal an error reply is, for programs; its sentence is for people."""

    UNKNOWN_COMMAND = "unknown-command"
    BAD_REQUEST = "bad-request"
    BAD_ARGUMENT = "bad-argument"
    UNSUPPORTED_PROTOCOL = "unsupported-protocol"
    NOT_PERMITTED = "not-permitted"
    FAILED = "failed"


class CommandError(Exception):
    """A request that is refused with `code` and one sentence; raised by dispatch, and by commands for their operator."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Later:
    """An answer that comes when its work is done; a command returns it in place of a result.

    The broker keeps it and calls `finish` or `fail` once; whatever comes after the first is ignored, as the server gives up
    those that outlive it. `done` tells the broker that nobody waits any more.
    """

    __slots__ = ("_deliver", "_outcome", "abandoned", "done")

    def __init__(self) -> None:
        self.done = False
        self.abandoned: Callable[[], bool] = lambda: False
        """Whether who asked has hung up, where the server can tell; then the broker had better fail it."""
        self._outcome: object = None
        self._deliver: Callable[[object], None] | None = None

    def finish(self, result: object) -> None:
        """Answer with `result`."""
        self._complete(result)

    def fail(self, sentence: str, code: Code = Code.FAILED) -> None:
        """Answer that it went wrong."""
        self._complete(CommandError(code, sentence))

    def deliver_to(self, deliver: Callable[[object], None]) -> None:
        """Hand the outcome, a result or a `CommandError`, to `deliver`: now if it is there, else when it comes."""
        if self.done:
            deliver(self._outcome)
        else:
            self._deliver = deliver

    def _complete(self, outcome: object) -> None:
        if self.done:
            return
        self.done = True
        if self._deliver is None:
            self._outcome = outcome
        else:
            self._deliver(outcome)
