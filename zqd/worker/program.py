"""`zqd-worker`: the command line, and the composition of all parts. `main` returns the exit status.

Called by the console program and by `python -m zqd.worker`.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from zqd import __version__
from zqd.errors import ExitStatus, UsageError, ZqdError
from zqd.keys.connection import Keys
from zqd.logs import EventLog, configure, reopen, set_level
from zqd.standard import complain, hold_standard_descriptors, see_out, show
from zqd.systemd.notify import Notifier
from zqd.worker.command import CommandHandler
from zqd.worker.handler import Handler
from zqd.worker.handler import load as load_handler
from zqd.worker.instance import Instance
from zqd.worker.keys import load_keys
from zqd.worker.settings import WorkerSettings, describe, load
from zqd.worker.signals import STOP, signals_to

NAME = "zqd-worker"
_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@\\-]{0,199}")
FLAGS = ("backend", "handler", "command", "concurrency", "log_level", "log_format")
"""The keys that flags of their own can set."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `zqd-worker` with `argv` (without the program's name) and return its exit status."""
    hold_standard_descriptors()
    program = _Program()
    try:
        status = _status_of(program, argv)
    finally:  # argparse ends by SystemExit
        see_out()
    if program.abandoned:
        # A handler that hangs must not keep the process, nor meet an interpreter that is being taken down.
        os._exit(status)
    return status


def _status_of(program: _Program, argv: Sequence[str] | None) -> int:
    try:
        program.run(_parser().parse_args(argv))
    except ZqdError as error:
        complain(NAME, str(error))
        return error.status
    except KeyboardInterrupt:  # before there was anything to stop
        return 128 + signal.SIGINT
    except Exception as fault:  # noqa: BLE001 - the log has it, with its traceback
        EventLog().fault(fault)
        return ExitStatus.SOFTWARE
    return ExitStatus.OK


class _Program:
    """One call of `zqd-worker`."""

    def __init__(self) -> None:
        self.abandoned = False
        """Handlers still run though the end has come."""

    def run(self, options: argparse.Namespace) -> None:
        """Do what the options say; raises ZqdError."""
        self._options = options
        self._instance = options.instance if options.instance is not None else str(os.getpid())
        if not _INSTANCE.fullmatch(self._instance):
            raise UsageError(
                f"--instance {self._instance!r}: expected at most 200 letters, digits and _ . : @ \\ -, the first a letter, digit or _"
            )
        if options.command == []:
            raise UsageError("--command: expected PROGRAM and its arguments")
        self._flags = {key: getattr(options, key) for key in FLAGS}
        os.environ["ZQD_INSTANCE"] = self._instance  # for handlers and commands
        settings, sources = self._load()
        if self._options.print_config:
            show(describe(settings, sources))
            return
        keys = load_keys(settings)
        sys.path[:0] = settings.python_path
        handler = _handler(settings)
        if self._options.check_config:
            if settings.command and shutil.which(settings.command[0]) is None:
                complain(NAME, f"warning: command: there is no program {settings.command[0]}")
            show("the configuration is good\n")
            return
        default = sources["handler"] == "default" and not settings.command
        self._serve(settings, handler, keys, default=default)

    def _serve(
        self, settings: WorkerSettings, handler: Handler, keys: Sequence[Keys | None], *, default: bool
    ) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(
                line_buffering=True
            )  # what a handler prints shall be seen when it is printed
        notifier = Notifier.from_environment()
        configure(
            settings.log_level,
            settings.log_format,
            settings.log_target,
            identifier=f"{NAME}@{self._instance}",
        )
        log = EventLog()
        if default:
            log("instance.default", {"handler": settings.handler})
        name = f"{NAME}@{self._instance}"
        instance = Instance(
            settings,
            handler,
            keys,
            name=name,
            note=log,
            notifier=notifier,
            reloader=self._reload,
            reloaded=lambda settings: set_level(settings.log_level),
        )
        try:
            with signals_to(instance, reload=True):
                try:
                    instance.run()
                finally:  # what is left is the exit, which one more signal must not turn into a failure
                    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        finally:
            instance.close()
            notifier.close()
            log.fold()
            self.abandoned = instance.abandoned

    def _load(self) -> tuple[WorkerSettings, dict[str, str]]:
        return load(self._options.config, self._instance, self._options.set, self._flags)

    def _reload(self) -> tuple[WorkerSettings, Handler, Sequence[Keys | None]]:
        reopen()  # the log's file (logrotate(8))
        settings, _ = self._load()
        keys = load_keys(settings)
        return settings, _handler(settings, fresh=True), keys


def _handler(settings: WorkerSettings, *, fresh: bool = False) -> Handler:
    limit = settings.max_reply_size
    if settings.command:
        return CommandHandler(settings.command, timeout=settings.handler_timeout, max_reply_size=limit)
    return load_handler(settings.handler, frames=settings.frames, max_reply_size=limit, fresh=fresh)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\ntry {NAME} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=NAME,
        description="Answer the requests of zqd with a handler in Python, or with a command.",
        epilog="Without a handler or a command it answers as an example does: World from server NAME.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("--instance", metavar="NAME", help="the instance's name (default: the process's id)")
    option(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration of all instances (default: /etc/zqd/worker.toml, if it exists); workers/NAME.toml beside it goes over it",
    )
    option(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, e.g. handler_timeout=30s",
    )
    option("--backend", action="append", metavar="ENDPOINT", help="a broker to serve; may be repeated")
    option("--concurrency", type=int, metavar="N", help="requests at once")
    option("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    option("--log-format", metavar="FORMAT", help="auto, journal, json or console")
    option("--check-config", action="store_true", help="check the configuration, load the handler and exit")
    option(
        "--print-config", action="store_true", help="print every setting and where it comes from, and exit"
    )
    option("--version", action="version", version=f"{NAME} {__version__}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--handler", metavar="MODULE:NAME", help="the callable that answers requests")
    what.add_argument(
        "--command",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM ARG",
        help="a program to run once a request: the body on its standard input, its standard output is the reply; "
        "takes the rest of the line",
    )
    return parser
