from __future__ import annotations

import json
import re

import pytest

from tests.logs.receivers import Pipe
from zqd.logs import EventLog, configure


def failing() -> RuntimeError:
    """A fault with a traceback."""
    try:
        raise RuntimeError("a fault")
    except RuntimeError as fault:
        return fault


def test_json(pipe: Pipe) -> None:
    """A JSON line has the event, its level from the table, the time in UTC, and the fields as they are."""
    configure("debug", "json", fd=pipe.fd)
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
    configure("debug", "console", fd=pipe.fd)
    EventLog()("worker.lost", {"in_flight": 1})
    (line,) = pipe.lines()
    assert "\x1b" not in line
    assert re.search(r"\[warning *\] worker\.lost +in_flight=1", line)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "\x9b31m"])
def test_console_is_safe(pipe: Pipe, name: str) -> None:
    """Nothing that a peer chose begins another line on a terminal, or changes its colours."""
    configure("info", "console", fd=pipe.fd)
    EventLog()("worker.joined", {"name": name})
    (line,) = pipe.lines()
    assert line.isprintable()


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
        ("worker.joined", {"path": "\udcff"}, "<6>worker.joined path='\\udcff'"),
    ],
)
def test_prefixed(pipe: Pipe, event: str, fields: dict[str, object], line: str) -> None:
    """A line for journald begins with its priority, and nothing that a peer chose can begin another one."""
    configure("debug", "journal", fd=pipe.fd, journal="/nowhere")
    EventLog()(event, fields)
    assert pipe.lines() == [line]


def test_fault_in_json(pipe: Pipe) -> None:
    """A fault of ours is an error with its traceback, in one JSON line."""
    configure("info", "json", fd=pipe.fd)
    EventLog().fault(failing())
    (line,) = pipe.lines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["reason"]) == ("zqd.fault", "error", "RuntimeError: a fault")
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("RuntimeError: a fault")


def test_fault_in_prefixed_lines(pipe: Pipe) -> None:
    """Every line of its traceback has the priority."""
    configure("info", "journal", fd=pipe.fd, journal="/nowhere")
    EventLog().fault(failing())
    lines = pipe.lines()
    assert lines[0] == "<3>zqd.fault reason='RuntimeError: a fault'"
    assert lines[-1] == "<3>RuntimeError: a fault"
    assert all(line.startswith("<3>") for line in lines)


def test_fault_on_the_console(pipe: Pipe) -> None:
    """Its traceback is the plain one: local variables, which may hold messages, are not shown."""
    configure("info", "console", fd=pipe.fd)
    EventLog().fault(failing())
    lines = pipe.lines()
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "RuntimeError: a fault"
