from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest
import structlog

from tests.logs.receivers import Pipe, Receiver
from zqd.errors import UnavailableError
from zqd.logs import EventLog, configure, current_level, reopen, set_level


def claim_journal(monkeypatch: pytest.MonkeyPatch, fd: int) -> None:
    """Let JOURNAL_STREAM name this descriptor, as systemd does it."""
    status = os.fstat(fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")


# The format


def test_auto_under_systemd(pipe: Pipe, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is the one that JOURNAL_STREAM names, entries go to the journal itself."""
    claim_journal(monkeypatch, pipe.fd)
    configure("info", "auto", fd=pipe.fd, journal=receiver.path)
    EventLog()("worker.joined", {})
    assert [entry["ZQD_EVENT"] for entry in receiver.entries()] == ["worker.joined"]
    assert pipe.lines() == []


@pytest.mark.parametrize("log_format", ["auto", "journal"])
def test_journal_that_cannot_be_reached(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_format: str
) -> None:
    """Then stderr gets lines with a priority, which journald reads too."""
    claim_journal(monkeypatch, pipe.fd)
    configure("info", log_format, fd=pipe.fd, journal=str(tmp_path / "nothing"))
    EventLog()("worker.joined", {})
    assert pipe.lines() == ["<6>worker.joined"]


@pytest.mark.parametrize("stream", [None, "8:1", "nonsense"])
def test_auto_for_a_pipe(
    pipe: Pipe, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    """Any other pipe or file gets JSON lines, also where an inherited JOURNAL_STREAM names another."""
    if stream is None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    else:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    configure("info", "auto", fd=pipe.fd, journal=receiver.path)
    EventLog()("worker.joined", {})
    assert json.loads(pipe.lines()[0])["event"] == "worker.joined"
    assert receiver.datagrams() == []


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("", True), ("1", False), ("0", False)])
def test_auto_for_a_terminal(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, no_color: str | None, coloured: bool
) -> None:
    """A terminal gets lines for people, in colour unless NO_COLOR is set and not empty (no-color.org)."""
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    configure("info", "auto", fd=theirs)
    EventLog()("worker.joined", {"worker": "w1"})
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    os.close(theirs)
    assert "worker.joined" in text
    assert ("\x1b[" in text) == coloured


def test_closed_descriptor() -> None:
    """With the descriptor closed from the start, the format is chosen and nothing is written."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    configure("info", "auto", fd=writing)
    EventLog()("worker.joined", {})


# The target


def test_stderr_is_the_default(capfd: pytest.CaptureFixture[str]) -> None:
    """Lines go to descriptor 2, whatever sys.stderr is."""
    configure("info", "json")
    EventLog()("worker.joined", {})
    assert json.loads(capfd.readouterr().err)["event"] == "worker.joined"


@pytest.mark.parametrize("log_format", ["auto", "journal"])
def test_syslog(receiver: Receiver, log_format: str) -> None:
    """The syslog gets the plain line; it has a place of its own for the priority."""
    configure("info", log_format, "syslog", identifier="zqd-worker", syslog=receiver.path)
    EventLog()("worker.lost", {"worker": "w1"})
    ((data, _),) = receiver.datagrams()
    assert data.decode() == f"<28>zqd-worker[{os.getpid()}]: worker.lost worker=w1"


def test_syslog_in_json(receiver: Receiver) -> None:
    """Or JSON, where one asks for it."""
    configure("info", "json", "syslog", syslog=receiver.path)
    EventLog()("worker.lost", {"worker": "w1"})
    ((data, _),) = receiver.datagrams()
    assert json.loads(data.partition(b": ")[2])["worker"] == "w1"


@pytest.mark.parametrize(
    ("log_format", "beginning"), [("auto", '{"timestamp"'), ("journal", "<6>worker.joined"), ("console", "2")]
)
def test_file(tmp_path: Path, log_format: str, beginning: str) -> None:
    """A file gets JSON lines, or what one asks for."""
    path = tmp_path / "zqd.log"
    configure("info", log_format, str(path))
    EventLog()("worker.joined", {})
    assert path.read_text().startswith(beginning)
    assert path.read_text().endswith("\n")


def test_file_that_cannot_be_opened(tmp_path: Path, pipe: Pipe) -> None:
    """It is one clear line, and the log goes on where it went before."""
    configure("info", "json", fd=pipe.fd)
    with pytest.raises(
        UnavailableError, match=r"^cannot write the log file .*/no/log: No such file or direc"
    ):
        configure("info", "auto", str(tmp_path / "no" / "log"))
    EventLog()("worker.joined", {})
    assert len(pipe.lines()) == 1


@pytest.mark.parametrize("target", ["zqd.log", "", "stdout"])
def test_no_target(target: str) -> None:
    """Anything else is refused with a clear line."""
    with pytest.raises(UnavailableError, match=r"^log target '.*': expected stderr, syslog or the absolute"):
        configure("info", "auto", target)


def test_reopen(tmp_path: Path) -> None:
    """After the file was moved away the log goes on in a new one."""
    path = tmp_path / "zqd.log"
    configure("info", "json", str(path))
    log = EventLog()
    log("worker.joined", {})
    path.rename(tmp_path / "zqd.log.1")
    reopen()
    log("worker.left", {})
    assert json.loads(path.read_text())["event"] == "worker.left"


def test_reopen_without_a_file(pipe: Pipe) -> None:
    """Elsewhere it does nothing."""
    configure("info", "json", fd=pipe.fd)
    reopen()
    EventLog()("worker.joined", {})
    assert len(pipe.lines()) == 1


def test_lost_lines_are_told(pipe: Pipe) -> None:
    """Lines that a full pipe did not take are counted, in the format of all lines."""
    configure("info", "json", fd=pipe.fd)
    log = structlog.get_logger()
    for _ in range(2000):
        log.info("worker.joined", name="x" * 100)
    came = pipe.lines()
    log.info("worker.left")
    lost, left = pipe.lines()
    told = json.loads(lost)
    assert (told["event"], told["level"], len(came) + told["lines"]) == ("log.lost", "warning", 2000)
    assert json.loads(left)["event"] == "worker.left"


def test_configured_again(tmp_path: Path, pipe: Pipe) -> None:
    """A logger that exists already goes the new way, and the file of the old one is closed."""
    configure("info", "json", str(tmp_path / "zqd.log"))
    before = len(os.listdir("/proc/self/fd"))
    log = EventLog()
    configure("info", "journal", fd=pipe.fd, journal="/nowhere")
    log("worker.joined", {})
    assert pipe.lines() == ["<6>worker.joined"]
    assert len(os.listdir("/proc/self/fd")) == before - 1


# The level


def test_level_is_switched(pipe: Pipe) -> None:
    """For loggers that exist already too, bound or not."""
    configure("info", "journal", fd=pipe.fd, journal="/nowhere")
    log, bound = EventLog(), structlog.get_logger().bind(queue="q")

    def say() -> list[str]:
        log("client.joined", {})
        log("worker.joined", {})
        bound.debug("client.left")
        bound.error("accept.failed")
        return pipe.lines()

    assert say() == ["<6>worker.joined", "<3>accept.failed queue=q"]
    set_level("debug")
    assert say() == [
        "<7>client.joined",
        "<6>worker.joined",
        "<7>client.left queue=q",
        "<3>accept.failed queue=q",
    ]
    set_level("error")
    assert say() == ["<3>accept.failed queue=q"]
    assert current_level() == "error"


@pytest.mark.parametrize("level", ["loud", "", "INFO"])
def test_no_level(pipe: Pipe, level: str) -> None:
    """A level that does not exist is refused, and the one before stays."""
    configure("warning", "json", fd=pipe.fd)
    with pytest.raises(ValueError, match=f"^log level '{level}': expected debug, info, warning, error$"):
        set_level(level)
    assert current_level() == "warning"
