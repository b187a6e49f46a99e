"""What becomes of memory that is free again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import Zqd, wait_for

PROGRAM = """
import os, sys
from zqd.daemon.memory import keep_free_memory

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if sys.argv[1] == "kept":
    keep_free_memory()
before = resident()
message = bytearray(b"x") * (8 << 20)
del message
print((resident() - before) >> 20)
"""


@pytest.mark.parametrize(("what", "least", "most"), [("kept", 6, 9), ("given back", 0, 2)])
def test_memory_of_a_large_message_is_at_hand_for_the_next_one(what: str, least: int, most: int) -> None:
    """As it is not by itself: then this test would show nothing."""
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, text=True, check=True
    )
    assert least <= int(told.stdout) <= most


def test_memory_of_large_messages_is_given_back_at_last(tmp_path: Path, connect: Connect) -> None:
    """A message of 64 MiB, in all the pieces in which it was read, costs nothing any more a few seconds later."""
    with Zqd(tmp_path) as zqd:

        def resident() -> int:
            pages = int(Path(f"/proc/{zqd.pid}/statm").read_text().split()[1])
            return pages * 4096 >> 20

        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        client.send(b"first")
        worker.send(worker.recv())
        assert client.recv() == b"first"
        before = resident()
        client.send(bytes(64 << 20))
        worker.recv()
        assert resident() - before > 60
        worker.send(b"done")
        assert client.recv() == b"done"
        wait_for(lambda: resident() - before < 10, "the memory to be given back")
