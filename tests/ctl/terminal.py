"""A terminal for the tests: a real pseudo-terminal, and pyte, which shows what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pyte

from tests.support.processes import wait_for


class Screen(pyte.Screen):
    """A screen that answers when it is asked where its cursor is, as all that a person would use do."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, lines)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        """Called by pyte with an answer."""
        self._answer(data)


class Terminal:
    """A program that has a terminal of its own, which controls it; a context manager that ends it with the test."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int = 100,
        lines: int = 30,
        *,
        mute: bool = False,
        **environment: str,
    ) -> None:
        """`mute`: it says nothing when it is asked."""
        self._ours, self._theirs = pty.openpty()
        self._screen = Screen(columns, lines, self.press if not mute else lambda _: None)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        """All that the program has written."""
        self.resize(columns, lines)
        self.attributes = self._attributes()
        """Those of termios(3), before the program had it."""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # becomes the program, with the same pid
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without the blanks at the ends of the lines."""
        self._read()
        return [line.rstrip() for line in self._screen.display]

    def colors(self, line: int) -> set[str]:
        """The colours of the letters of a line."""
        return {cell.fg for cell in self._screen.buffer[line].values()}

    def until(self, what: str, condition: Callable[[list[str]], Any]) -> list[str]:
        """Wait until the lines are such, and return them."""
        seen: list[str] = []

        def met() -> bool:
            seen[:] = self.lines
            return bool(condition(seen))

        try:
            wait_for(met, what)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *seen])) from None
        return seen

    def shows(self, text: str) -> list[str]:
        """Wait until `text` stands in one of the lines, and return them all."""
        return self.until(repr(text), lambda lines: any(text in line for line in lines))

    def press(self, keys: str | bytes) -> None:
        """Type, or paste what need not be text."""
        os.write(self._ours, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, columns: int, lines: int) -> None:
        """As when a window's edge is drawn; the kernel sends SIGWINCH."""
        self._read()
        self._screen.resize(lines, columns)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the program's end and return its exit status."""

        def met() -> bool:
            self._read()  # or a program that has much to say would wait for us
            return self.process.poll() is not None

        wait_for(met, "the end")
        self._read()
        return self.process.returncode

    @property
    def taken(self) -> bool:
        """The program has changed its modes."""
        self._read()
        return self._attributes() != self.attributes

    def left_as_it_was(self) -> bool:
        """Whether modes, cursor and alternate screen are what they were before the program."""
        self._read()
        pairs = ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"))
        undone = all(self.written.rfind(do) <= self.written.rfind(undo) for do, undo in pairs)
        return undone and self._attributes() == self.attributes

    def hang_up(self) -> None:
        """Close it, as when a window is closed."""
        for fd in (self._ours, self._theirs):
            if fd >= 0:
                os.close(fd)
        self._ours = self._theirs = -1

    def _attributes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self) -> None:
        while select.select([self._ours], [], [], 0)[0]:
            data = os.read(self._ours, 65536)
            self.written += data
            self._stream.feed(data)
