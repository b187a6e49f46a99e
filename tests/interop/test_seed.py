"""The seed's programs as they stand, each a process of its own, with zqd in the place of its device.

They know one pair of ports and no other, so each test gives them a network of their own, where nobody has them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, Zqd

SEED = Path(__file__).parents[1] / "seed"
FRONTEND, BACKEND = "tcp://127.0.0.1:5559", "tcp://127.0.0.1:5560"
REPLY = re.compile(r"Received reply  (\d+) \[ World from server (\d+) \]")

# Sets the loopback device's flags to UP and LOOPBACK (netdevice(7)), then stays until its standard input is closed.
LOOPBACK_UP = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", 0x9))
print("up", flush=True)
sys.stdin.read()
"""

Start = Callable[[str], "subprocess.Popen[str]"]
"""`start(program)`: one of the seed's programs at work in the test's network; its standard output is a pipe."""


@pytest.fixture
def network() -> Iterator[list[str]]:
    """What comes before a command to run it in a network that has a loopback device and nothing else."""
    # Who is not root may make a network in a user namespace of their own, where the machine allows that.
    user = os.geteuid() != 0
    unshare = ["unshare", "--net", *(["--map-root-user"] if user else [])]
    with subprocess.Popen(
        [*unshare, sys.executable, "-c", LOOPBACK_UP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "up\n":
            pytest.skip(
                f"NO NETWORK NAMESPACE TO BE HAD: THE SEED IS NOT TESTED ({holder.stderr.read().strip()})"
            )
        nsenter = [
            "nsenter",
            f"--target={holder.pid}",
            "--net",
            *(["--user", "--preserve-credentials"] if user else []),
        ]
        yield [*nsenter, "--"]


@pytest.fixture
def zqd(tmp_path: Path, network: list[str]) -> Iterator[Zqd]:
    """A zqd on the seed's ports."""
    with Zqd(tmp_path, frontend=[FRONTEND], backend=[BACKEND], wrapper=network) as process:
        yield process


@pytest.fixture
def start(network: list[str], tmp_path: Path) -> Iterator[Start]:
    """Starts the seed's programs; what still runs at the end is killed."""
    # The programs draw their ids from 10,004 numbers. Python reads this before them, so that no two draw the same.
    (tmp_path / "sitecustomize.py").write_text("import os, random\nrandom.seed(os.environ['DRAW'])\n")
    draws = iter(range(100))
    with ExitStack() as cleanup:

        def start(program: str) -> subprocess.Popen[str]:
            process = cleanup.enter_context(
                subprocess.Popen(
                    [*network, sys.executable, str(SEED / program)],
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ
                    | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(tmp_path), "DRAW": str(next(draws))},
                )
            )
            cleanup.callback(process.kill)
            return process

        yield start


def replies(client: subprocess.Popen[str]) -> list[str]:
    """The id of the server in each reply, when the client has ended; it must have got them in order."""
    output, _ = client.communicate(timeout=PATIENCE)
    assert client.returncode == 0
    found = REPLY.findall(output)
    assert [int(number) for number, _ in found] == list(range(1, 10)), output
    return [server for _, server in found]


def requests(server: subprocess.Popen[str]) -> Counter[str]:
    """How many requests of which client this server has printed; ends it."""
    server.kill()
    output, _ = server.communicate(timeout=PATIENCE)
    lines = output.splitlines()
    assert all(line.startswith("Received request:  Hello from ") for line in lines), output
    return Counter(lines)


def test_a_client_is_served_by_two_servers_in_turn(zqd: Zqd, start: Start) -> None:
    """The client gets its nine replies, from two servers in turn, as the seed's text shows it."""
    servers = [start("queue_server.py") for _ in range(2)]
    zqd.wait_until("both servers", lambda row: row["workers"] == 2)
    got = replies(start("queue_client.py"))
    first, second = got[:2]
    assert first != second
    assert got == [first, second] * 4 + [first]
    assert sorted(requests(server).total() for server in servers) == [4, 5]
    row = zqd.queue()
    assert (row["received"], row["replied"], row["queued"], row["in_flight"]) == (9, 9, 0, 0)


def test_two_clients_are_served_by_two_servers(zqd: Zqd, start: Start) -> None:
    """Two clients at once get nine replies each, and both servers have work all the time."""
    servers = [start("queue_server.py") for _ in range(2)]
    zqd.wait_until("both servers", lambda row: row["workers"] == 2)
    clients = [start("queue_client.py") for _ in range(2)]
    got = [server for client in clients for server in replies(client)]
    assert len(set(got)) == 2
    received = [requests(server) for server in servers]
    assert sorted((received[0] + received[1]).values()) == [9, 9]
    assert min(counts.total() for counts in received) >= 6
    row = zqd.queue()
    assert (row["received"], row["replied"], row["failed"], row["retried"]) == (18, 18, 0, 0)
