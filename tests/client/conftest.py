"""Fixtures of the clients' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.askers import Asker, Tasks, Threads
from tests.client.serving import Sockets


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Workers and servers in threads."""
    with Sockets() as sockets:
        yield sockets


@pytest.fixture(params=[Threads, Tasks], ids=lambda kind: kind.name)
def asker(request: pytest.FixtureRequest) -> Asker:
    """Either client."""
    kind: Asker = request.param
    return kind
