"""The command line of `zqd`: from arguments to one configuration, one daemon, one exit status.

Layer 4. Called by: `zqd.daemon.main`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from zqd import __version__
from zqd.config import Config, describe, load
from zqd.daemon.check import check
from zqd.daemon.daemon import Daemon
from zqd.daemon.memory import keep_free_memory
from zqd.daemon.service import Service
from zqd.daemon.signals import signals_to
from zqd.daemon.sockets import Sockets
from zqd.errors import ExitStatus, UsageError, ZqdError
from zqd.logs import EventLog, configure
from zqd.standard import complain, hold_standard_descriptors, see_out, show
from zqd.systemd.notify import Notifier
from zqd.systemd.passed import PassedSockets


def run(argv: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    hold_standard_descriptors()
    try:
        arguments = _parser().parse_args(argv)
        _check(arguments)
        if arguments.config is not None:
            arguments.config = arguments.config.absolute()  # detaching changes the working directory
        # Before any descriptor of ours could be taken for one of them.
        passed = PassedSockets.from_environment()
        if arguments.daemonize:
            from zqd.daemon.detached import close_inherited  # python-daemon is slow to import

            close_inherited(keep=passed.descriptors)
        flags = {key: getattr(arguments, key) for key in _FLAGS}

        def load_anew() -> Config:
            return load(arguments.config, arguments.set, flags, passed.names)

        config = load_anew()
        if arguments.check_config:
            check(config, Sockets(passed))
            show("the configuration is good\n")
        elif arguments.print_config:
            show(describe(config))
        else:
            serve(config, load_anew, passed, arguments.pidfile if arguments.daemonize else None)
    except ZqdError as error:
        complain("zqd", str(error))
        return error.status
    except Exception as fault:  # noqa: BLE001 - the log has it, with its traceback
        EventLog().fault(fault)
        return ExitStatus.SOFTWARE
    finally:
        see_out()
    return ExitStatus.OK


def serve(
    config: Config, load_anew: Callable[[], Config], passed: PassedSockets, pid_path: Path | None
) -> None:
    """Run a daemon until it was stopped; raises ZqdError where it cannot start. With a pid file's path it detaches."""
    with contextlib.ExitStack() as cleanup:
        target, pid_file = config.log_target, None
        if pid_path is not None:
            from zqd.daemon.detached import PidFile

            pid_file = cleanup.enter_context(PidFile(pid_path))
            target = "syslog" if target == "stderr" else target
        configure(config.log_level, config.log_format, target)
        service = Service(Notifier.from_environment())
        cleanup.callback(service.close)
        daemon = Daemon(config, EventLog(), Sockets(passed), service, load_anew)
        desk = daemon.desk
        orders = {
            signal.SIGTERM: daemon.stop,
            signal.SIGINT: daemon.stop,
            signal.SIGHUP: desk.reload_by_signal,
            signal.SIGUSR1: desk.log_status,
            signal.SIGUSR2: desk.toggle_debug,
        }
        with signals_to(daemon.loop, orders):
            daemon.open()
            try:
                if (
                    pid_file is not None
                ):  # now that nothing can go wrong: whoever started zqd has its exit status
                    pid_file.detach()
                # What exists now lives until the end; and traffic makes no cycles, so that collecting rarely is enough.
                gc.collect()
                gc.freeze()
                gc.set_threshold(50_000, 20, 100)
                daemon.loop.call_at(daemon.loop.now + SOON, lambda: _keep_free_memory(daemon))
                daemon.run()
            finally:
                daemon.close()


def _keep_free_memory(daemon: Daemon) -> None:
    daemon.loop.housekeeping = keep_free_memory()


SOON = 0.1  # seconds: it takes some milliseconds, for which nobody who starts zqd shall wait
_FLAGS = ("frontend", "backend", "control", "log_level", "log_format", "allow_unauthenticated")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\ntry zqd --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="zqd",
        description="The ZeroMQ QUEUE device: a broker between REQ clients and REP workers.",
        epilog="Signals: TERM and INT stop (twice: now), HUP reloads, USR1 logs the status, USR2 switches debug logging.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option(
        "--config", type=Path, metavar="FILE", help="configuration (default: /etc/zqd/zqd.toml, if it exists)"
    )
    option(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, e.g. queues.default.prefetch=2",
    )
    option("--frontend", action="append", metavar="ENDPOINT", help="where clients connect; may be repeated")
    option("--backend", action="append", metavar="ENDPOINT", help="where workers connect; may be repeated")
    option("--control", metavar="ENDPOINT", help="where zqctl connects (ipc://)")
    option("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    option("--log-format", metavar="FORMAT", help="auto, journal, json or console")
    option("--allow-unauthenticated", action="store_true", help="allow endpoints that other machines reach")
    option("--check-config", action="store_true", help="check the configuration and exit")
    option(
        "--print-config", action="store_true", help="print every setting in effect with its source, and exit"
    )
    option("--daemonize", action="store_true", help="detach from the terminal, for hosts without systemd")
    option("--pidfile", type=Path, metavar="FILE", help="of --daemonize: locked while zqd runs")
    option("--version", action="version", version=f"zqd {__version__}")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    if arguments.daemonize and arguments.pidfile is None:
        raise UsageError("--daemonize needs --pidfile FILE, by which zqd is found again\ntry zqd --help")
    if arguments.pidfile is not None and not arguments.daemonize:
        raise UsageError("--pidfile goes with --daemonize only\ntry zqd --help")
