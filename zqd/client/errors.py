"""Why a request got no answer: an exception for each failure code of zqd(7), and for what the client finds out itself.

Called by: `session`, which makes them, and by programs, which catch them.
"""

# ruff: noqa: N818 - a failure's name says what has happened, as the failures of zqd(7) do

from __future__ import annotations

from zqd.errors import FailureCode


class RequestError(Exception):
    """A request without an answer. Base of all below, and itself the class of a code that this version does not know."""

    def __init__(self, code: int, reason: str, endpoint: str | None = None) -> None:
        super().__init__(int(code), reason, endpoint)  # the arguments once more, for pickle
        self.code = int(code)
        """A failure code (zqd(7), "Failures")."""
        self.reason = reason
        """One line for people."""
        self.endpoint = endpoint
        """Which broker said so; None where the client itself gave up, and no broker said anything."""

    def __str__(self) -> str:
        place = f" ({self.endpoint})" if self.endpoint else ""
        return f"{self.code} {self.reason}{place}"


class BadOptions(RequestError):
    """400: the broker does not take the request's options."""


class TooLarge(RequestError):
    """413: the request is larger than the broker's `max_message_size`.

    One of more than 16 times that is a `BrokerLost` instead: the broker ends the connection, which the client's other
    requests share, and does so each time that it is sent (zqd(7), rule 15).
    """


class Cancelled(RequestError):
    """499: an operator cancelled the request (`zqctl cancel`)."""


class HandlerFailed(RequestError):
    """500: the worker says that it could not do it; `reason` is the worker's."""


class WorkerLost(RequestError):
    """502: every worker that had it died, or one broke the protocol. It may have been done."""


class Busy(RequestError):
    """503: the broker's queue is full, or it is stopping."""


class TimedOut(RequestError, TimeoutError):
    """504: no answer in time. It may have been done, or still be. `endpoint` is None if the client's own time ran out."""


class Unreachable(TimedOut):
    """There was no connection to any broker: the request was not sent. `reason` says why, as far as that is known.

    Either the time ran out before there was one; or, at once, every broker refuses the connection: it does not know this
    client's key, or `server_key` is not its key, or only one side uses CURVE. The client asks again for the next request,
    at most once a second, so that it gets in when the key has been authorized.
    """


class BrokerLost(RequestError):
    """502: the connection to the broker broke after the request was sent, as often as it may be sent. It may have been done."""


class ManyFrames(RequestError):
    """The answer to `request(bytes)` has several frames, which are in `frames`: ask with `request([body])`."""

    frames: list[bytes]


class ClosedError(RequestError):
    """The client was closed, before or during the request."""


OF_CODE: dict[int, type[RequestError]] = {
    FailureCode.BAD_OPTIONS: BadOptions,
    FailureCode.TOO_LARGE: TooLarge,
    FailureCode.CANCELLED: Cancelled,
    FailureCode.HANDLER_FAILED: HandlerFailed,
    FailureCode.WORKER_LOST: WorkerLost,
    FailureCode.NO_CAPACITY: Busy,
    FailureCode.TIMED_OUT: TimedOut,
}
"""The exception of each code that travels; a test holds it against `FailureCode`."""


def failure(code: int, reason: str, endpoint: str) -> RequestError:
    """The exception for a failure that the broker at `endpoint` told."""
    return OF_CODE.get(code, RequestError)(code, reason, endpoint)
