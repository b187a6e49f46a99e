"""The README's ways on a machine with the packages, as a newcomer types them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine

README = (Path(__file__).parents[2] / "README.md").read_text()
CONFIGURATION = "/etc/zqd/worker.toml"


def commands(introduction: str) -> list[str]:
    """What is to be typed after these words, without what stands behind it for the reader."""
    _, after = README.split(f"{introduction}\n\n")
    block, _ = after.split("\n\n", 1)
    return [re.sub(r" {2,}#.*", "", line.removeprefix("    ")) for line in block.splitlines()]


@pytest.fixture
def newcomer(machine: Machine) -> Iterator[Machine]:
    """A machine on which the packages were just installed, and which is left so."""
    machine.run(f"cp -p {CONFIGURATION} /root/worker.toml")
    yield machine
    machine.run(f"mv /root/worker.toml {CONFIGURATION}; rm -rf /srv/app /etc/zqd/keys /root/app.*")


def test_five_commands(newcomer: Machine) -> None:
    """Each does what the README says, and the last but one is answered by the newcomer's own function."""
    *prepare, start, ask, watch = commands("With the packages installed, as root:")
    for command in (*prepare, start):
        newcomer.run(f"bash -c {shlex.quote(command)}")
    assert newcomer.run(ask) == "HELLO"
    assert watch == "zqctl top"
    assert len(newcomer.zqctl("workers")) == 4
    assert {row["handler"] for row in newcomer.zqctl("workers")} == {"app:shout"}


def test_keys(newcomer: Machine) -> None:
    """The client with a key is answered, and one without is not, neither at the port nor at the unix socket."""
    newcomer.run("systemctl start zqd-worker@1")
    *prepare, ask = commands("As root, with the packages and a worker:")
    for command in prepare:
        newcomer.run(f"cd /root && {command}")
    assert newcomer.run(f"cd /root && {ask}") == "World from server 1"
    for endpoint in ("tcp://127.0.0.1:5559", "ipc:///run/zqd/frontend.sock"):
        refused = newcomer.attempt(f"zqctl --timeout 1 request --endpoint {endpoint} hello")
        assert refused.returncode == 1, refused
        assert "CURVE" in refused.stderr
