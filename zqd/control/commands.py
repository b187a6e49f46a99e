"""The COMMANDS table, in which everything that can be asked of a running zqd is one row, and how a row is run.

The rows themselves are the decorated functions of `inquiries` and `orders`.

A row knows all that there is to know about its command, so dispatch, `zqctl`'s sub-commands, options and help, and the
completion follow from it. Knows the broker only as the `Broker` protocol, and neither zmq nor the socket that a request came
by. Called by `zqd.control.server`, and by `zqd.ctl`, whose start-up time is a feature: keep the imports few.

To add a command, write one function that takes the broker and the checked arguments and returns something that JSON can
hold, or a `Later` if its answer comes when the work is done:

    @command(Argument("queue", positional=True, required=True, help="the queue to pause"), reads=False)
    def pause(broker: Broker, args: Arguments) -> object:
        \"\"\"Stop dispatching requests of a queue.\"\"\"
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import zqd
from zqd.control.answers import Code, CommandError
from zqd.control.broker import Broker

PROTOCOL = 1
"""The number of the control protocol, in every request ("zqctl") and every reply ("zqd")."""

_TYPE_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}

Arguments = Mapping[str, Any]
"""The arguments of one call: every one that the row declares, checked, with the defaults filled in."""


class Argument(NamedTuple):
    """One argument of a command: `--name VALUE` in zqctl (`--name` alone for a bool), or `NAME` if positional."""

    name: str
    help: str
    type: type[str | int | float | bool] = str
    required: bool = False
    default: Any = None
    positional: bool = False
    metavar: str | None = None
    most: float | None = None
    """Of a number that counts something: from 0 to this."""


MOST = 1_000_000
TIMEOUT = Argument(
    "timeout",
    "give up after so many seconds (default: never)",
    type=float,
    default=0.0,
    metavar="S",
    most=MOST,
)
"""The argument of a command that may answer late."""


class Command(NamedTuple):
    """A row of the table."""

    name: str
    run: Callable[[Broker, Arguments], object]
    help: str
    arguments: tuple[Argument, ...]
    reads: bool
    """Whether it only reads, and so may be asked by those who may not change anything."""

    def answers_late(self, given: Mapping[str, object]) -> bool:
        """Whether a call with these arguments waits for something to become true."""
        return TIMEOUT in self.arguments and (
            bool(given.get("wait")) or not any(a.name == "wait" for a in self.arguments)
        )


COMMANDS: dict[str, Command] = {}


def command(
    *arguments: Argument, reads: bool, table: dict[str, Command] = COMMANDS
) -> Callable[[Callable[[Broker, Arguments], object]], Callable[[Broker, Arguments], object]]:
    """Enter the decorated function in the table, under its own name with dashes, and with its docstring's first line as help."""

    def enter(run: Callable[[Broker, Arguments], object]) -> Callable[[Broker, Arguments], object]:
        name = run.__name__.replace("_", "-")
        if name in table or not run.__doc__:
            raise ValueError(
                f"the command {name} is in the table already, or has no docstring to be its help"
            )
        table[name] = Command(name, run, run.__doc__.strip().splitlines()[0], arguments, reads)
        return run

    return enter


def dispatch(
    broker: Broker, name: str, given: Mapping[str, object], table: Mapping[str, Command] = COMMANDS
) -> object:
    """Check the arguments and run the command: its result, or a `Later`.

    Raises `CommandError` for what the caller did wrong; an exception of any other kind is a fault of ours.
    """
    row = table.get(name)
    if row is None and name in COMMANDS:
        raise CommandError(
            Code.NOT_PERMITTED, f"{name} changes something: it is not served here, only at the control socket"
        )
    if row is None:
        raise CommandError(
            Code.UNKNOWN_COMMAND,
            f"unknown command {shown(name)}; zqd {zqd.__version__} knows {', '.join(sorted(table))}",
        )
    return row.run(broker, _checked(row, given))


def _checked(row: Command, given: Mapping[str, object]) -> dict[str, Any]:
    known = {argument.name for argument in row.arguments}
    for name in given:
        if name not in known:
            raise CommandError(Code.BAD_ARGUMENT, f"{row.name} takes no argument {shown(name)}")
    args: dict[str, Any] = {}
    for argument in row.arguments:
        value = given.get(argument.name)
        if value is None:
            if argument.required:
                raise CommandError(Code.BAD_ARGUMENT, f"{row.name} needs the argument {argument.name!r}")
            value = argument.default
        elif not _fits(value, argument.type):
            raise CommandError(
                Code.BAD_ARGUMENT,
                f"the argument {argument.name!r} of {row.name} must be {_TYPE_NAMES[argument.type]}, not {shown(value)}",
            )
        elif argument.most is not None and isinstance(value, int | float) and not 0 <= value <= argument.most:
            raise CommandError(
                Code.BAD_ARGUMENT,
                f"the argument {argument.name!r} of {row.name} must be from 0 to {argument.most:.0f}, not {shown(value)}",
            )
        args[argument.name] = value
    return args


def _fits(value: object, kind: type) -> bool:
    """Whether a value out of JSON is of `kind`; true and false are no numbers, and a whole number is a number."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return (
            isinstance(value, int | float) and -1e300 < value < 1e300
        )  # neither NaN nor past a float's range
    return isinstance(value, kind)


def shown(value: object) -> str:
    """What a peer sent, for a sentence: quoted, and neither all of 64 KiB of it nor a thousand brackets deep."""
    shown = reprlib.Repr()
    shown.maxstring = 60
    return shown.repr(value)
