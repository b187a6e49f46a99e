"""The one place that configures structlog, and what can be changed about it while the program runs."""

from __future__ import annotations

import os
import socket
from typing import Any

import structlog

from zqd.errors import UnavailableError
from zqd.logs import formats
from zqd.logs.journal import JOURNAL_SOCKET, Entries, Journal
from zqd.logs.levels import THRESHOLD, only_enabled
from zqd.logs.sinks import SYSLOG_SOCKET, Lines, LogFile, Output, Sink, Syslog


class _Now:
    sink: Sink | None = None


def configure(
    level: str,
    log_format: str,
    target: str = "stderr",
    *,
    identifier: str = "zqd",
    fd: int = 2,
    journal: str = JOURNAL_SOCKET,
    syslog: str = SYSLOG_SOCKET,
) -> None:
    """Configure structlog for the whole process; after forking and detaching, for it may open a socket or a file.

    `level` and `log_format` as `zqd --help` names them. `target` is `stderr` (that is `fd`), `syslog` or the absolute path
    of a file: UnavailableError where that cannot be written. `identifier` is the program's name in journal and syslog.
    """
    THRESHOLD.set(level)
    sink, processors = _chosen(log_format, target, identifier, fd, journal, syslog)
    structlog.configure(
        processors=[only_enabled, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=_Factory(Output(sink, lambda lost: _rendered(processors, "log.lost", lines=lost))),
        cache_logger_on_first_use=False,  # so that loggers that exist already go the new way too
    )
    if _Now.sink is not None:
        _Now.sink.close()
    _Now.sink = sink


def set_level(level: str) -> None:
    """Log from this level on, now and by every logger; ValueError where there is no such level."""
    THRESHOLD.set(level)


def current_level() -> str:
    """As `configure` or `set_level` had it last."""
    return THRESHOLD.level


def reopen() -> None:
    """After the log file was moved away: begin a new one. UnavailableError: it goes on in the old one.

    Does nothing where the log is no file.
    """
    if isinstance(_Now.sink, LogFile):
        _Now.sink.reopen()


class _Factory:
    """Gives every logger the same output."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, *_: Any) -> Output:
        return self._output


def _chosen(
    log_format: str, target: str, identifier: str, fd: int, journal: str, syslog: str
) -> tuple[Sink, list[Any]]:
    """The sink, and the chain of processors that makes its entries."""
    if target == "syslog":
        plain = log_format in {"auto", "journal"}
        return Syslog(syslog, identifier), formats.plain_lines() if plain else _lines(log_format)
    if target.startswith("/"):
        return LogFile(target), _lines("json" if log_format == "auto" else log_format)
    if target != "stderr":
        raise UnavailableError(
            f"log target {target!r}: expected stderr, syslog or the absolute path of a file"
        )
    if log_format == "auto":
        log_format = _suitable(fd)
    if log_format == "journal" and _listens(journal):
        return Journal(journal), [Entries(identifier)]
    return Lines(fd), _lines(log_format, colors=os.isatty(fd) and not os.environ.get("NO_COLOR"))


def _lines(log_format: str, *, colors: bool = False) -> list[Any]:
    if log_format == "json":
        return formats.json_lines()
    if log_format == "console":
        return formats.console_lines(colors=colors)
    return formats.prefixed_lines()


def _suitable(fd: int) -> str:
    """`journal` where the descriptor is the journal's (systemd.exec(5), JOURNAL_STREAM), `console` on a terminal."""
    try:
        status = os.fstat(fd)
    except OSError:
        return "json"
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return "journal"
    return "console" if os.isatty(fd) else "json"


def _listens(path: str) -> bool:
    """Whether the journal can be had here: a service may be shut off from it, by a directory or by a filter of calls."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(path)
    except OSError:
        return False
    return True


def _rendered(processors: list[Any], name: str, **fields: object) -> bytes:
    """The entry of a warning of our own."""
    entry: Any = {"event": name, **fields}
    for processor in processors:
        entry = processor(None, "warning", entry)
    assert isinstance(entry, bytes)
    return entry
