"""Worker instances as a set: enabled, stopped and restarted together or one by one, without a failed request."""

from __future__ import annotations

import json

import pytest

from tests.system.machine import HOME, Machine

TCP = "tcp://127.0.0.1:5559"
INSTANCES = (1, 2, 3, 4)
ALL = " ".join(f"zqd-worker@{instance}" for instance in INSTANCES)


@pytest.fixture
def four(machine: Machine) -> Machine:
    """Four workers that answer each request with itself, enabled and started by one command."""
    for instance in INSTANCES:
        machine.write(
            f"/etc/zqd/workers/{instance}.toml", f'python_path = ["{HOME}"]\nhandler = "handlers:echo"\n'
        )
    machine.run(f"systemctl enable --now {ALL}")
    machine.run("zqctl wait --workers 4 --timeout 30")
    return machine


def test_instances_are_enabled_for_the_target(four: Machine) -> None:
    """`systemctl enable --now zqd-worker@{1..4}`: they run in their slice, and come with the target after a boot."""
    names = sorted(row["name"] for row in four.zqctl("workers"))
    assert names == [f"zqd-worker@{instance}" for instance in INSTANCES]
    wants = four.show("zqd-workers.target", "Wants").split()
    assert {f"zqd-worker@{instance}.service" for instance in INSTANCES} <= set(wants)
    assert four.show("zqd-worker@1", "Slice") == "zqd-workers.slice"


def test_the_target_stops_and_starts_them_all(four: Machine) -> None:
    """After `systemctl stop zqd-workers.target` none runs; zqd itself goes on, and a start brings all four back."""
    four.run("systemctl stop zqd-workers.target")
    four.wait_until(
        lambda: {four.show(unit, "ActiveState") for unit in ALL.split()} == {"inactive"},
        "all to have stopped",
    )
    assert four.show("zqd", "ActiveState") == "active"
    assert four.zqctl("workers") == []
    four.run("systemctl start zqd-workers.target")
    four.run("zqctl wait --workers 4 --timeout 30")


def test_a_restart_under_load_fails_no_request(four: Machine) -> None:
    """One instance, then all of them by their target."""
    load = four.program("load", TCP, 8)
    four.wait_until(lambda: four.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
    for command in ("restart zqd-worker@2", "restart zqd-workers.target"):
        four.run(f"systemctl {command}")
        four.run("zqctl wait --workers 4 --timeout 30")
    done = four.zqctl("status")["queues"][0]["replied"]
    four.wait_until(lambda: four.zqctl("status")["queues"][0]["replied"] > done + 50, "traffic")
    result = json.loads(load.communicate()[0])
    assert result["replies"] > 0
    assert (result["failures"], result["wrong"], result["given_up"]) == ([], [], 0)


def test_an_instance_that_cannot_start_is_tried_again(machine: Machine) -> None:
    """A handler whose setup fails (status 69) may be mended at any time; a bad configuration (78) is final."""
    machine.write("/etc/zqd/workers/1.toml", 'handler = "zqd.handlers:nothing"\n')
    assert machine.attempt("systemctl start zqd-worker@1").returncode != 0
    assert machine.show("zqd-worker@1", "ExecMainStatus") == "78"
    assert machine.show("zqd-worker@1", "NRestarts") == "0"
