"""Fixtures of the tests of the daemon as a process."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.notified import NotifySocket
from tests.faults.conftest import crowd

__all__ = ["activate", "crowd", "notify", "signal_mask"]


@pytest.fixture(autouse=True)
def signal_mask() -> Iterator[None]:
    """`zqd.daemon.main` blocks signals for the rest of its process's life; here that is pytest's, and its children's."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    """The service manager's socket."""
    with NotifySocket(tmp_path / "notify") as notify:
        yield notify


@pytest.fixture
def activate() -> str:
    """systemd-socket-activate(1). Root can install it, and tests/run does: then its absence is a failure."""
    program = shutil.which("systemd-socket-activate")
    if program is None:
        missing = "SOCKET ACTIVATION IS NOT TESTED: no systemd-socket-activate (Debian package systemd)"
        if os.geteuid() == 0:
            pytest.fail(missing)
        pytest.skip(missing)
    return program
