"""`zqctl events`, against a PUB socket of libzmq and against zqd itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import zmq

from tests.control.serving import PaperBroker, served
from tests.support.processes import PATIENCE, Zqd, wait_for
from zqd.ctl.follow import line

ZQCTL = [sys.executable, "-m", "zqd.ctl"]

LOST: dict[str, Any] = {
    "event": "worker.lost",
    "time": "2026-01-02T03:04:05.678901Z",
    "level": "warning",
    "message": "worker w3 (mill) is lost, 1 request goes to others",
    "worker": "w3",
}


class Publisher:
    """What publishes at events.sock; a context manager for as long as it is there."""

    def __init__(self, sockets: Path) -> None:
        self._path = sockets / "events.sock"

    def __enter__(self) -> Self:
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.XPUB)  # which tells who subscribes
        self._socket.linger = 0
        self._socket.rcvtimeo = int(PATIENCE * 1000)
        self._socket.bind(f"ipc://{self._path}")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()
        self._path.unlink(missing_ok=True)

    def subscribed(self) -> bytes:
        """Wait for a subscription, and return to what."""
        return self._socket.recv()[1:]

    def publish(self, event: object, topic: str = "worker.lost") -> None:
        """Send an event, or a text that is none."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        self._socket.send_multipart([topic.encode(), body])


@contextmanager
def following(
    sockets: Path, *arguments: str, zone: str = "UTC", **streams: Any
) -> Iterator[subprocess.Popen[str]]:
    """A zqctl that prints events; it ends with the test."""
    with subprocess.Popen(
        [*ZQCTL, "--control", f"ipc://{sockets}/control.sock", "events", *arguments],
        text=True,
        env=os.environ | {"TZ": zone},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, what more it printed, and standard error."""
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


SHOWN = "2026-01-02 03:04:05.678 warning worker.lost worker w3 (mill) is lost, 1 request goes to others\n"


# A line


def test_a_line_is_time_level_name_and_sentence() -> None:
    """As zqd puts it for people."""
    assert line(LOST).split(" ", 2)[2] == SHOWN.split(" ", 2)[2].rstrip()


def test_without_a_sentence_the_fields_tell() -> None:
    """An event of a zqd that has no words for it."""
    event = {"event": "x.y", "time": None, "level": "info", "a": 1, "b": "two\n"}
    assert line(event) == "- info x.y a=1 b=two\\n"


def test_nothing_in_it_reaches_the_terminal_as_a_command() -> None:
    """Names come from peers."""
    assert line(dict.fromkeys(("event", "time", "level", "message"), "\x1b[2J")) == " ".join([r"\x1b[2J"] * 4)


def test_the_level_has_its_colour() -> None:
    """What is no good news stands out."""
    assert "\x1b[33mwarning\x1b[0m" in line(LOST, color=True)
    assert "\x1b" not in line(LOST | {"level": "info"}, color=True)


# The stream


def test_events_are_printed_as_they_come(sockets: Path) -> None:
    """Each at once, in this machine's time; Ctrl-C is status 130 and nothing else."""
    with Publisher(sockets) as publisher, following(sockets, zone="UTC-2") as process:
        assert publisher.subscribed() == b""
        assert process.stdout is not None
        for _ in range(2):
            publisher.publish(LOST)
            assert process.stdout.readline() == SHOWN.replace(" 03:", " 05:")
        process.send_signal(signal.SIGINT)
        assert outcome(process) == (130, "", "")


def test_a_count_ends_it(sockets: Path) -> None:
    """For scripts that wait for something to happen; with --json a line holds all that zqd said."""
    with Publisher(sockets) as publisher, following(sockets, "--count", "2", "--json") as process:
        publisher.subscribed()
        for _ in range(3):
            publisher.publish(LOST)
        status, out, errors = outcome(process)
    assert (status, [json.loads(text) for text in out.splitlines()], errors) == (0, [LOST, LOST], "")


def test_a_time_ends_it(sockets: Path) -> None:
    """Having looked so long is what was asked for."""
    with Publisher(sockets), following(sockets, "--timeout", "200ms") as process:
        assert outcome(process) == (0, "", "")


def test_a_time_without_as_many_events_is_status_1(sockets: Path) -> None:
    """For scripts that wait for something to happen, which has not; what has is printed."""
    arguments = ("--count", "2", "--timeout", "6")
    with Publisher(sockets) as publisher, following(sockets, *arguments) as process:
        publisher.subscribed()
        publisher.publish(LOST)
        assert outcome(process) == (1, SHOWN, "zqctl: there were 1 of 2 events within 6 s\n")


def test_a_time_that_suffices_changes_nothing(sockets: Path) -> None:
    """The last event ends it."""
    arguments = ("--count", "1", "--timeout", "1d")
    with Publisher(sockets) as publisher, following(sockets, *arguments) as process:
        publisher.subscribed()
        publisher.publish(LOST)
        assert outcome(process) == (0, SHOWN, "")


def test_topics_choose(sockets: Path) -> None:
    """Only what begins with one of them is asked for."""
    topics = ("--topic", "worker.", "--topic", "queue")
    with Publisher(sockets) as publisher, following(sockets, *topics, "--count", "1") as process:
        assert {publisher.subscribed(), publisher.subscribed()} == {b"worker.", b"queue"}
        publisher.publish(LOST | {"message": "not asked for"}, "client.left")
        publisher.publish(LOST)
        assert outcome(process) == (0, SHOWN, "")


def test_a_restart_is_waited_out(sockets: Path) -> None:
    """That zqd goes and that it is back is said on standard error."""
    with ExitStack() as first:
        publisher = first.enter_context(Publisher(sockets))
        with following(sockets, "--count", "2") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            publisher.subscribed()
            publisher.publish(LOST)
            assert process.stdout.readline() == SHOWN
            first.close()
            assert process.stderr.readline() == "zqctl: zqd has gone away: waiting for it to come back\n"
            with publisher:
                publisher.subscribed()
                publisher.publish(LOST)
                assert outcome(process) == (0, SHOWN, "zqctl: zqd is back\n")


def test_a_reader_that_has_had_enough_ends_it(sockets: Path) -> None:
    """`zqctl events | head -1` ends silently."""
    with Publisher(sockets) as publisher, following(sockets) as process:
        publisher.subscribed()
        assert process.stdout is not None
        process.stdout.close()
        publisher.publish(LOST)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("body", [b"hello", b"[1]", b"[" * 100_000, b"\xff"])
def test_what_is_no_event_is_an_error(sockets: Path, body: bytes) -> None:
    """Something else publishes there."""
    with Publisher(sockets) as publisher, following(sockets) as process:
        publisher.subscribed()
        publisher.publish(body)
        assert outcome(process) == (1, "", "zqctl: what comes from the events socket is not zqd's\n")


# Where


def test_the_socket_is_where_zqd_says(sockets: Path) -> None:
    """Beside the control socket it is only by default."""
    broker = PaperBroker()
    (sockets / "else").mkdir()
    told = broker.status() | {"sockets": {"events": f"{sockets}/else/events.sock"}}
    broker.status = lambda: told  # type: ignore[method-assign]
    with (
        served(sockets / "control.sock", broker),
        Publisher(sockets / "else") as publisher,
        following(sockets, "--count", "1") as process,
    ):
        publisher.subscribed()
        publisher.publish(LOST)
        assert outcome(process) == (0, SHOWN, "")


def test_no_socket_is_status_3(sockets: Path) -> None:
    """Where no zqd runs nothing happens."""
    sentence = f"zqctl: zqd is not running: no socket at ipc://{sockets}/events.sock\n"
    with following(sockets) as process:
        assert outcome(process) == (3, "", sentence)


def test_a_dead_socket_is_status_3(sockets: Path) -> None:
    """What a zqd leaves that was killed."""
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(sockets / "events.sock"))
    with following(sockets) as process:
        sentence = f"zqctl: zqd is not running: nothing listens at ipc://{sockets}/events.sock\n"
        assert outcome(process) == (3, "", sentence)


def test_a_zqd_without_events_is_status_1(sockets: Path) -> None:
    """It runs, so that it does not is not what is said: an older one."""
    with served(sockets / "control.sock", PaperBroker()), following(sockets) as process:
        sentence = f"zqctl: this zqd publishes no events at ipc://{sockets}/events.sock\n"
        assert outcome(process) == (1, "", sentence)


def test_zqd_itself_is_followed(zqd: Zqd) -> None:
    """What an order comes to is an event."""
    with following(zqd.control_path.parent, "--topic", "queue.paused", "--count", "1", "--json") as process:

        def told() -> bool:
            zqd.control("pause")
            zqd.control("resume")
            return process.poll() is not None

        wait_for(told, "the event")
        status, out, errors = outcome(process)
    event = json.loads(out)
    assert (status, event["event"], event["queue"], errors) == (0, "queue.paused", "default", "")
    assert "default" in line(event)
