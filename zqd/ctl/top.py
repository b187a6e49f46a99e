"""`zqctl top`: the terminal around `board`, with blessed.

The terminal is left as it was found in every ending: `q`, Ctrl-C, SIGTERM, a fault; Ctrl-Z gives it back for a while. Called
through LOCAL.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import time
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from zqd.ctl.board import Look, Snapshot, layout, press
from zqd.ctl.connection import ControlError, ExitStatus, locate
from zqd.ctl.local import Session
from zqd.standard import abandon

# Blessed from 1.40 on asks the terminal what it is, and waits that long for one that does not say; all that are worth
# drawing on do. It draws nothing at all with NO_COLOR, which is about colours, and those are not blessed's here.
os.environ.setdefault("BLESSED_QUERY_TIMEOUT_SECONDS", "0.3")
try:
    import blessed
except ImportError:
    raise ControlError(
        ExitStatus.ERROR, "top needs the Python package blessed (in Debian: python3-blessed)"
    ) from None

PATIENCE = 1.0
"""Seconds that an answer may take here: meanwhile no key is read."""

ESCAPE_DELAY = 0.1
"""Seconds after an escape in which the rest of a key's sequence comes."""

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(session: Session, args: dict[str, Any]) -> int:
    """Show it until the user has had enough. Raises `ControlError` where there is no terminal that can show it."""
    if session.json:
        raise ControlError(ExitStatus.USAGE, "top is for people; for programs: zqctl status --json --watch 1")
    if session.control is not None:
        locate(session.control)  # what is no endpoint now will be none in a second
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ControlError(ExitStatus.USAGE, "top needs a terminal; without one: zqctl status --watch 1")
    session.timeout = min(session.timeout or PATIENCE, PATIENCE)
    with Signals() as signals:
        terminal = _terminal()  # which changes the terminal while it waits for an answer
        screen = Screen(session, terminal, signals, args["interval"])
        while True:
            try:
                with terminal.fullscreen(), terminal.hidden_cursor(), terminal.cbreak():
                    screen.show()
            except (ControlError, OSError, termios.error):
                # The terminal is gone: nothing more can be written to it, nor can it be left as it was.
                abandon(sys.stdout)
                return 128 + signal.SIGHUP
            if signals.ended_by is not None:
                return 128 + signals.ended_by
            if not signals.suspended:
                return ExitStatus.OK
            signals.suspended = False
            os.kill(os.getpid(), signal.SIGSTOP)


def _terminal() -> blessed.Terminal:
    kind = os.environ.get("TERM", "")
    colorless = os.environ.pop("NO_COLOR", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a TERM that it does not know
            terminal = blessed.Terminal() if kind not in {"", "dumb"} else None
    finally:
        if colorless is not None:
            os.environ["NO_COLOR"] = colorless
    if terminal is None or not terminal.move_xy(0, 0):
        raise ControlError(ExitStatus.USAGE, f"top cannot draw on a terminal of TERM={kind}")
    # Anything can be pasted. A strict decoder raises, and keeps the bytes that it could not decode for the next key.
    terminal._keyboard_decoder.errors = "replace"
    return terminal


class Signals:
    """Turns signals into facts and a readable descriptor, so that none of them breaks in while the terminal is changed."""

    def __init__(self) -> None:
        self.ended_by: int | None = None
        self.suspended = False
        self._before: dict[signal.Signals, Any] = {}
        self._woken, self._wakes = socket.socketpair()

    def __enter__(self) -> Self:
        for end in (self._woken, self._wakes):
            end.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in (*ENDINGS, signal.SIGTSTP, signal.SIGWINCH):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1), and shells without job control
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._woken.close()
        self._wakes.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in ENDINGS:
            self.ended_by = number
        elif number == signal.SIGTSTP:
            self.suspended = True

    def fileno(self) -> int:
        """Readable after a signal."""
        return self._woken.fileno()

    def clear(self) -> None:
        """Forget what has made the descriptor readable."""
        with suppress(BlockingIOError):
            self._woken.recv(4096)


class Screen:
    """What is on the terminal, and what the user wants to see there."""

    def __init__(
        self, session: Session, terminal: blessed.Terminal, signals: Signals, interval: float
    ) -> None:
        self._session = session
        self._terminal = terminal
        self._signals = signals
        self._interval = interval
        self._look = Look()
        self._snapshot = Snapshot("")
        self._due = 0.0
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._color = session.color
        self._poll = select.poll()
        self._keyboard = sys.stdin.fileno()
        for fd in (self._keyboard, signals.fileno()):
            self._poll.register(fd, select.POLLIN)

    def show(self) -> None:
        """Ask, draw and obey until the user quits or a signal wants something else."""
        self._size = (0, 0)
        while self._signals.ended_by is None and not self._signals.suspended:
            if time.monotonic() >= self._due and not self._look.paused:
                self._ask()
            self._draw()
            for fd, event in self._poll.poll(self._until_due()):
                if fd == self._signals.fileno():
                    self._signals.clear()
                elif event & (select.POLLHUP | select.POLLERR) or not self._obey():
                    return

    def _until_due(self) -> float | None:
        """Milliseconds to the next look; None while there is to be none."""
        return None if self._look.paused else max(0.0, self._due - time.monotonic()) * 1000

    def _ask(self) -> None:
        self._due = time.monotonic() + self._interval
        at = time.strftime("%H:%M:%S")
        try:
            status = self._session.ask("status")
            self._snapshot = Snapshot(at, status, self._session.ask(self._look.pane))
        except ControlError as error:
            self._snapshot = Snapshot(at, trouble=error.sentence)

    def _draw(self) -> None:
        """Write the lines that have changed, all of them after a change of the size."""
        terminal = self._terminal
        size = (terminal.width, terminal.height)
        lines = layout(self._snapshot, self._look, *size, color=self._color)
        changes = []
        if size != self._size:
            changes.append(terminal.home + terminal.clear)
            self._size, self._drawn = size, []
        for at, line in enumerate(lines):
            if at >= len(self._drawn) or line != self._drawn[at]:
                # Cleared first: after a line that fills the width some terminals would clear its last letter.
                changes.append(terminal.move_xy(0, at) + terminal.clear_eol + line)
        self._drawn = lines
        self._session.write("".join(changes))

    def _obey(self) -> bool:
        """Do what the keys say; return whether to go on."""
        while key := self._terminal.inkey(timeout=0, esc_delay=ESCAPE_DELAY):
            if key == "q":
                return False
            before = self._look.pane
            self._look = press(self._look, key.name or str(key), len(self._snapshot.rows))
            if self._look.pane != before:
                self._ask()
        return True
