"""What becomes of memory that is free again."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
