"""Fixtures of the tests of zqctl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.serving import PaperBroker, served, sockets

__all__ = ["broker", "control", "sockets"]


@pytest.fixture
def broker() -> PaperBroker:
    """What the served zqd says."""
    return PaperBroker()


@pytest.fixture
def control(sockets: Path, broker: PaperBroker) -> Iterator[str]:
    """The endpoint of a zqd that serves."""
    path = sockets / "control.sock"
    with served(path, broker) as faults:
        yield f"ipc://{path}"
    assert faults == []
