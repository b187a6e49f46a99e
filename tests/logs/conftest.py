from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.logs.receivers import Pipe, Receiver
from zqd.logs import configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave structlog and the level as they were, and no sink open."""
    yield
    configure("info", "json")
    structlog.reset_defaults()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe to log to."""
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A journal's or a syslog's socket."""
    receiver = Receiver(tmp_path / "socket")
    yield receiver
    receiver.stop(unlink=False)
