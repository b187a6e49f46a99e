"""What journalctl(1) shows of zqd and its workers."""

from __future__ import annotations

from tests.system.machine import Machine

TCP = "tcp://127.0.0.1:5559"


def test_entries_have_their_fields(machine: Machine) -> None:
    """`journalctl -u zqd -o json`: the event, its values, a message id, and a sentence for people."""
    machine.run("systemctl restart zqd && systemctl start zqd-worker@1")
    joined = machine.journal("-u", "zqd", "ZQD_EVENT=worker.joined")[-1]
    assert joined["ZQD_NAME"] == "zqd-worker@1"
    assert joined["ZQD_ROLE"] == "broker"
    assert joined["SYSLOG_IDENTIFIER"] == "zqd"
    assert joined["PRIORITY"] == "6"
    assert len(joined["MESSAGE_ID"]) == 32
    assert "zqd-worker@1" in joined["MESSAGE"]


def test_the_catalog_explains(machine: Machine) -> None:
    """`journalctl -x` has our text, because the package updated the catalog."""
    machine.run("systemctl restart zqd")
    explained = machine.run("journalctl -b -x -u zqd ZQD_EVENT=zqd.started")
    assert "Every endpoint of every queue listens" in explained
    assert "Documentation: man:zqd(7)" in explained


def test_lines_of_a_worker_carry_its_instance(machine: Machine) -> None:
    """By field, by unit, and in what people read."""
    machine.run("systemctl start zqd-worker@1 zqd-worker@2")
    for instance in ("1", "2"):
        ready = machine.journal(f"ZQD_INSTANCE={instance}", "ZQD_EVENT=instance.ready")[-1]
        assert ready["_SYSTEMD_UNIT"] == f"zqd-worker@{instance}.service"
        assert ready["ZQD_ROLE"] == "worker"
        assert ready["SYSLOG_IDENTIFIER"] == f"zqd-worker@{instance}"
    assert "zqd-worker@2[" in machine.run("journalctl -b -u zqd-worker@2 -n 5")


def test_systemctl_status_says_how_it_is(machine: Machine) -> None:
    """The status line of both services."""
    machine.run("systemctl start zqd-worker@1")
    machine.wait_until(lambda: "1 of 1 workers idle" in machine.show("zqd", "StatusText"), "zqd's status")
    assert "1 of 1 brokers connected" in machine.show("zqd-worker@1", "StatusText")
