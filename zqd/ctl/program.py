"""The command line of `zqctl`, made from two tables, and the course of one call.

COMMANDS has what zqd does, LOCAL what zqctl does itself. A new command needs nothing here: its sub-command, arguments and help
are its row. Called by the console program and by `python -m zqd.ctl`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import zqd
from zqd.control.commands import COMMANDS, TIMEOUT, Argument, Command
from zqd.ctl import views
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import (
    DEFAULT_TIMEOUT,
    LOCAL,
    Local,
    Option,
    Session,
    complain,
    duration,
    interval,
    terminal_width,
    whole,
)
from zqd.rundir import control_endpoints
from zqd.standard import hold_standard_descriptors, see_out

WATCHABLE = frozenset({"status", "queues", "workers", "clients", "requests"})
"""The commands whose answers are tables that change."""

EPILOG = """exit status: 0 ok, 1 error, 2 usage, 3 zqd is not running, 4 no permission.
Without --control the first socket of these is taken: {}"""


class HelpFormatter(argparse.HelpFormatter):
    """Knows the terminal's width without shutil, which argparse would import at every call, for help or not."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=(terminal_width() or 80) - 2)


class Parser(argparse.ArgumentParser):
    """One whose messages may get lost: the exit status says it too. Newer versions of argparse are like that."""

    def error(self, message: str) -> NoReturn:
        """Raise `ControlError`, which is told as all others are, below the usage."""
        self.print_usage(sys.stderr)
        raise ControlError(ExitStatus.USAGE, message)

    def _print_message(self, message: str, file: Any = None) -> None:
        with contextlib.suppress(OSError):
            super()._print_message(message, file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `zqctl` with `argv` (without the program's name) and return its exit status."""
    hold_standard_descriptors()
    words = sys.argv[1:] if argv is None else argv
    try:
        return _run(words)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        return ExitStatus.OK  # a reader that has had enough
    except ControlError as error:
        complain(error.sentence)
        return error.status
    finally:  # --help and --version end by SystemExit
        see_out()


def _run(words: Sequence[str]) -> int:
    try:
        options = build_parser().parse_args(words)
    except ControlError as misuse:
        if next((word for word in words if word in COMMANDS or word in LOCAL), None) != "check":
            raise
        # A monitoring system reads standard output alone, and takes status 2 for CRITICAL.
        from zqd.ctl import check

        complain(misuse.sentence)
        return check.unanswered(Session(json="--json" in words), misuse)
    return _call(options)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; shell completion is derived from it too."""
    parser = Parser(
        prog="zqctl",
        description="Ask a running zqd how it is, or tell it what to do.",
        epilog=EPILOG.format(" ".join(control_endpoints())),
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"zqctl {zqd.__version__}")
    parser.set_defaults(control=None, json=False, timeout=None, watch=None)
    _add_common(parser)
    subparsers = parser.add_subparsers(prog="zqctl", metavar="COMMAND", required=True)
    for row in COMMANDS.values():
        subparser = _add_command(subparsers, row)
        for argument in row.arguments:
            if argument is not TIMEOUT:  # which is the common option of that name
                _add_option(subparser, _option(argument))
        if row.name in WATCHABLE:
            subparser.add_argument(
                "--watch", type=interval, metavar="S", help="ask again every S seconds, until Ctrl-C"
            )
        _add_common(subparser)
    for local in LOCAL.values():
        subparser = _add_command(subparsers, local)
        for option in local.arguments:
            _add_option(subparser, option)
        _add_common(subparser)
    return parser


def _add_command(
    subparsers: argparse._SubParsersAction[Parser], row: Command | Local
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        row.name, help=row.help, description=row.help, allow_abbrev=False, formatter_class=HelpFormatter
    )
    parser.set_defaults(row=row)
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
        type=duration(0),
        metavar="S",
        default=argparse.SUPPRESS,
        help=f"seconds (or 500ms, 2m) to wait for the answer, 0 for as long as it takes (default {DEFAULT_TIMEOUT:g},"
        " or 0 for a command that waits); of events, when to end",
    )


def _option(argument: Argument) -> Option:
    """An argument of the server's. What is not given is left out of the request: the default is zqd's, which may be newer."""
    counts = argument.type is int and argument.most is not None
    return Option(
        argument.name,
        argument.help,
        whole(0, int(argument.most or 0)) if counts else argument.type,
        required=argument.required,
        positional=argument.positional,
        metavar=argument.metavar,
    )


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    metavar = option.metavar or option.name.replace("_", "-").upper()
    flag = "--" + option.name.replace("_", "-")
    if option.positional:
        parser.add_argument(
            option.name,
            type=option.type,
            metavar=metavar,
            nargs=None if option.required else "?",
            choices=option.choices,
            default=option.default,
            help=option.help,
        )
    elif option.type is bool:
        parser.add_argument(
            flag, dest=option.name, action="store_true", default=option.default, help=option.help
        )
    else:
        parser.add_argument(
            flag,
            dest=option.name,
            type=option.type,
            metavar=metavar,
            required=option.required,
            choices=option.choices,
            action="append" if option.many else "store",
            default=[] if option.many else option.default,
            help=option.help,
        )


def _call(options: argparse.Namespace) -> int:
    row: Command | Local = options.row
    session = Session(options.control, json=options.json, timeout=options.timeout)
    given = {argument.name: getattr(options, argument.name) for argument in row.arguments}
    if isinstance(row, Local):
        return row.run(session, given)
    args = {name: value for name, value in given.items() if value is not None}
    if row.answers_late(args):
        # zqd itself says that it has not come to that in time, and is given that time to say it.
        session.timeout = options.timeout + DEFAULT_TIMEOUT if options.timeout else 0.0
    if options.watch is not None:
        from zqd.ctl import watch

        watch.watch(session, row.name, args, options.watch)
    result = session.ask(row.name, **args)
    if options.json:
        session.write(json.dumps(result, indent=2) + "\n")
    else:
        session.write(views.render(row.name, args, result, session.width, color=session.color))
    return ExitStatus.OK
