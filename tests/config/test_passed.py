"""Queues whose sockets are passed by systemd need no endpoints in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from zqd.config import describe, load
from zqd.errors import ConfigError

BOTH = ("jobs.frontend", "jobs.backend")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the queue jobs, which says nothing of endpoints."""
    path = tmp_path / "zqd.toml"
    path.write_text("[queues.jobs]\nprefetch = 2\n")
    return path


def test_both_sides_passed(path: Path) -> None:
    """It has none then, and not those of the queue default."""
    (queue,) = load(path, passed=BOTH).queues
    assert (queue.frontend, queue.backend) == ((), ())


def test_described(path: Path) -> None:
    """As TOML that loads to the same, where the same sockets are passed."""
    config = load(path, passed=BOTH)
    text = describe(config)
    assert "# frontend is not set" in text
    path.write_text(text)
    assert load(path, passed=BOTH) == config


@pytest.mark.parametrize("passed", [(), ("frontend", "backend"), ("other.frontend", "jobs.backen")])
def test_other_names(path: Path, passed: tuple[str, ...]) -> None:
    """A socket of another name is none of this queue's."""
    with pytest.raises(ConfigError) as caught:
        load(path, passed=passed)
    assert [line.split(":")[1] for line in caught.value.problems] == [
        " queues.jobs.frontend",
        " queues.jobs.backend",
    ]
    told = ["no socket was passed as jobs." in line for line in caught.value.problems]
    assert told == [bool(passed)] * 2


def test_endpoints_that_stand_there_stay(path: Path) -> None:
    """They are known though nobody binds them, as those of the queue default."""
    endpoint = "tcp://127.0.0.1:7"
    (queue,) = load(path, [f"queues.jobs.frontend={endpoint}"], passed=BOTH).queues
    assert (queue.frontend, queue.backend) == ((endpoint,), ())
