"""The README's way from the packages to a handler of one's own, as a newcomer types it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine

README = (Path(__file__).parents[2] / "README.md").read_text()
CONFIGURATION = "/etc/zqd/worker.toml"


def commands() -> list[str]:
    """What is to be typed, without what stands behind it for the reader."""
    _, after = README.split("With the packages installed, as root:\n\n")
    block, _ = after.split("\n\n", 1)
    return [re.sub(r" {2,}#.*", "", line.removeprefix("    ")) for line in block.splitlines()]


@pytest.fixture
def newcomer(machine: Machine) -> Iterator[Machine]:
    """A machine on which the packages were just installed, and which is left so."""
    machine.run(f"cp -p {CONFIGURATION} /root/worker.toml")
    yield machine
    machine.run(f"mv /root/worker.toml {CONFIGURATION}; rm -rf /srv/app")


def test_five_commands(newcomer: Machine) -> None:
    """Each does what the README says, and the last but one is answered by the newcomer's own function."""
    *prepare, start, ask, watch = commands()
    for command in (*prepare, start):
        newcomer.run(f"bash -c {shlex.quote(command)}")
    assert newcomer.run(ask) == "HELLO"
    assert watch == "zqctl top"
    assert len(newcomer.zqctl("workers")) == 4
    assert {row["handler"] for row in newcomer.zqctl("workers")} == {"app:shout"}
