"""Logging: the one place that configures structlog, and the way of every event from its source to a line.

A line that cannot be written (a full disk, a closed pipe, a reader that does not read) is given up; the broker goes on. Storms are folded: more than
FOLD_AFTER events of one name within a second are counted and told in one line.

Layer 4. Called by: `daemon`.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

import structlog

from zqd.events import EVENTS, Event

FOLD_AFTER = 20  # events of one name within a second that are logged one by one
_UNKNOWN = Event("info", "")
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # sd-daemon(3)
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Lines:
    """A stream of lines on a descriptor that neither raises nor waits: what cannot be written now is lost.

    The descriptor stays as it is: others have it too, and would be surprised by O_NONBLOCK.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._torn = False  # the last line was written in part

    def write(self, text: str) -> int:
        """Write all of `text`, or as much as the descriptor takes."""
        data = memoryview(("\n" * self._torn + text).encode("utf-8", "backslashreplace"))
        try:
            # A pipe that is ready takes PIPE_BUF bytes without waiting (pipe(7)), a socket more than that.
            while data and self._poll.poll(0):
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
                self._torn = bool(data)
        except OSError:
            pass
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def configure(level: str, log_format: str, fd: int = 2) -> None:
    """Configure structlog for the whole process: `level` and `log_format` as `zqd --help` names them, lines to `fd`."""
    if log_format == "auto":
        log_format = _suitable(fd)
    shared: list[Any] = [_headed]
    renderers: dict[str, list[Any]] = {
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)],
        "console": [structlog.dev.ConsoleRenderer(colors=os.isatty(fd) and "NO_COLOR" not in os.environ)],
        "journal": [structlog.processors.format_exc_info, _journal_line],
    }
    structlog.configure(
        processors=shared + renderers[log_format],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(Lines(fd)),  # type: ignore[arg-type]  # it only writes and flushes
        cache_logger_on_first_use=False,
    )


class EventLog:
    """Takes the events of all devices; `clock` is monotonic and only measures storms."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = structlog.get_logger()
        self._clock = clock
        self._second = 0.0
        self._seen: dict[str, int] = {}
        self.call_at: Callable[[float, Callable[[], None]], object] | None = None
        """Calls back at a time of the clock: so a storm is told even if no other event follows it."""

    def __call__(self, name: str, fields: dict[str, object]) -> None:
        """Log one event with its own level."""
        level = EVENTS.get(name, _UNKNOWN).level
        now = self._clock()
        if now - self._second >= 1:
            self.fold()
            self._second = now
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        if seen <= FOLD_AFTER or level == "debug":
            getattr(self._log, level)(name, **fields)
        elif seen == FOLD_AFTER + 1 and self.call_at is not None:
            self.call_at(now + 1, self.fold)

    def fold(self) -> None:
        """Tell what was left out since the last time."""
        seen, self._seen = self._seen, {}
        for name, count in seen.items():
            if count > FOLD_AFTER and EVENTS.get(name, _UNKNOWN).level != "debug":
                self._log.warning("events.folded", of=name, more=count - FOLD_AFTER)

    def fault(self, fault: BaseException) -> None:
        """A fault of ours, with its traceback."""
        self._log.error("zqd.fault", exc_info=fault)


def _suitable(fd: int) -> str:
    """`journal` where the descriptor is the journal's (systemd.exec(5), JOURNAL_STREAM), `console` on a terminal."""
    try:
        status = os.fstat(fd)
    except OSError:
        return "json"
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return "journal"
    return "console" if os.isatty(fd) else "json"


def _headed(_: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
    """When, how bad and what first, then the fields."""
    now = time.time()
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    return {"timestamp": timestamp, "level": level, "event": event.pop("event"), **event}


def _journal_line(_: Any, __: str, event: dict[str, Any]) -> str:
    """`<priority>event key=value …`, as journald reads it from a service's stderr (sd-daemon(3))."""
    event.pop("timestamp")
    priority = _PRIORITIES.get(event.pop("level"), 6)
    name, exception = event.pop("event"), event.pop("exception", None)
    words = [str(name), *(f"{key}={_word(value)}" for key, value in event.items())]
    lines = [" ".join(words), *(exception.splitlines() if exception else [])]
    return "\n".join(f"<{priority}>{line}" for line in lines)


def _word(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(' "=') else repr(text)
