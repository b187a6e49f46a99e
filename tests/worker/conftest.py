"""Fixtures for the tests of zqd-worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import crowd
from tests.support.processes import Zqd
from tests.worker.workers import ServiceManager, WorkerProcess

__all__ = ["crowd"]

StartWorker = Callable[..., WorkerProcess]
"""`worker(instance, *options, env=…)`: a zqd-worker that is connected to the test's zqd."""


@pytest.fixture
def worker(tmp_path: Path, zqd: Zqd) -> Iterator[StartWorker]:
    """Starts workers of the test's zqd and waits until zqd knows them; those that still run at the end are killed."""
    with ExitStack() as cleanup:

        def start(
            instance: str, *options: str, env: dict[str, str] | None = None, closed: str = ""
        ) -> WorkerProcess:
            options = ("--backend", zqd.backend, *options)
            started = cleanup.enter_context(
                WorkerProcess(tmp_path, instance, *options, env=env, closed=closed)
            )
            started.wait_for("instance.ready")
            zqd.wait_until("the worker's hello", lambda _: _named(zqd, instance, started.pid))
            return started

        yield start


def _named(zqd: Zqd, instance: str, pid: int) -> bool:
    return any((row["name"], row["pid"]) == (f"zqd-worker@{instance}", pid) for row in zqd.control("workers"))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    """A service manager."""
    listening = ServiceManager(tmp_path)
    yield listening
    listening.close()
