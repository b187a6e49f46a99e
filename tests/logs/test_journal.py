from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
import structlog

from tests.logs.receivers import Receiver
from zqd.events import EVENTS
from zqd.logs import EventLog, configure
from zqd.logs.journal import LONGEST_NAME, SEALS


@pytest.fixture
def journal(receiver: Receiver) -> Receiver:
    """A journal, and structlog configured to write to it."""
    configure("debug", "journal", journal=receiver.path)
    return receiver


def entry(journal: Receiver, event: str, **fields: object) -> dict[str, str]:
    """How an event comes to the journal."""
    EventLog()(event, fields)
    (got,) = journal.entries()
    return got


def test_entry(journal: Receiver) -> None:
    """An entry has a message for people, what journald knows a service's entries by, and each field on its own."""
    got = entry(
        journal, "worker.lost", queue="default", worker="w3", name="mill", address="10.0.0.7:4", in_flight=2
    )
    for place in ("CODE_FILE", "CODE_LINE", "CODE_FUNC"):
        del got[place]
    assert got == {
        "MESSAGE": "default: worker w3 (mill) at 10.0.0.7:4 is lost; requests that go to others: 2",
        "MESSAGE_ID": EVENTS["worker.lost"].id,
        "PRIORITY": "4",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_IDENTIFIER": "zqd",
        "ZQD_EVENT": "worker.lost",
        "ZQD_QUEUE": "default",
        "ZQD_WORKER": "w3",
        "ZQD_NAME": "mill",
        "ZQD_ADDRESS": "10.0.0.7:4",
        "ZQD_IN_FLIGHT": "2",
    }


@pytest.mark.parametrize(
    ("key", "value", "name", "shown"),
    [
        ("request", "00ff", "ZQD_REQUEST_ID", "00ff"),
        ("wait_ms", 12.5, "ZQD_WAIT_MS", "12.5"),
        ("queued", 0, "ZQD_QUEUED", "0"),
        ("now", True, "ZQD_NOW", "yes"),
        ("now", False, "ZQD_NOW", "no"),
        ("added", ["a", "b"], "ZQD_ADDED", "a, b"),
        ("queues", [{"name": "a", "queued": 1}], "ZQD_QUEUES", '[{"name": "a", "queued": 1}]'),
        ("odd key-ä=\n", "x", "ZQD_ODD_KEY____", "x"),
        ("k" * 99, "x", "ZQD_" + "K" * (LONGEST_NAME - 4), "x"),
        ("reason", "a=b", "ZQD_REASON", "a=b"),
        ("reason", "", "ZQD_REASON", ""),
        ("reason", "two\nPRIORITY=0\n", "ZQD_REASON", "two\nPRIORITY=0\n"),
        ("path", "\udcff", "ZQD_PATH", "\\udcff"),
    ],
)
def test_field(journal: Receiver, key: str, value: object, name: str, shown: str) -> None:
    """A field's name is in upper case and what journald takes, its value readable; nothing in it can begin another field."""
    got = entry(journal, "worker.joined", **{key: value})
    assert got[name] == shown
    assert got["PRIORITY"] == "6"


def test_absent_field(journal: Receiver) -> None:
    """None is no value: the field is left out."""
    assert "ZQD_PID" not in entry(journal, "worker.hello", pid=None)


def test_message_is_one_line(journal: Receiver) -> None:
    """Whatever a peer calls itself."""
    got = entry(journal, "worker.joined", worker="w1", name="mill\nworker w2 has left \x1b[31m")
    assert got["MESSAGE"] == "worker w1 (mill\\nworker w2 has left \\x1b[31m) has connected"


def test_event_that_is_not_in_the_table(journal: Receiver) -> None:
    """It has its name for a message, and no id."""
    got = entry(journal, "something.new", worker="w1")
    assert got["MESSAGE"] == "something.new"
    assert "MESSAGE_ID" not in got


def test_identifier(receiver: Receiver) -> None:
    """Another program goes by its own name."""
    configure("info", "journal", identifier="zqd-worker", journal=receiver.path)
    assert entry(receiver, "instance.started")["SYSLOG_IDENTIFIER"] == "zqd-worker"


# Where it was logged


def test_place(journal: Receiver) -> None:
    """The code that is named is the one that logged the event."""
    got = entry(journal, "worker.joined")
    assert (got["CODE_FILE"], got["CODE_FUNC"]) == (__file__, "entry")
    assert Path(__file__).read_text().splitlines()[int(got["CODE_LINE"]) - 1].strip().startswith("EventLog()")


def test_place_behind_a_messenger(journal: Receiver) -> None:
    """A function that only hands on what others say is not named."""

    def note() -> None:
        EventLog()("worker.joined", {})

    note()
    (got,) = journal.entries()
    assert got["CODE_FUNC"] == "test_place_behind_a_messenger"


def test_place_of_any_logger(journal: Receiver) -> None:
    """Also without an EventLog between, and for a logger with fields of its own."""
    structlog.get_logger().bind(queue="default").info("worker.joined")
    (got,) = journal.entries()
    assert (got["CODE_FUNC"], got["ZQD_QUEUE"]) == ("test_place_of_any_logger", "default")


def innermost() -> None:
    """Raise a fault."""
    raise RuntimeError("a fault")


def test_fault(journal: Receiver) -> None:
    """A fault's traceback follows the line for people and is a field of its own; the place is where it was raised."""
    try:
        innermost()
    except RuntimeError as fault:
        EventLog().fault(fault)
    (got,) = journal.entries()
    first, second, *_, last = got["MESSAGE"].split("\n")
    assert first == "a fault in zqd itself; it goes on: RuntimeError: a fault"
    assert (second, last) == ("Traceback (most recent call last):", "RuntimeError: a fault")
    assert got["MESSAGE"] == f"{first}\n{got['ZQD_TRACEBACK']}"
    assert (got["PRIORITY"], got["CODE_FILE"], got["CODE_FUNC"]) == ("3", __file__, "innermost")
    assert "ZQD_EXC_INFO" not in got


def test_exception_being_handled(journal: Receiver) -> None:
    """`log.exception` finds it by itself."""
    try:
        innermost()
    except RuntimeError:
        structlog.get_logger().exception("handler.failed", request="00ff")
    (got,) = journal.entries()
    assert got["MESSAGE"].startswith("the handler has failed with request 00ff\nTraceback")
    assert got["CODE_FUNC"] == "innermost"


def test_fault_that_was_never_raised(journal: Receiver) -> None:
    """It has no traceback, and the place is the logger's."""
    EventLog().fault(RuntimeError("a fault"))
    (got,) = journal.entries()
    assert got["ZQD_TRACEBACK"] == "RuntimeError: a fault"
    assert got["CODE_FUNC"] == "test_fault_that_was_never_raised"


# What does not go through


def test_entry_too_large_for_a_datagram(journal: Receiver) -> None:
    """It goes as a sealed file in memory."""
    EventLog()("worker.joined", {"name": "x" * (4 << 20)})
    ((data, (fd,)),) = journal.datagrams()
    assert data == b""
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALS
    os.close(fd)
    assert entry(journal, "worker.joined", name="y" * (4 << 20))["ZQD_NAME"] == "y" * (4 << 20)


@pytest.mark.parametrize("name", ["mill", "x" * (4 << 20)], ids=["small", "large"])
def test_journal_that_restarts(journal: Receiver, name: str) -> None:
    """It is not waited for, gets entries again as soon as it is there, and is told how many it has missed."""
    log = EventLog()
    journal.stop(unlink=False)
    log("worker.joined", {"name": name})
    os.unlink(journal.path)
    log("worker.joined", {"name": name})
    journal.start()
    log("worker.left", {"name": name})
    lost, left = journal.entries()
    assert (lost["ZQD_EVENT"], lost["ZQD_LINES"], lost["PRIORITY"]) == ("log.lost", "2", "4")
    assert lost["MESSAGE"] == "log lines that could not be written: 2"
    assert left["ZQD_EVENT"] == "worker.left"


def test_journal_that_does_not_read(journal: Receiver) -> None:
    """It is not waited for either: each entry has come or is counted."""
    log = structlog.get_logger()
    for _ in range(5000):
        log.info("worker.joined", reason="x" * 200)
    came = len(journal.entries())
    assert 0 < came < 5000
    log.info("worker.left")
    lost, left = journal.entries()
    assert came + int(lost["ZQD_LINES"]) == 5000
    assert left["ZQD_EVENT"] == "worker.left"


def test_no_descriptor_is_left_behind(journal: Receiver) -> None:
    """Neither by an entry that goes as a file, nor by one that does not go."""
    before = len(os.listdir("/proc/self/fd"))
    log = EventLog()
    log("worker.joined", {"name": "x" * (4 << 20)})
    for _, fds in journal.datagrams():
        for fd in fds:
            os.close(fd)
    os.unlink(journal.path)
    log("worker.joined", {"name": "x" * (4 << 20)})
    assert len(os.listdir("/proc/self/fd")) == before
