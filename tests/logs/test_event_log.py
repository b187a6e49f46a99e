from __future__ import annotations

import json

import pytest

from tests.logs.receivers import Clock, Pipe
from zqd.logs import FOLD_AFTER, LEVELS, EventLog, configure, set_level


def names(lines: list[str]) -> list[str]:
    """The events of JSON lines."""
    return [json.loads(line)["event"] for line in lines]


@pytest.mark.parametrize("level", LEVELS)
def test_level(pipe: Pipe, level: str) -> None:
    """Events below the level are not logged."""
    configure(level, "json", fd=pipe.fd)
    log = EventLog()
    for event in ("client.left", "worker.joined", "worker.lost", "accept.failed"):
        log(event, {})
    wanted = [name for name in ("debug", "info", "warning", "error") if LEVELS[name] >= LEVELS[level]]
    assert [json.loads(line)["level"] for line in pipe.lines()] == wanted


def test_event_that_is_not_in_the_table(pipe: Pipe) -> None:
    """An unknown event is logged all the same."""
    configure("info", "json", fd=pipe.fd)
    EventLog()("something.new", {})
    assert json.loads(pipe.lines()[0])["level"] == "info"


# Storms


def test_storm(pipe: Pipe) -> None:
    """After 20 events of one name within a second the rest is counted, and told with the next event after it."""
    configure("debug", "json", fd=pipe.fd)
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
    configure("info", "json", fd=pipe.fd)
    clock = Clock()
    log = EventLog(clock)
    for _ in range(3):
        for _ in range(100):
            log("peer.refused", {})
        clock.now += 1
    assert names(pipe.lines()).count("peer.refused") == 3 * FOLD_AFTER


def test_no_storm(pipe: Pipe) -> None:
    """Twenty of each name are no storm."""
    configure("info", "json", fd=pipe.fd)
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
    configure("debug", "json", fd=pipe.fd)
    log = EventLog(Clock())
    for _ in range(100):
        log("client.joined", {})
    log.fold()
    assert names(pipe.lines()) == ["client.joined"] * 100


def test_storm_below_the_level(pipe: Pipe) -> None:
    """A storm of events that are not logged is not told either."""
    configure("warning", "json", fd=pipe.fd)
    log = EventLog(Clock())
    for _ in range(100):
        log("worker.left", {})
    log.fold()
    set_level("info")
    log.fold()
    assert pipe.lines() == []


def test_storm_that_nothing_follows(pipe: Pipe) -> None:
    """A storm is told a second later even if no event follows it, and once."""
    configure("info", "json", fd=pipe.fd)
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
