"""Lines of text: JSON, for a terminal, for sd-daemon(3) and for syslog; the journal's own entries are in `journal`.

Each format is a chain of structlog's processors that ends in bytes.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import structlog

from zqd.logs.levels import PRIORITIES


def json_lines() -> list[Any]:
    """Of programs: `timestamp`, `level`, `event`, then the fields as they are."""
    return [
        _headed,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str),
        _encoded,
    ]


def console_lines(*, colors: bool) -> list[Any]:
    """Of people. Tracebacks are the plain ones, wherever `rich` is installed: those show locals, and so messages."""
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return [_headed, _harmless, renderer, _encoded]


def prefixed_lines() -> list[Any]:
    """`<priority>event key=value …`, as journald reads it from a service's stderr (sd-daemon(3))."""
    return [structlog.processors.format_exc_info, _prefixed_line, _encoded]


def plain_lines() -> list[Any]:
    """`event key=value …`, for a sink that has a place of its own for time and priority."""
    return [structlog.processors.format_exc_info, _plain_line, _encoded]


def fault_of(exc_info: Any) -> BaseException | None:
    """What structlog's `exc_info` stands for: an exception, sys.exc_info()'s tuple, or True for the one being handled."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info is True:
        exc_info = sys.exc_info()[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def _headed(_: Any, level: str, event: dict[str, Any]) -> dict[str, Any]:
    """When, how bad and what first, then the fields."""
    now = time.time()
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    return {"timestamp": timestamp, "level": level, "event": event.pop("event"), **event}


def _harmless(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Nothing that a peer chose can begin another line, or give orders to a terminal."""
    fault = fault_of(event.pop("exc_info", None))
    told = {
        key: repr(value) if isinstance(value, str) and not value.isprintable() else value
        for key, value in event.items()
    }
    if fault is not None:  # in the form that structlog 22 knows too
        told["exc_info"] = (type(fault), fault, fault.__traceback__)
    return told


def _prefixed_line(_: Any, level: str, event: dict[str, Any]) -> str:
    priority = PRIORITIES[level]
    return "\n".join(f"<{priority}>{line}" for line in _plain_line(_, level, event).split("\n"))


def _plain_line(_: Any, __: str, event: dict[str, Any]) -> str:
    name, exception = event.pop("event"), event.pop("exception", None)
    words = [str(name), *(f"{key}={_word(value)}" for key, value in event.items())]
    return "\n".join([" ".join(words), *(exception.splitlines() if exception else [])])


def _word(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(' "=') else repr(text)


def _encoded(_: Any, __: str, text: str) -> bytes:
    # A lone surrogate, as an undecodable file name brings, becomes an escape.
    return text.encode("utf-8", "backslashreplace")
