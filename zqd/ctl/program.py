"""The command line of `zqctl`, made from the COMMANDS table, and the course of one call.

A new command needs nothing here: its sub-command, arguments and help are its row. Called by the console program and by
`python -m zqd.ctl`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence

import zqd
from zqd.control.commands import COMMANDS, TIMEOUT, Argument, Command
from zqd.ctl import connection, tables
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.rundir import control_endpoints

DEFAULT_TIMEOUT = 5.0

EPILOG = """exit status: 0 ok, 1 error, 2 usage, 3 zqd is not running, 4 no permission.
Without --control the first socket of these is taken: {}"""


class HelpFormatter(argparse.HelpFormatter):
    """Knows the terminal's width without shutil, which argparse would import at every call, for help or not."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=(_terminal_width() or 80) - 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `zqctl` with `argv` (without the program's name) and return its exit status."""
    try:
        options = build_parser().parse_args(argv)
        return _call(options)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except ControlError as error:
        sys.stderr.write(f"zqctl: {tables.plain(error.sentence)}\n")
        return error.status


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; shell completion is derived from it too."""
    parser = argparse.ArgumentParser(
        prog="zqctl",
        description="Ask a running zqd how it is, or tell it what to do.",
        epilog=EPILOG.format(" ".join(control_endpoints())),
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zqctl {zqd.__version__}")
    parser.set_defaults(control=None, json=False, timeout=None)
    _add_common(parser)
    subparsers = parser.add_subparsers(prog="zqctl", metavar="COMMAND", required=True)
    for row in COMMANDS.values():
        subparser = subparsers.add_parser(
            row.name,
            help=row.help,
            description=row.help,
            allow_abbrev=False,
            formatter_class=HelpFormatter,
        )
        subparser.set_defaults(row=row)
        for argument in row.arguments:
            if argument is not TIMEOUT:  # which is the common option of that name
                _add_argument(subparser, argument)
        _add_common(subparser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that may stand before or after the command.

    Their defaults are set once, outside: a default of the second place would overwrite what was given in the first.
    """
    parser.add_argument(
        "--control",
        metavar="ENDPOINT",
        default=argparse.SUPPRESS,
        help="the control socket, ipc://PATH",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print the answer as JSON",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        default=argparse.SUPPRESS,
        help=f"seconds to wait for the answer, 0 for as long as it takes (default {DEFAULT_TIMEOUT:g},"
        " or 0 for a command that waits)",
    )


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    metavar = argument.metavar or argument.name.replace("_", "-").upper()
    option = "--" + argument.name.replace("_", "-")
    if argument.positional:
        parser.add_argument(
            argument.name,
            type=argument.type,
            metavar=metavar,
            nargs=None if argument.required else "?",
            help=argument.help,
        )
    elif argument.type is bool:
        parser.add_argument(option, dest=argument.name, action="store_true", default=None, help=argument.help)
    else:
        parser.add_argument(
            option,
            dest=argument.name,
            type=argument.type,
            metavar=metavar,
            required=argument.required,
            help=argument.help,
        )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000000 seconds")
    return seconds


def _call(options: argparse.Namespace) -> ExitStatus:
    row: Command = options.row
    # What was not given is left out: the defaults are zqd's, which may be of another version.
    given = {argument.name: getattr(options, argument.name) for argument in row.arguments}
    args = {name: value for name, value in given.items() if value is not None}
    timeout = options.timeout
    if timeout is None:
        timeout = 0.0 if row.answers_late(args) else DEFAULT_TIMEOUT
    elif timeout and row.answers_late(args):
        timeout += DEFAULT_TIMEOUT  # zqd itself says that it has not come to that in time
    result = connection.ask(connection.locate(options.control), row.name, args, timeout)
    if options.json:
        _write(json.dumps(result, indent=2) + "\n")
    else:
        _write(tables.render(row.name, args, result, _terminal_width()))
    return ExitStatus.OK


def _terminal_width() -> int | None:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None  # not a terminal


def _write(text: str) -> None:
    """Write to standard output and see it out. A reader that has had enough (`| head`) is no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale that lacks a name's letters
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
    except OSError as fault:
        _abandon_stdout()
        raise ControlError(ExitStatus.ERROR, f"cannot write the answer: {fault.strerror}") from None


def _abandon_stdout() -> None:
    """Lead what is still in the buffer nowhere, or the interpreter would complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
