from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

import pytest

from tests.logs.receivers import Pipe, Receiver
from zqd.errors import UnavailableError
from zqd.logs.sinks import LONG_LINE, Lines, LogFile, Output, Syslog


class Capricious:
    """A sink that takes only as many entries as it is told to."""

    def __init__(self) -> None:
        self.room = 0
        self.taken: list[tuple[int, bytes]] = []

    def write(self, priority: int, entry: bytes) -> bool:
        """Take it if there is room."""
        if self.room:
            self.room -= 1
            self.taken.append((priority, entry))
            return True
        return False

    def close(self) -> None:
        """Nothing."""


# Output


def test_output_tells_what_was_lost() -> None:
    """The first entry that goes through after a loss is preceded by the count, a warning; then all is as before."""
    sink = Capricious()
    output = Output(sink, lambda lost: b"lost %d" % lost)
    output.info(b"a")
    output.error(b"b")
    sink.room = 3
    output.info(b"c")
    output.debug(b"d")
    assert sink.taken == [(4, b"lost 2"), (6, b"c"), (7, b"d")]


def test_output_that_can_only_tell_the_loss() -> None:
    """Where there is room for the count alone, the entry after it counts as lost in its turn."""
    sink = Capricious()
    output = Output(sink, lambda lost: b"lost %d" % lost)
    output.info(b"a")
    sink.room = 1
    output.info(b"b")
    output.info(b"c")
    sink.room = 2
    output.info(b"d")
    assert [entry for _, entry in sink.taken] == [b"lost 1", b"lost 2", b"d"]


# Lines


def test_full_disk() -> None:
    """A line that a full disk does not take is given up."""
    full = os.open("/dev/full", os.O_WRONLY)
    assert not Lines(full).write(6, b"line")
    os.close(full)


def test_closed_pipe() -> None:
    """So is one whose reader has gone, and one whose descriptor has."""
    reading, writing = os.pipe()
    os.close(reading)
    lines = Lines(writing)
    assert not lines.write(6, b"line")
    os.close(writing)
    assert not lines.write(6, b"line")


@pytest.mark.parametrize("blocking", [True, False])
def test_full_pipe(pipe: Pipe, blocking: bool) -> None:
    """A pipe that nobody reads is not waited for, and the line that was torn does not spoil the next one."""
    os.set_blocking(pipe.fd, blocking)
    lines = Lines(pipe.fd)
    assert not lines.write(6, b"x" * (1 << 20))
    assert not lines.write(6, b"lost")
    assert set(pipe.lines()[0]) == {"x"}
    assert lines.write(6, b"next")
    assert lines.write(6, b"one more")
    assert pipe.lines() == ["", "next", "one more"]


def test_full_socket() -> None:
    """So is a socket, as the journal's stream is."""
    reading, writing = socket.socketpair()
    lines = Lines(writing.fileno())
    assert sum(lines.write(6, b"x" * 999) for _ in range(10_000)) < 10_000
    reading.close()
    assert not lines.write(6, b"nobody there")
    writing.close()


# Files


def test_file_is_appended_to(tmp_path: Path) -> None:
    """What stood in it stays, and others than owner and group may not read a new one."""
    path = tmp_path / "zqd.log"
    old = os.umask(0o022)
    for line in (b"one", b"two"):
        file = LogFile(str(path))
        assert file.write(6, line)
        file.close()
    os.umask(old)
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_file_that_was_moved_away(tmp_path: Path) -> None:
    """After `reopen` lines go to a new file at the path; until then to the old one."""
    path = tmp_path / "zqd.log"
    file = LogFile(str(path))
    file.write(6, b"one")
    path.rename(tmp_path / "zqd.log.1")
    file.write(6, b"two")
    file.reopen()
    file.write(6, b"three")
    file.close()
    assert (tmp_path / "zqd.log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_file_that_cannot_be_opened_again(tmp_path: Path) -> None:
    """It is one clear line, and the log goes on in the old file."""
    path = tmp_path / "zqd.log"
    file = LogFile(str(path))
    path.rename(tmp_path / "zqd.log.1")
    path.mkdir()
    with pytest.raises(
        UnavailableError, match=f"^cannot write the log file {re.escape(str(path))}: Is a directory$"
    ):
        file.reopen()
    assert file.write(6, b"still here")
    file.close()
    assert (tmp_path / "zqd.log.1").read_text() == "still here\n"


def test_file_that_was_closed(tmp_path: Path) -> None:
    """Nothing is written to whoever has its number now."""
    file = LogFile(str(tmp_path / "zqd.log"))
    file.close()
    other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    assert not file.write(6, b"line")
    file.close()
    os.write(other, b"mine")  # it is still open
    os.close(other)
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_fifo_without_a_reader(tmp_path: Path) -> None:
    """It is an error at once, and not waited for."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnavailableError, match="No such device or address"):
        LogFile(str(tmp_path / "fifo"))


# Syslog


def test_syslog(receiver: Receiver) -> None:
    """A datagram for each line, with the facility of daemons, the priority, the program and its pid."""
    syslog = Syslog(receiver.path, "zqd")
    assert syslog.write(4, b"worker.lost worker=w3")
    assert syslog.write(3, b"zqd.fault\nTraceback")
    syslog.close()
    head = f"zqd[{os.getpid()}]: "
    assert [data.decode() for data, _ in receiver.datagrams()] == [
        f"<28>{head}worker.lost worker=w3",
        f"<27>{head}zqd.fault",
        f"<27>{head}Traceback",
    ]


def test_syslog_that_goes_and_comes_back(receiver: Receiver) -> None:
    """It is not waited for, whether its socket's file is gone or not, and gets lines again as soon as it is there."""
    syslog = Syslog(receiver.path, "zqd")
    receiver.stop(unlink=False)
    assert not syslog.write(6, b"refused")
    os.unlink(receiver.path)
    assert not syslog.write(6, b"no such file")
    receiver.start()
    assert syslog.write(6, b"again")
    syslog.close()
    ((data, _),) = receiver.datagrams()
    assert data.endswith(b": again")


def test_syslog_that_does_not_read(receiver: Receiver) -> None:
    """What its queue does not take is lost."""
    syslog = Syslog(receiver.path, "zqd")
    taken = sum(syslog.write(6, b"x" * 500) for _ in range(5000))
    assert 0 < taken < 5000
    assert len(receiver.datagrams()) == taken
    syslog.close()


def test_line_that_is_too_long_for_syslog(receiver: Receiver) -> None:
    """It is cut to what every syslog takes."""
    syslog = Syslog(receiver.path, "zqd")
    assert syslog.write(6, b"x" * (8 << 20))
    ((data, _),) = receiver.datagrams()
    assert len(data) == LONG_LINE
    syslog.close()
    assert not syslog.write(6, b"closed")
