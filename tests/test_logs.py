from __future__ import annotations

import json
import os
import pty
import re
import socket
from collections.abc import Iterator

import pytest
import structlog

from zqd.events import EVENTS
from zqd.logs import FOLD_AFTER, LEVELS, EventLog, Lines, configure


class Pipe:
    """Where the log goes, and what came there."""

    def __init__(self) -> None:
        self.reading, self.fd = os.pipe()
        os.set_blocking(self.reading, False)

    def lines(self) -> list[str]:
        """The lines since the last time."""
        try:
            return os.read(self.reading, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Both ends."""
        os.close(self.reading)
        os.close(self.fd)


class Clock:
    """The time is what the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe to log to; structlog is as it was afterwards."""
    pipe = Pipe()
    yield pipe
    pipe.close()
    structlog.reset_defaults()


def test_json(pipe: Pipe) -> None:
    """A JSON line has the event, its level from the table, the time in UTC, and the fields as they are."""
    configure("debug", "json", pipe.fd)
    EventLog()(
        "worker.lost", {"queue": "default", "in_flight": 1, "name": "mill", "odd": b"\xff", "none": None}
    )
    (line,) = pipe.lines()
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", told.pop("timestamp"))
    assert told == {
        "event": "worker.lost",
        "level": "warning",
        "queue": "default",
        "in_flight": 1,
        "name": "mill",
        "odd": "b'\\xff'",
        "none": None,
    }


def test_console(pipe: Pipe) -> None:
    """A console line has no colours where there is no terminal."""
    configure("debug", "console", pipe.fd)
    EventLog()("worker.lost", {"in_flight": 1})
    (line,) = pipe.lines()
    assert "\x1b" not in line
    assert re.search(r"\[warning *\] worker\.lost +in_flight=1", line)


@pytest.mark.parametrize(
    ("event", "fields", "line"),
    [
        ("client.left", {"client": "c1"}, "<7>client.left client=c1"),
        ("worker.joined", {"worker": "w1"}, "<6>worker.joined worker=w1"),
        ("worker.lost", {"in_flight": 1, "none": None}, "<4>worker.lost in_flight=1 none=None"),
        ("accept.failed", {"reason": "Too many files"}, "<3>accept.failed reason='Too many files'"),
        ("worker.joined", {"name": ""}, "<6>worker.joined name=''"),
        ("worker.joined", {"name": "a=b"}, "<6>worker.joined name='a=b'"),
        ("worker.joined", {"name": 'say "x"'}, "<6>worker.joined name='say \"x\"'"),
        ("worker.joined", {"name": "two\n<0>lines"}, "<6>worker.joined name='two\\n<0>lines'"),
        ("worker.joined", {"name": "\x1b[31mred"}, "<6>worker.joined name='\\x1b[31mred'"),
    ],
)
def test_journal(pipe: Pipe, event: str, fields: dict[str, object], line: str) -> None:
    """A line for the journal begins with its priority, and nothing that a peer chose can begin another one."""
    configure("debug", "journal", pipe.fd)
    EventLog()(event, fields)
    assert pipe.lines() == [line]


def test_fault_in_json(pipe: Pipe) -> None:
    """A fault of ours is an error with its traceback, in one JSON line."""
    configure("info", "json", pipe.fd)
    try:
        raise RuntimeError("a fault")
    except RuntimeError as fault:
        EventLog().fault(fault)
    (line,) = pipe.lines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("zqd.fault", "error")
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("RuntimeError: a fault")


def test_fault_in_the_journal(pipe: Pipe) -> None:
    """Every line of its traceback has the priority."""
    configure("info", "journal", pipe.fd)
    try:
        raise RuntimeError("a fault")
    except RuntimeError as fault:
        EventLog().fault(fault)
    lines = pipe.lines()
    assert lines[0] == "<3>zqd.fault"
    assert lines[-1] == "<3>RuntimeError: a fault"
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("level", LEVELS)
def test_level(pipe: Pipe, level: str) -> None:
    """Events below the level are not logged."""
    configure(level, "json", pipe.fd)
    log = EventLog()
    for event in ("client.left", "worker.joined", "worker.lost", "accept.failed"):
        log(event, {})
    wanted = [name for name in ("debug", "info", "warning", "error") if LEVELS[name] >= LEVELS[level]]
    assert [json.loads(line)["level"] for line in pipe.lines()] == wanted


def test_every_event_has_a_level() -> None:
    """The table knows no level that does not exist, and has a sentence for each event."""
    assert {event.level for event in EVENTS.values()} <= set(LEVELS)
    assert all(event.meaning.endswith(".") for event in EVENTS.values())


def test_event_that_is_not_in_the_table(pipe: Pipe) -> None:
    """An unknown event is logged all the same."""
    configure("info", "json", pipe.fd)
    EventLog()("something.new", {})
    assert json.loads(pipe.lines()[0])["level"] == "info"


# auto


def test_auto_for_the_journal(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the descriptor is the one that JOURNAL_STREAM names, lines are the journal's."""
    status = os.fstat(pipe.fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    configure("info", "auto", pipe.fd)
    EventLog()("worker.joined", {})
    assert pipe.lines() == ["<6>worker.joined"]


@pytest.mark.parametrize("stream", [None, "8:1", "nonsense"])
def test_auto_for_a_pipe(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, stream: str | None) -> None:
    """Any other pipe or file gets JSON lines, also where an inherited JOURNAL_STREAM names another."""
    if stream is None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    else:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    configure("info", "auto", pipe.fd)
    EventLog()("worker.joined", {})
    assert json.loads(pipe.lines()[0])["event"] == "worker.joined"


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_auto_for_a_terminal(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, no_color: str | None, coloured: bool
) -> None:
    """A terminal gets lines for people, in colour unless NO_COLOR is set."""
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    ours, theirs = pty.openpty()
    configure("info", "auto", theirs)
    EventLog()("worker.joined", {"worker": "w1"})
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    os.close(theirs)
    assert "worker.joined" in text
    assert ("\x1b[" in text) == coloured


# What cannot be written


def test_full_disk() -> None:
    """A line that a full disk does not take is given up."""
    full = os.open("/dev/full", os.O_WRONLY)
    assert Lines(full).write("line\n") == 5
    os.close(full)


def test_closed_pipe(pipe: Pipe) -> None:
    """So is one whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    configure("info", "json", writing)
    EventLog()("worker.joined", {})
    os.close(writing)
    EventLog()("worker.joined", {})  # and the descriptor itself


@pytest.mark.parametrize("blocking", [True, False])
def test_full_pipe(pipe: Pipe, blocking: bool) -> None:
    """A pipe that nobody reads is not waited for, and the line that was torn does not spoil the next one."""
    os.set_blocking(pipe.fd, blocking)
    lines = Lines(pipe.fd)
    lines.write("x" * (1 << 20) + "\n")
    lines.write("lost\n")
    assert set(pipe.lines()[0]) == {"x"}
    lines.write("next\n")
    lines.write("one more\n")
    assert pipe.lines() == ["", "next", "one more"]


def test_full_socket() -> None:
    """So is a socket, as the journal's is."""
    reading, writing = socket.socketpair()
    lines = Lines(writing.fileno())
    for _ in range(10_000):
        lines.write("x" * 999 + "\n")
    reading.close()
    lines.write("nobody there\n")
    writing.close()


def test_closed_descriptor(pipe: Pipe) -> None:
    """With the descriptor closed from the start, the format is chosen and nothing is written."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    configure("info", "auto", writing)
    EventLog()("worker.joined", {})


def test_text_that_is_no_utf_8(pipe: Pipe) -> None:
    """A lone surrogate, as an undecodable file name brings, is written as an escape."""
    Lines(pipe.fd).write("\udcff\n")
    assert pipe.lines() == ["\\udcff"]


# Storms


def names(lines: list[str]) -> list[str]:
    """The events of JSON lines."""
    return [json.loads(line)["event"] for line in lines]


def test_storm(pipe: Pipe) -> None:
    """After 20 events of one name within a second the rest is counted, and told with the next event after it."""
    configure("debug", "json", pipe.fd)
    clock = Clock()
    log = EventLog(clock)
    for _ in range(FOLD_AFTER + 30):
        log("peer.refused", {})
        log("worker.left", {})
    assert len(pipe.lines()) == 2 * FOLD_AFTER
    clock.now += 1
    log("worker.joined", {})
    lines = pipe.lines()
    assert names(lines) == ["events.folded", "events.folded", "worker.joined"]
    told = json.loads(lines[0])
    assert (told["of"], told["more"], told["level"]) == ("peer.refused", 30, "warning")
    assert json.loads(lines[1])["of"] == "worker.left"


def test_storm_without_an_end(pipe: Pipe) -> None:
    """In each second of a storm 20 of its events are logged."""
    configure("info", "json", pipe.fd)
    clock = Clock()
    log = EventLog(clock)
    for _ in range(3):
        for _ in range(100):
            log("peer.refused", {})
        clock.now += 1
    assert names(pipe.lines()).count("peer.refused") == 3 * FOLD_AFTER


def test_no_storm(pipe: Pipe) -> None:
    """Twenty of each name are no storm."""
    configure("info", "json", pipe.fd)
    clock = Clock()
    log = EventLog(clock)
    for event in ("peer.refused", "worker.left"):
        for _ in range(FOLD_AFTER):
            log(event, {})
    clock.now += 1
    log.fold()
    assert len(pipe.lines()) == 2 * FOLD_AFTER


def test_debug_is_never_folded(pipe: Pipe) -> None:
    """Whoever asks for everything gets everything."""
    configure("debug", "json", pipe.fd)
    log = EventLog(Clock())
    for _ in range(100):
        log("client.joined", {})
    log.fold()
    assert names(pipe.lines()) == ["client.joined"] * 100


def test_storm_that_nothing_follows(pipe: Pipe) -> None:
    """A storm is told a second later even if no event follows it, and once."""
    configure("info", "json", pipe.fd)
    clock = Clock()
    log = EventLog(clock)
    calls = []
    log.call_at = lambda when, callback: calls.append((when, callback))
    for _ in range(FOLD_AFTER + 5):
        log("peer.refused", {})
    ((when, callback),) = calls
    assert when == clock.now + 1
    pipe.lines()
    clock.now += 1
    callback()
    log("worker.joined", {})
    assert names(pipe.lines()) == ["events.folded", "worker.joined"]
