from __future__ import annotations

import math
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE
from zqd.systemd.notify import LONGEST_STATUS, Notifier


class Manager:
    """The service manager's end: a datagram socket at a path or an abstract address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def received(self) -> list[str]:
        """Each datagram since the last call; a local one has arrived when its sender goes on (unix(7))."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """A manager at each kind of address."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@zqd-test-{secrets.token_hex(8)}"
    manager = Manager(address)
    yield manager
    manager.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    """A service of that manager."""
    notifier = Notifier(manager.address)
    yield notifier
    notifier.close()


# What is said


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda notifier: notifier.ready(), "READY=1"),
        (lambda notifier: notifier.ready("serving 2 queues"), "READY=1\nSTATUS=serving 2 queues"),
        (lambda notifier: notifier.status("busy"), "STATUS=busy"),
        (lambda notifier: notifier.stopping(), "STOPPING=1"),
        (lambda notifier: notifier.stopping("draining"), "STOPPING=1\nSTATUS=draining"),
        (lambda notifier: notifier.extend(2.5), "EXTEND_TIMEOUT_USEC=2500000"),
        (lambda notifier: notifier.extend(1, "3 left"), "EXTEND_TIMEOUT_USEC=1000000\nSTATUS=3 left"),
        (lambda notifier: notifier.alive(), "WATCHDOG=1"),
    ],
)
def test_each_call_is_one_datagram(
    say: Callable[[Notifier], None], message: str, manager: Manager, notifier: Notifier
) -> None:
    """Of the assignments of sd_notify(3), a line each."""
    say(notifier)
    assert manager.received() == [message]


def test_a_reload_says_when_it_began(manager: Manager, notifier: Notifier) -> None:
    """MONOTONIC_USEC= is CLOCK_MONOTONIC in microseconds; without it Type=notify-reload waits for ever."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    (message,) = manager.received()
    state, moment = message.split("\n")
    assert state == "RELOADING=1"
    name, usec = moment.split("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= after


def test_a_status_is_sent_when_it_changed(manager: Manager, notifier: Notifier) -> None:
    """The loop may say it every turn; also one that came with a state counts, and an empty one takes it away."""
    notifier.ready("serving")
    notifier.status("serving")
    notifier.alive()
    assert manager.received() == ["READY=1\nSTATUS=serving", "WATCHDOG=1"]
    notifier.status("busy")
    notifier.status("busy")
    notifier.status("")
    notifier.status("")
    assert manager.received() == ["STATUS=busy", "STATUS="]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nREADY=1", "two READY=1"),
        ("  tab\tand\r\nthe\x0brest\u2028 ", "tab and the rest"),
        ("nul\0 escape\x1b[1m \udcff", "nul escape [1m"),
        ("später · 97 %", "später · 97 %"),
    ],
)
def test_a_status_is_one_line(text: str, line: str, manager: Manager, notifier: Notifier) -> None:
    """Names in it come from peers: a line of its own would be an assignment, and a NUL void the whole datagram."""
    notifier.status(text)
    notifier.stopping(text)
    assert manager.received() == [f"STATUS={line}", "STOPPING=1"]


def test_a_long_status_is_cut(manager: Manager, notifier: Notifier) -> None:
    """systemd ignores a datagram of more than 4096 bytes, and READY=1 with it."""
    notifier.ready("\N{OCTOPUS}" * 10_000)
    (message,) = manager.received()
    assert message == "READY=1\nSTATUS=" + "\N{OCTOPUS}" * LONGEST_STATUS
    assert len(message.encode()) < 4096


@pytest.mark.parametrize(
    ("seconds", "usec"), [(-1.0, 0), (math.nan, 0), (math.inf, 2**63), (1e30, 2**63), (0.0000019, 1)]
)
def test_an_extension_is_a_number_that_systemd_reads(
    seconds: float, usec: int, manager: Manager, notifier: Notifier
) -> None:
    """Whatever the setting behind it, 64 bits without a sign."""
    notifier.extend(seconds)
    assert manager.received() == [f"EXTEND_TIMEOUT_USEC={usec}"]


# A socket that does not take it


def fill(manager: Manager) -> None:
    """Put datagrams into the manager's queue until there is no room."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        try:
            while True:
                other.sendto(b"X=1", manager.socket.getsockname())
        except BlockingIOError:
            pass


def test_a_full_socket_stops_nobody(manager: Manager, notifier: Notifier) -> None:
    """Every method returns at once, and nothing is raised."""
    fill(manager)
    say_everything(notifier)
    assert set(manager.received()) == {"X=1"}


def test_what_a_full_socket_did_not_take_goes_with_the_next_message(
    manager: Manager, notifier: Notifier
) -> None:
    """A lost READY=1 would have the service killed after its start-up time-out; pings are not saved up."""
    fill(manager)
    notifier.alive()
    notifier.ready("serving")
    notifier.status("busy")
    manager.received()
    notifier.alive()
    notifier.alive()
    assert manager.received() == ["READY=1\nWATCHDOG=1\nSTATUS=busy", "WATCHDOG=1"]


def test_a_newer_state_takes_the_place_of_one_that_was_not_taken(
    manager: Manager, notifier: Notifier
) -> None:
    """What is true now is what counts."""
    fill(manager)
    notifier.ready("serving")
    manager.received()
    notifier.stopping("draining")
    assert manager.received() == ["STOPPING=1\nSTATUS=draining"]


def test_a_status_that_was_not_taken_is_sent_again(manager: Manager, notifier: Notifier) -> None:
    """Although it has not changed since."""
    fill(manager)
    notifier.status("busy")
    manager.received()
    notifier.status("busy")
    assert manager.received() == ["STATUS=busy"]


def test_a_dead_socket_stops_nobody_and_a_new_one_is_found(tmp_path: Path) -> None:
    """A path that nobody has made, one that nobody reads any more, and one that is there again."""
    address = str(tmp_path / "notify")
    notifier = Notifier(address)
    assert notifier.enabled
    say_everything(notifier)
    for _ in range(2):
        manager = Manager(address)
        notifier.alive()
        assert "WATCHDOG=1" in manager.received()[0].split("\n")
        manager.socket.close()
        say_everything(notifier)
        os.unlink(address)
    notifier.close()


@pytest.mark.parametrize("address", ["/" + "x" * 200, "@" + "x" * 200, "/", "@", "/nul\0in it", "/dev/null"])
def test_an_address_that_cannot_be_reached_stops_nobody(address: str) -> None:
    """Too long, empty, no socket."""
    notifier = Notifier(address)
    say_everything(notifier)
    notifier.close()


@pytest.mark.parametrize("address", [None, "", "notify", "./notify", "vsock:2:1", "tcp://127.0.0.1:1"])
def test_anything_else_is_no_socket(address: str | None) -> None:
    """Every method does nothing; nor is there a watchdog, which nobody would hear."""
    notifier = Notifier(address, 30.0)
    assert not notifier.enabled
    assert notifier.watchdog is None
    say_everything(notifier)
    notifier.close()


def test_after_close_nothing_is_said(manager: Manager, notifier: Notifier) -> None:
    """And closing twice is nothing."""
    notifier.close()
    notifier.close()
    assert not notifier.enabled
    say_everything(notifier)
    assert manager.received() == []


def test_without_descriptors_there_is_no_notifier(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that cannot be made is none."""

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        notifier = Notifier(manager.address)
    assert not notifier.enabled
    say_everything(notifier)


def say_everything(notifier: Notifier) -> None:
    """Call every method."""
    notifier.status("a")
    notifier.ready("b")
    notifier.reloading()
    notifier.ready()
    notifier.alive()
    notifier.extend(1.0, "c")
    notifier.stopping("d")


# The environment


OURS = str(os.getpid())


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog"),
    [
        ("30000000", None, 30.0),
        ("1500000", OURS, 1.5),
        ("30000000", "1", None),
        ("30000000", "", None),
        ("30000000", "me", None),
        (None, OURS, None),
        ("", None, None),
        ("0", None, None),
        ("-5", None, None),
        ("30s", None, None),
        ("٣", None, None),
        (str(2**64 - 1), None, None),
        ("9" * 5000, None, None),
    ],
)
def test_the_watchdog_counts_where_it_is_meant_for_us(
    usec: str | None,
    pid: str | None,
    watchdog: float | None,
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """WATCHDOG_USEC in seconds, unless WATCHDOG_PID is another's, or the number makes no sense."""
    set_environment(monkeypatch, manager.address, usec, pid)
    notifier = Notifier.from_environment()
    assert notifier.watchdog == watchdog
    notifier.ready()
    assert manager.received() == ["READY=1"]
    notifier.close()


@pytest.mark.parametrize("address", ["/nowhere/notify", "nonsense"])
def test_children_inherit_no_variable(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child says would be taken for ours; usable or not, the variables go (sd_notify(3))."""
    set_environment(monkeypatch, address, "1000000", OURS)
    Notifier.from_environment().close()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


def test_without_variables_nothing_is_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand."""
    set_environment(monkeypatch, None, None, None)
    notifier = Notifier.from_environment()
    assert (notifier.enabled, notifier.watchdog) == (False, None)


def test_a_real_process_reports_to_its_manager(manager: Manager) -> None:
    """By nothing but the environment that systemd gives; the socket is not its children's."""
    program = """if True:
        import os, subprocess, sys
        from zqd.systemd.notify import Notifier
        notifier = Notifier.from_environment()
        notifier.ready(f"watched every {notifier.watchdog:g} s")
        subprocess.run(["sh", "-c", "env; ls -l /proc/$$/fd"], close_fds=False, check=True)
        notifier.close()
    """
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        env={**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "10000000"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert manager.received() == ["READY=1\nSTATUS=watched every 10 s"]
    for absent in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "socket:"):
        assert absent not in result.stdout


def set_environment(
    monkeypatch: pytest.MonkeyPatch, address: str | None, usec: str | None, pid: str | None
) -> None:
    """As a service manager sets it; None is absent."""
    for name, value in {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
