"""The words for what can go wrong: exit statuses, failure codes, and the exceptions behind them.

Layer 0: imports nothing of zqd. Exceptions are for the operator's mistakes and the machine's refusals;
what a *peer* sends is never raised (zqd(7), law 4) but counted and noticed where it arrives.
"""

from __future__ import annotations

import enum


class ExitStatus(enum.IntEnum):
    """Exit statuses of `zqd` (sysexits.h)."""

    OK = 0
    USAGE = 64
    UNAVAILABLE = 69
    SOFTWARE = 70
    CONFIG = 78


class FailureCode(enum.IntEnum):
    """Why a request got no reply (zqd(7), "Failures"); travels as `ZQD-ERROR <code> <reason>`."""

    BAD_OPTIONS = 400
    TOO_LARGE = 413
    CANCELLED = 499
    HANDLER_FAILED = 500
    WORKER_LOST = 502
    NO_CAPACITY = 503
    TIMED_OUT = 504


class ZqdError(Exception):
    """A fault that ends a program with one clear line and its `status`, never with a traceback."""

    status: ExitStatus = ExitStatus.SOFTWARE


class UsageError(ZqdError):
    """The command line makes no sense (status 64)."""

    status = ExitStatus.USAGE


class ConfigError(ZqdError):
    """One or more faults of the configuration (status 78); `problems` holds a line for each."""

    status = ExitStatus.CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnavailableError(ZqdError):
    """The machine refuses: a taken port, a path that cannot be made (status 69)."""

    status = ExitStatus.UNAVAILABLE
