"""zqctl and a real zqd from which a reload took a queue that another brought back, while the old one still ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.conftest import Connect
from tests.ctl.echo import worker
from tests.ctl.running import said, zqctl
from tests.support.processes import Zqd

QUEUE = """
[queues.{}]
frontend = ["tcp://127.0.0.1:0"]
backend = ["tcp://127.0.0.1:0"]
"""


@pytest.fixture
def twice(tmp_path: Path, sockets: Path, connect: Connect) -> Iterator[Zqd]:
    """A zqd with the queue `two` and an older one of that name, which holds a request."""
    path = tmp_path / "zqd.toml"
    both = QUEUE.format("default") + QUEUE.format("two")
    path.write_text(both)
    with Zqd(sockets, "--config", str(path), frontend=(), backend=()) as zqd:
        holder, client = (
            connect(zmq.REP, zqd.queue("two")["backend"][0]),
            connect(zmq.REQ, zqd.queue("two")["frontend"][0]),
        )
        client.send(b"held")
        assert holder.recv() == b"held"
        path.write_text(QUEUE.format("default"))
        zqd.control("reload")
        path.write_text(both)
        zqd.control("reload")
        assert [row["name"] for row in zqd.status()["queues"]] == ["default", "two", "two"]
        yield zqd
        holder.send(b"done")
        assert client.recv() == b"done"


def test_every_command_can_be_used(twice: Zqd) -> None:
    """Numbers have one series a name, requests and orders reach the one that lives, and lists tell a name once."""

    def ask(*words: str) -> tuple[int, str]:
        done = zqctl("--control", f"ipc://{twice.control_path}", *words)
        return done.returncode, done.stdout

    status, text = ask("metrics")
    samples = [
        (sample.name, *sorted(sample.labels.items()))
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # it has no annotations
        for sample in family.samples
    ]
    assert (status, len(samples)) == (0, len(set(samples)))
    assert 'zqd_requests_received_total{queue="two"} 0.0' in text
    _, line = ask("check", "--min-workers", "0")
    assert line.startswith("OK - ")
    labels = [number.partition("=")[0] for number in line.partition(" | ")[2].split()]
    assert len(labels) == len(set(labels))
    with worker(twice.queue("two")["backend"][0]):
        assert ask("wait", "--queue", "two", "--workers", "1")[0] == 0
        assert ask("request", "--queue", "two", "hi") == (0, "hi")
        assert ask("bench", "--queue", "two", "--requests", "10")[0] == 0
        assert ask("doctor", "--queue", "two", "--probe", "hi")[0] == 0
    assert ask("pause", "two")[1] == "queue two: paused, 0 queued, 0 in flight\n"
    assert ask("resume", "two")[1] == "queue two: running, 0 queued, 0 in flight\n"
    done = zqctl("--control", f"ipc://{twice.control_path}", "pause", "three")
    assert said(done) == (2, "zqctl: no queue is named 'three'; there is default, two\n")
    assert ask("wait", "--idle", "--timeout", "0.1")[0] == 1


def test_both_are_shown(twice: Zqd) -> None:
    """The old one by its state, in the table and in its sentence."""
    done = zqctl("--control", f"ipc://{twice.control_path}", "status")
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("two  ")]
    assert ["two", "running"] in rows
    assert ["two", "stopping"] in rows
    assert "\ntwo (stopping): 1 of 1 workers busy" in done.stdout
    states = json.loads(zqctl("--control", f"ipc://{twice.control_path}", "queues", "--json").stdout)
    assert [row["state"] for row in states] == ["running", "running", "stopping"]
