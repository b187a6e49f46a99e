"""Fixtures of the tests of what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crowd import Crowd
from tests.support.processes import Zqd


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """Clients and workers as processes."""
    with Crowd(tmp_path) as crowd:
        yield crowd


@pytest.fixture
def bystanders(zqd: Zqd, crowd: Crowd) -> Crowd:
    """A healthy client and a healthy worker of `zqd`, whose traffic has to go on."""
    crowd.worker(zqd.backend)
    crowd.client(zqd.frontend, think=0.001)
    crowd.goes_on()
    return crowd
