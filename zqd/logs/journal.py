"""The journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): an entry is one datagram of fields.

So `journalctl -u zqd ZQD_EVENT=worker.lost -o verbose` answers questions. MESSAGE is for people (`zqd.events`), MESSAGE_ID
leads to the explanation of `journalctl -x` (systemd/zqd.catalog), and every field of the event is a ZQD_… of its own.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import re
import sys
import traceback
from types import CodeType
from typing import Any

from zqd.events import EVENTS, message, shown
from zqd.logs.formats import fault_of
from zqd.logs.levels import PRIORITIES
from zqd.logs.sinks import Datagrams

JOURNAL_SOCKET = "/run/systemd/journal/socket"
LONGEST_NAME = 64  # characters of a field's name; the journal ignores longer ones
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
NAMES = {"request": "ZQD_REQUEST_ID"}
"""Of fields whose name in the journal is not just theirs in upper case."""

_HANDED_ON_BY = {"note", "_tell"}  # functions that log for their callers


class Journal:
    """The sink of such entries."""

    def __init__(self, path: str) -> None:
        self._datagrams = Datagrams(path)

    def write(self, priority: int, entry: bytes) -> bool:
        """Send an entry, through a file in memory where it is too large for a datagram."""
        try:
            self._datagrams.send(entry)
        except OSError as error:
            return error.errno in {errno.EMSGSIZE, errno.ENOBUFS} and self._send_sealed(entry)
        return True

    def close(self) -> None:
        """The socket."""
        self._datagrams.close()

    def _send_sealed(self, entry: bytes) -> bool:
        try:
            with open(os.memfd_create("zqd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
                file.write(entry)
                file.flush()
                fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
                self._datagrams.send_descriptor(file.fileno())
        except OSError:
            return False
        return True


class Entries:
    """The format: the last processor of structlog's chain."""

    def __init__(self, identifier: str) -> None:
        self._identifier = identifier

    def __call__(self, _: Any, level: str, event: dict[str, Any]) -> bytes:
        """An event as the bytes of an entry."""
        name, fault = str(event.pop("event")), fault_of(event.pop("exc_info", None))
        text = message(name, event)
        lines = [
            f"PRIORITY={PRIORITIES[level]}",
            f"SYSLOG_IDENTIFIER={self._identifier}",
            "SYSLOG_FACILITY=3",
            f"ZQD_EVENT={name}",
        ]
        if name in EVENTS:
            lines.append(f"MESSAGE_ID={EVENTS[name].id}")
        long: list[tuple[str, str]] = []
        if fault is not None:
            trace = "".join(traceback.format_exception(fault)).rstrip("\n")
            long.append(("ZQD_TRACEBACK", trace))
            text = f"{text}\n{trace}"
        code, line = _place(fault)
        lines += [f"CODE_FILE={code.co_filename}", f"CODE_LINE={line}", f"CODE_FUNC={code.co_qualname}"]
        for key, value in [
            ("MESSAGE", text),
            *((_name(key), shown(event[key])) for key in event if event[key] is not None),
        ]:
            if "\n" in value:
                long.append((key, value))
            else:
                lines.append(f"{key}={value}")
        lines.append("")
        return _encoded("\n".join(lines)) + b"".join(
            _with_length(key, _encoded(value)) for key, value in long
        )


def _with_length(name: str, value: bytes) -> bytes:
    """A field whose value has newlines."""
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


@functools.cache
def _name(field: str) -> str:
    return NAMES.get(field) or "ZQD_" + re.sub(r"[^A-Z0-9_]", "_", field.upper())[: LONGEST_NAME - 4]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _place(fault: BaseException | None) -> tuple[CodeType, int]:
    """Where a fault arose; else who logged.

    The core's notices are logged once a turn by whoever carries them out (`zqd.net.device`), and that is what is told:
    to ask each notice for its place as it is made would cost on the data path.
    """
    if fault is not None and fault.__traceback__ is not None:
        trace = fault.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        return trace.tb_frame.f_code, trace.tb_lineno
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_name in _HANDED_ON_BY
        or frame.f_globals.get("__name__", "").startswith(("zqd.logs.", "structlog."))
    ):
        frame = frame.f_back
    return frame.f_code, frame.f_lineno
