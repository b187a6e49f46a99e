"""The commands that run in zqctl itself, and the session in which they run.

A row of LOCAL is all that the command line, its help and the completion need to know, and imports nothing. To add a command,
add a row here and a module `zqd.ctl.NAME` with a function

    def run(session: Session, args: dict[str, Any]) -> int:

which is imported only when the command is called, so that it may import what it likes. `args` holds every option of the row,
under its name with underscores: what was given, else its default. It returns the exit status (`ExitStatus`, or a number of
its own), asks with `session.ask`, prints with `session.write`, and raises `ControlError` for one sentence on standard error. KeyboardInterrupt
and BrokenPipeError are left alone: `zqd.ctl.program` turns them into their endings. Every command heeds `session.json`.

Called by `zqd.ctl.program`; `Session` also by whatever runs in one.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from zqd import standard
from zqd.ctl import connection
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.tables import plain

DEFAULT_TIMEOUT = 5.0
"""Seconds to wait for an answer, where the command line does not say."""

MANY = 10**9
"""More than anybody can mean by a number of things."""

MOST_SECONDS = 1_000_000
"""Nor by a time to wait."""


class Session:
    """What the common options say: whom to ask, for how long, and how to print the answers."""

    __slots__ = ("control", "given_timeout", "json", "timeout")

    def __init__(
        self, control: str | None = None, *, json: bool = False, timeout: float | None = None
    ) -> None:
        self.control = control
        """The endpoint of --control; None: the first control socket that is found."""
        self.json = json
        self.given_timeout = timeout
        """What --timeout says; None where it is not given."""
        self.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        """Seconds to wait for an answer, 0 for as long as it takes."""

    def ask(self, command: str, /, **args: object) -> Any:
        """Return zqd's answer to a command of the COMMANDS table; raises `ControlError`."""
        return connection.consult(self.control, command, args, self.timeout)

    def write(self, text: str | bytes) -> None:
        """Write to standard output and see it out.

        Raises BrokenPipeError when the reader has had enough (`| head`), and `ControlError` for any other fault.
        """
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a locale that lacks a name's letters
        try:
            standard.write(text)
        except BrokenPipeError:
            raise
        except OSError as fault:
            raise ControlError(ExitStatus.ERROR, f"cannot write the answer: {fault.strerror}") from None

    @property
    def width(self) -> int | None:
        """How many columns the terminal at standard output has; None without one."""
        return terminal_width()

    @property
    def color(self) -> bool:
        """Whether to colour what is printed: on a terminal that can, and never with NO_COLOR (no-color.org)."""
        return (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "dumb") != "dumb"
        )


def complain(sentence: str) -> None:
    """Say on standard error what is wrong; zqd may have more than one line to say."""
    standard.complain("zqctl", "\n".join(map(plain, sentence.splitlines())))


def terminal_width() -> int | None:
    """How many columns the terminal at standard output has; None without one."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


# The table ------------------------------------------------------------------------------------------------------------


def duration(least: float) -> Callable[[str], float]:
    """The type of an option that is a number of seconds, or a duration as the configuration has it (`500ms`)."""

    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            from zqd.config.values import parse_duration  # as slow to import as all the rest

            try:
                seconds = parse_duration(text)
            except ValueError as fault:
                sentence = f'{fault}; expected a duration such as "500ms" or "5s"'
                raise argparse.ArgumentTypeError(sentence) from None
        if not least <= seconds <= MOST_SECONDS:
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {MOST_SECONDS} seconds")
        return seconds

    return parse


interval = duration(0.1)
"""The type of an option for the time between two looks."""


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number of these bounds."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:  # also that of thousands of digits
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text:.30} is not a whole number from {least} to {most}")
        return number

    return parse


class Option(NamedTuple):
    """An option of a local command: `--name VALUE` (`--name` alone for a bool), or `NAME` if positional."""

    name: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    required: bool = False
    positional: bool = False
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    many: bool = False
    """It may be given more than once; the value is the list of them, empty if none is given."""


class Local(NamedTuple):
    """A row of the table; its `run` is that of the module of the same name."""

    name: str
    help: str
    arguments: tuple[Option, ...] = ()
    module: str | None = None
    """The module in `zqd.ctl`, where it is not named as the command is."""

    def run(self, session: Session, args: dict[str, Any]) -> int:
        """Run the command and return its exit status. Raises `ControlError`."""
        module = importlib.import_module(f"zqd.ctl.{self.module or self.name}")
        status: int = module.run(session, args)
        return status


_QUEUE = Option("queue", "only what belongs to this queue", metavar="NAME")
_TARGET = (
    Option("queue", "through this queue of zqd", metavar="NAME"),
    Option("endpoint", "to whoever answers there, instead of asking zqd where", metavar="ENDPOINT"),
    Option(
        "server_key", "its public key, where it uses CURVE: 40 characters, or a certificate", metavar="KEY"
    ),
    Option("curve_secret", "the key to be known by: a certificate (default: any key)", metavar="FILE"),
)

LOCAL: dict[str, Local] = {
    row.name: row
    for row in (
        Local(
            "top",
            "Watch the queues, workers and clients live, on the whole screen.",
            (Option("interval", "seconds between two looks (default 1)", interval, 1.0, metavar="S"),),
        ),
        Local(
            "events",
            "Print what happens in zqd as it happens, a line for each event.",
            (
                Option(
                    "topic", "only events whose names begin so; may be repeated", metavar="PREFIX", many=True
                ),
                Option("count", "end after so many events", whole(1, MANY), metavar="N"),
            ),
            module="follow",
        ),
        Local(
            "doctor",
            "Look for what is wrong with zqd and around it, and say what to do.",
            (
                Option("probe", "send this request through the queue and await its reply", metavar="BODY"),
                _QUEUE,
            ),
        ),
        Local(
            "metrics",
            "Print the numbers for Prometheus.",
            (Option("textfile", "write them to this file instead, in one step", metavar="FILE"),),
        ),
        Local(
            "check",
            "Tell whether all is well, as a monitoring system's plugin does.",
            (
                Option(
                    "max_wait",
                    "the oldest request may have waited so long (500ms, 3s)",
                    duration(0),
                    metavar="DURATION",
                ),
                Option(
                    "min_workers",
                    "so many workers must be connected (default 1)",
                    whole(0, MANY),
                    1,
                    metavar="N",
                ),
                Option("max_queued", "so many requests may wait", whole(0, MANY), metavar="N"),
                Option("min_idle", "so many workers must be idle", whole(0, MANY), metavar="N"),
                _QUEUE,
            ),
        ),
        Local(
            "request",
            "Send one request, and print its reply and how long it took.",
            (
                Option(
                    "body", "what to send; - reads it from standard input", required=True, positional=True
                ),
                *_TARGET,
            ),
        ),
        Local(
            "bench",
            "Make a small load, and print how fast it was answered.",
            (
                Option("requests", "how many in all (default 10000)", whole(1, MANY), 10_000, metavar="N"),
                Option(
                    "clients",
                    "how many at a time, each by its own connection (default 10)",
                    whole(1, 10_000),
                    10,
                    metavar="N",
                ),
                Option("size", "bytes of each request (default 64)", whole(1, 1 << 30), 64, metavar="BYTES"),
                *_TARGET,
            ),
        ),
        Local(
            "keygen",
            "Write a new pair of CURVE keys: NAME.key and NAME.key_secret.",
            (
                Option("name", "whose keys they are (default zqd)", default="zqd", positional=True),
                Option("directory", "where to write them (default: here)", default=".", metavar="DIR"),
            ),
        ),
        Local(
            "completion",
            "Print the shell's completion of zqctl.",
            (
                Option(
                    "shell",
                    "which shell",
                    required=True,
                    positional=True,
                    choices=("bash", "zsh", "fish"),
                ),
            ),
        ),
    )
}
