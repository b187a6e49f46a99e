"""What a program hands to a client, checked at once: TypeError or ValueError, one sentence that says what is expected.

Pure. Called by: `blocking`, `tasks`.
"""

from __future__ import annotations

import enum
import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from zqd.client.errors import ManyFrames
from zqd.core.request import HIGHEST_PRIORITY, LOWEST_PRIORITY, MAX_ATTEMPTS
from zqd.endpoints import MAX_PATH
from zqd.errors import FailureCode

DEFAULT_TIMEOUT = 30.0  # seconds
DEFAULT_HEARTBEAT = 20.0  # seconds
MAX_SECONDS = 1_000_000.0  # what `timeout_ms` can say (rule 25), and far below what libzmq can

Message = bytes | bytearray | memoryview | Sequence[bytes]
"""A body, or the frames of a request."""

_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:%_\[\]-]*")  # what libzmq takes for one

BODY = (bytes, bytearray, memoryview)


class Own(enum.Enum):
    """For an argument whose None means something: nothing was said, the client's own value holds."""

    VALUE = enum.auto()


OWN: Final = Own.VALUE


class Wishes(NamedTuple):
    """How a request is to be treated."""

    timeout: float | None = DEFAULT_TIMEOUT  # seconds, None for ever
    attempts: int | None = None
    priority: int | None = None

    def changed(self, timeout: float | Own | None, attempts: int | None, priority: int | None) -> Wishes:
        """These, with what one request says in place of them, checked."""
        if timeout is OWN and attempts is None and priority is None:
            return self
        return Wishes(
            self.timeout if isinstance(timeout, Own) else _seconds("timeout", timeout),
            self.attempts if attempts is None else _number("attempts", attempts, 1, MAX_ATTEMPTS),
            self.priority
            if priority is None
            else _number("priority", priority, LOWEST_PRIORITY, HIGHEST_PRIORITY),
        )


def frames_of(message: object) -> list[bytes]:
    """The frames of a `Message`."""
    if isinstance(message, BODY):
        return [bytes(message)]
    if isinstance(message, str):
        raise TypeError("a request is bytes, not str: encode it, as in text.encode()")
    if not isinstance(message, Sequence):
        raise TypeError(f"a request is bytes or a list of bytes, not {type(message).__name__}")
    if not message:
        raise ValueError("a request needs at least one frame; an empty one is b''")
    return [_frame(place, frame) for place, frame in enumerate(message)]


def _frame(place: int, frame: object) -> bytes:
    if isinstance(frame, BODY):
        return bytes(frame)
    hint = ": encode it" if isinstance(frame, str) else ""
    raise TypeError(f"frame {place} of a request is bytes, not {type(frame).__name__}{hint}")


def single_frame(reply: list[bytes]) -> bytes:
    """The answer to a request of one body; `ManyFrames` if it is more than that."""
    if len(reply) == 1:
        return reply[0]
    error = ManyFrames(
        FailureCode.WORKER_LOST, f"the answer has {len(reply)} frames: ask with request([body])"
    )
    error.frames = reply
    raise error


def endpoints_of(endpoints: object) -> tuple[str, ...]:
    """The endpoints of the brokers, the preferred one first."""
    if isinstance(endpoints, BODY):
        raise TypeError("an endpoint is str, not bytes")
    if isinstance(endpoints, str):
        endpoints = [endpoints]
    if not isinstance(endpoints, Iterable):
        raise TypeError(f"expected an endpoint or a list of them, not {type(endpoints).__name__}")
    checked = tuple(map(_endpoint, endpoints))
    if not checked:
        raise ValueError("the list of endpoints is empty: expected at least one, as in tcp://127.0.0.1:5559")
    if len(set(checked)) < len(checked):
        raise ValueError(f"an endpoint is there twice: {', '.join(checked)}")
    return checked


def _endpoint(endpoint: object) -> str:
    if not isinstance(endpoint, str):
        raise TypeError(f"an endpoint is str, not {type(endpoint).__name__}")
    scheme, _, rest = endpoint.partition("://")
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        if host == "*":
            raise ValueError(f"{endpoint!r} is no place to connect to: name the host in place of *")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(
                f"{endpoint!r} is incomplete: expected tcp://HOST:PORT, the port from 1 to 65535"
            )
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"{endpoint!r}: an IPv6 address stands in brackets, as in tcp://[::1]:{port}")
        if not _HOST.fullmatch(host):
            raise ValueError(f"{endpoint!r}: {host!r} is no name or address of a host")
    elif scheme == "ipc":
        if rest in {"", "@"} or "\0" in rest:
            raise ValueError(f"{endpoint!r} has no path: expected ipc:///PATH")
        if len(os.fsencode(rest)) > MAX_PATH:
            raise ValueError(
                f"{endpoint!r} is too long: the path of a unix socket has at most {MAX_PATH} bytes"
            )
    else:
        raise ValueError(f"{endpoint!r} is no endpoint: expected tcp://HOST:PORT or ipc:///PATH")
    return endpoint


def heartbeat_of(seconds: float | None) -> float | None:
    """The heartbeat, checked."""
    return _seconds("heartbeat", seconds)


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, or None, not {type(value).__name__}")
    if math.isnan(value) or not 0 < value <= MAX_SECONDS:
        raise ValueError(
            f"{name}={value!r}: expected more than 0 seconds, at most {MAX_SECONDS:.0f}; None is no limit"
        )
    return float(value)


def _number(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name}={value}: expected {least} to {most}")
    return value
