"""`zqctl top` on a real pseudo-terminal; what it shows is `board`'s and tested there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.serving import PaperBroker, served, worker
from tests.ctl.terminal import Terminal
from tests.support.processes import PATIENCE, wait_for

ZQCTL = [sys.executable, "-m", "zqd.ctl", "--control"]


def top(sockets: Path, *arguments: str) -> list[str]:
    """The command line."""
    return [*ZQCTL, f"ipc://{sockets}/control.sock", "top", "--interval", "0.1", *arguments]


@pytest.fixture
def broker(sockets: Path) -> Iterator[PaperBroker]:
    """What the served zqd says, of 40 workers."""
    broker = PaperBroker()
    broker.worker_rows = [worker(f"w{number}", name=f"mill-{number}") for number in range(1, 41)]
    with served(sockets / "control.sock", broker):
        yield broker


@pytest.fixture
def terminal(sockets: Path, broker: PaperBroker) -> Iterator[Terminal]:
    """A terminal that shows it."""
    with Terminal(top(sockets)) as terminal:
        terminal.until("all of it", lambda lines: "1 to" in "".join(lines) and lines[-1].startswith("q quit"))
        yield terminal


def first_worker(lines: list[str]) -> str | None:
    """The id in the first row of the workers, if there is one."""
    return next((line.split()[0] for line in lines if re.match(r"w[0-9]+ ", line)), None)


def test_it_shows_and_looks_again(terminal: Terminal, broker: PaperBroker) -> None:
    """Daemon, queues, workers, keys; a change is seen without a key. Only on a terminal there are colours."""
    lines = terminal.lines
    assert lines[0].startswith("zqd 0.1.0, pid ")
    assert any(line.startswith("default: 4 of 4 workers busy") for line in lines)
    assert lines[-1].startswith("q quit")
    assert "green" in terminal.colors(3)
    broker.worker_rows = broker.worker_rows[:1]
    terminal.shows("1 to 1 of 1 workers")


def test_keys_sort_and_scroll(terminal: Terminal) -> None:
    """Letters and those that send a sequence."""
    assert first_worker(terminal.lines) == "w1"
    terminal.press("r")
    terminal.until("the last first", lambda lines: first_worker(lines) == "w40")
    terminal.press("r\x1b[B\x1b[B")
    terminal.until("two lines further", lambda lines: first_worker(lines) == "w3")
    terminal.press("\x1b[6~")
    terminal.until("ten more", lambda lines: first_worker(lines) == "w13")
    terminal.press(">")
    terminal.shows("NAME▲")


def test_tab_shows_another_pane_at_once(sockets: Path, broker: PaperBroker) -> None:
    """Also with a long interval, and while it is paused."""
    with Terminal(top(sockets, "--interval", "1000")) as terminal:
        terminal.shows("of 40 workers")
        terminal.press("\t")
        terminal.shows("1 to 1 of 1 clients")
        terminal.press("p\t")
        terminal.shows("1 to 3 of 3 requests")
        terminal.press("\t")
        terminal.shows("1 to 2 of 2 queues")


@pytest.mark.parametrize("pasted", [b"\xff", b"\xe4", b"\xe4\xe4", b"\xf0\x9f"])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_bytes_that_are_no_text_are_no_keys(
    sockets: Path, broker: PaperBroker, pasted: bytes, locale: str
) -> None:
    """What is typed after them is, whether it comes with them or later."""
    with Terminal(top(sockets), LC_ALL=locale) as terminal:
        terminal.shows("of 40 workers")
        terminal.press(pasted + b"h")
        terminal.shows("this help, and back")
        terminal.press(pasted)
        terminal.press("h")
        terminal.shows("of 40 workers")
        terminal.press(pasted + b"q")
        assert terminal.ended() == 0
        assert b"Traceback" not in terminal.written


def test_a_pause_stands_still(terminal: Terminal, broker: PaperBroker) -> None:
    """Until it is over."""
    terminal.press("p")
    terminal.shows("paused at")
    broker.worker_rows = broker.worker_rows[:1]
    terminal.press("h")
    terminal.shows("this help, and back")
    terminal.press("?")
    terminal.shows("of 40 workers")
    terminal.press("p")
    terminal.shows("1 to 1 of 1 workers")


def test_it_takes_every_size(sockets: Path, broker: PaperBroker) -> None:
    """At once, however seldom it asks; too small is said, and no end."""
    with Terminal(top(sockets, "--interval", "1000")) as terminal:
        terminal.shows("of 40 workers")
        terminal.resize(60, 12)
        terminal.until("all of it", lambda lines: len(lines[0]) == 60 and lines[-1].startswith("q quit"))
        terminal.resize(10, 3)
        terminal.shows("too small")
        terminal.resize(140, 50)
        terminal.until("all of it", lambda lines: len(lines[0]) == 140 and lines[-1].startswith("q quit"))


def test_it_outlives_a_restart(sockets: Path) -> None:
    """It says that zqd does not run, and goes on when it does."""
    with Terminal(top(sockets)) as terminal:
        for _ in range(2):
            terminal.shows("zqd is not running: no socket at")
            terminal.shows("trying again")
            with served(sockets / "control.sock", PaperBroker()):
                terminal.shows("of 2 workers")
        terminal.press("q")
        assert terminal.ended() == 0


# Endings


def test_q_ends_it(terminal: Terminal) -> None:
    """And the terminal is as it was."""
    assert not terminal.left_as_it_was()
    terminal.press("q")
    assert terminal.ended() == 0
    assert terminal.left_as_it_was()


def test_control_c_ends_it(terminal: Terminal) -> None:
    """Status 130, no traceback, and the terminal is as it was."""
    terminal.press("\x03")
    assert terminal.ended() == 130
    assert terminal.left_as_it_was()
    assert b"Traceback" not in terminal.written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(terminal: Terminal, number: signal.Signals) -> None:
    """The status is a shell's for that signal, and the terminal is as it was."""
    terminal.send(number)
    assert terminal.ended() == 128 + number
    assert terminal.left_as_it_was()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_before_it_has_begun(sockets: Path, number: signal.Signals) -> None:
    """Blessed changes the terminal's modes to ask what it is; one that does not answer is waited for, and left as it was."""
    with Terminal(top(sockets), mute=True, BLESSED_QUERY_TIMEOUT_SECONDS="2") as terminal:
        wait_for(lambda: terminal.taken, "the question")
        terminal.send(number)
        assert terminal.ended() == 128 + number
        assert terminal.left_as_it_was()
        assert b"Traceback" not in terminal.written


def test_control_c_ends_it_while_zqd_hangs(sockets: Path) -> None:
    """What it waits for is given up soon."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.control.serving", sockets / "control.sock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            with Terminal(top(sockets)) as terminal:
                terminal.shows("of 2 workers")
                process.send_signal(signal.SIGSTOP)
                terminal.shows("did not answer within 1 s: stopped or hung?")
                process.send_signal(signal.SIGCONT)
                terminal.shows("of 2 workers")
                process.send_signal(signal.SIGSTOP)
                terminal.press("\x03")
                assert terminal.ended() == 130
                assert terminal.left_as_it_was()
        finally:
            process.kill()


def test_control_z_gives_the_terminal_back_for_a_while(terminal: Terminal) -> None:
    """As it was; and SIGCONT takes it again."""
    terminal.press("\x1a")
    wait_for(lambda: state(terminal) == "T", "the stop")
    assert terminal.left_as_it_was()
    terminal.send(signal.SIGCONT)
    wait_for(lambda: not terminal.left_as_it_was(), "the return")
    terminal.shows("of 40 workers")
    terminal.press("q")
    assert terminal.ended() == 0
    assert terminal.left_as_it_was()


def state(terminal: Terminal) -> str:
    """The state of its process (proc(5), stat)."""
    stat = Path(f"/proc/{terminal.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_a_closed_window_ends_it(terminal: Terminal) -> None:
    """Nobody is left to see it."""
    terminal.hang_up()
    assert terminal.process.wait(PATIENCE) == 128 + signal.SIGHUP


# Where it cannot be


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_terminal_that_cannot_is_status_2(sockets: Path, kind: str) -> None:
    """One in which the cursor cannot be moved."""
    with Terminal(top(sockets), TERM=kind) as terminal:
        assert terminal.ended() == 2
        assert terminal.lines[0] == f"zqctl: top cannot draw on a terminal of TERM={kind}"


def test_no_colour_is_no_hindrance(sockets: Path, broker: PaperBroker) -> None:
    """NO_COLOR leaves all the rest."""
    with Terminal(top(sockets), NO_COLOR="1") as terminal:
        terminal.shows("of 40 workers")
        assert terminal.colors(3) == {"default"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "top needs a terminal; without one: zqctl status --watch 1"),
        (["--json"], "top is for people; for programs: zqctl status --json --watch 1"),
    ],
)
def test_without_a_terminal_it_is_status_2(sockets: Path, arguments: list[str], sentence: str) -> None:
    """What to do instead is said."""
    done = subprocess.run(
        top(sockets, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"zqctl: {sentence}\n")


def test_an_endpoint_that_is_none_is_status_2() -> None:
    """It is not tried again every second."""
    done = subprocess.run(
        [*ZQCTL, "tcp://127.0.0.1:1", "top"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    sentence = "zqctl: tcp://127.0.0.1:1 is no control endpoint: ipc://PATH is wanted\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)


def test_without_blessed_it_says_what_to_install(sockets: Path, tmp_path: Path) -> None:
    """All other commands do without it."""
    (tmp_path / "blessed.py").write_text("raise ImportError")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        top(sockets), env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    sentence = "zqctl: top needs the Python package blessed (in Debian: python3-blessed)\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)
