"""Fixtures of the tests of the daemon as a process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.notified import NotifySocket
from tests.faults.conftest import crowd

__all__ = ["crowd", "notify", "signal_mask"]


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
