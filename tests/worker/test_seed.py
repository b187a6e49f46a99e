"""The seed's client as it stands, with zqd in the place of its device and instances of zqd-worker in that of its servers."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.interop.test_seed import Start, network, replies, start, zqd
from tests.support.processes import Zqd

__all__ = ["network", "start", "zqd"]


def test_the_seeds_client_is_served_by_two_instances(
    zqd: Zqd,
    start: Start,
    network: list[str],
    tmp_path: Path,
) -> None:
    """Its nine replies come from both in turn, with their names in the place of the servers' numbers."""
    with ExitStack() as cleanup:
        workers = []
        for instance in ("1", "2"):
            command = [*network, sys.executable, "-m", "zqd.worker", "--instance", instance]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            cleanup.callback(process.wait)
            cleanup.callback(process.terminate)
            workers.append(process)
        zqd.wait_until("both", lambda row: row["workers"] == 2)
        got = replies(start("queue_client.py"))
    assert got in (["1", "2"] * 4 + ["1"], ["2", "1"] * 4 + ["2"])
    assert [process.returncode for process in workers] == [0, 0]
    row = zqd.queue()
    assert (row["received"], row["replied"], row["retried"]) == (9, 9, 0)
