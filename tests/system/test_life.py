"""The service through starts, stops, reloads and faults."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable

import pytest

from tests.system.machine import HOME, Machine

TCP, UNIX = "tcp://127.0.0.1:5559", "ipc:///run/zqd/frontend.sock"
PLACES = (
    "/run/zqd/frontend.sock",
    "127.0.0.1:5559",
    "/run/zqd/backend.sock",
    "127.0.0.1:5560",
    "/run/zqd/status.sock",
)
ECHO = f'python_path = ["{HOME}"]\nhandler = "handlers:echo"\n'


@pytest.fixture
def echoes(machine: Machine) -> Machine:
    """Two workers that answer each request with itself."""
    for instance in (1, 2):
        machine.write(f"/etc/zqd/workers/{instance}.toml", ECHO)
    machine.run("systemctl start zqd-worker@1 zqd-worker@2")
    return machine


@pytest.fixture
def impatient(echoes: Machine) -> Machine:
    """Watchdogs that wait for less, so that a test need not."""
    for unit in ("zqd.service", "zqd-worker@.service"):
        echoes.write(f"/etc/systemd/system/{unit}.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n")
    echoes.run("systemctl daemon-reload && systemctl restart zqd zqd-worker@1 zqd-worker@2")
    return echoes


def test_it_starts_by_the_first_connection(machine: Machine) -> None:
    """With only the sockets up, as `nobody` asks how it is, zqd starts and answers."""
    machine.run("systemctl stop zqd 'zqd-*.socket' && systemctl start zqd-status.socket")
    assert machine.main_pid("zqd") == 0
    assert machine.zqctl("status", user="nobody")["queues"][0]["name"] == "default"
    assert machine.main_pid("zqd") != 0


@pytest.mark.parametrize(("role", "port"), [("frontend", 5559), ("backend", 5560)])
def test_peers_start_it_too(machine: Machine, role: str, port: int) -> None:
    """A client or a plain REP worker, by TCP; with the one socket come all the others."""
    machine.run(f"systemctl stop zqd 'zqd-*.socket' && systemctl start zqd-{role}.socket")
    machine.run(f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'")
    machine.wait_until(lambda: machine.show("zqd", "ActiveState") == "active", "zqd")
    assert len(machine.run("ls /run/zqd").split()) == 5


def test_a_stop_is_one(echoes: Machine) -> None:
    """Though clients and workers try to connect all the time, it stays stopped, and a start serves them again."""
    load = echoes.program("load", TCP, 4)
    echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["replied"] > 20, "traffic")
    echoes.run("systemctl stop zqd")
    echoes.wait_until(lambda: echoes.run("ls /run/zqd") == "", "the sockets to be gone")
    attempts = echoes.start(f"python3 {HOME}/connects.py {shlex.join(PLACES)}")
    for _ in range(20):  # two seconds: peers try every tenth of one
        states = echoes.run(
            "systemctl is-active zqd.service zqd-frontend.socket zqd-backend.socket", check=False
        )
        assert set(states.split()) == {"inactive"}, states
        echoes.run("sleep 0.1")
    tried = json.loads(attempts.communicate()[0])
    assert tried["made"] == 0
    assert tried["refused"]
    assert echoes.run("ls /run/zqd") == ""
    echoes.run("systemctl start zqd")
    echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["replied"] > 20, "traffic again")
    _all_answered(load.communicate()[0])


def test_a_restart_under_load_fails_nothing(echoes: Machine, say: Callable[[str], None]) -> None:
    """Connects during the gap wait in the sockets; each request is answered, by the old process or the new one.

    On a unix socket a reply and the end of its connection are two events: a client that is quick enough to ask again in
    between has lost that request, and no failure is sent for it. That is counted, and said.
    """
    load, quick = echoes.program("load", TCP, 4), echoes.program("load", UNIX, 4, 5)
    connects = echoes.start(f"python3 {HOME}/connects.py {shlex.join(PLACES)}")
    for _ in range(2):
        echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
        before = echoes.main_pid("zqd")
        echoes.run("systemctl restart zqd")
        assert echoes.main_pid("zqd") not in {0, before}
    echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
    tried = json.loads(connects.communicate()[0])
    assert tried["made"] > 0
    assert tried["refused"] == []
    _all_answered(load.communicate()[0])
    unix = json.loads(quick.communicate()[0])
    assert (unix["failures"], unix["wrong"]) == ([], [])
    say(
        f"{echoes.release}: of 8 times that a restart met a busy client of the unix socket, {unix['given_up']} cost a request"
    )


def test_what_was_read_is_answered_before_a_stop(echoes: Machine) -> None:
    """A request that runs when the stop comes gets its reply."""
    client = echoes.start(f"python3 {HOME}/ask.py {TCP} 'sleep 2'")
    echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["in_flight"] == 1, "the request to run")
    echoes.run("systemctl stop zqd")
    assert client.communicate()[0].strip() == "sleep 2"
    assert echoes.show("zqd", "Result") == "success"


def test_a_good_reload_is_in_effect_when_it_returns(machine: Machine) -> None:
    """The same process, the new value."""
    before = machine.main_pid("zqd")
    machine.write("/etc/zqd/zqd.toml.d/test.toml", "[queues.default]\nmax_queued = 77\n")
    machine.run("systemctl reload zqd")
    values = {row["key"]: row["value"] for row in machine.zqctl("config queues.default.max_queued")}
    assert values["queues.default.max_queued"] == 77
    assert machine.main_pid("zqd") == before


def test_a_bad_reload_fails_and_changes_nothing(machine: Machine) -> None:
    """`systemctl reload` says that it failed, the journal says why, and zqd goes on."""
    before = machine.main_pid("zqd")
    machine.write("/etc/zqd/zqd.toml.d/test.toml", '[queues.default]\nmax_queued = "many"\n')
    assert machine.attempt("systemctl reload zqd").returncode != 0
    assert machine.main_pid("zqd") == before
    assert machine.zqctl("config queues.default.max_queued")[0]["source"] == "default"
    rejected = machine.journal("-u", "zqd", "ZQD_EVENT=config.rejected")[-1]
    assert "max_queued" in rejected["MESSAGE"]


def test_a_bad_configuration_is_not_tried_again(machine: Machine) -> None:
    """Status 78 is final: the unit fails once, and starts when the file has been mended."""
    machine.write("/etc/zqd/zqd.toml.d/test.toml", '[queues.default]\nmax_queued = "many"\n')
    assert machine.attempt("systemctl restart zqd").returncode != 0
    assert machine.show("zqd", "ExecMainStatus") == "78"
    assert machine.show("zqd", "NRestarts") == "0"
    machine.run("rm /etc/zqd/zqd.toml.d/test.toml && systemctl start zqd")


def test_a_killed_broker_is_back_and_nobody_is_misled(echoes: Machine) -> None:
    """SIGKILL under load: it restarts, workers reconnect, clients that ask again go on; no reply goes to somebody else."""
    load = echoes.program("load", TCP, 6, 3)
    for _ in range(3):
        echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
        before = echoes.main_pid("zqd")
        echoes.run("systemctl kill --signal=SIGKILL zqd")
        _wait_for_another(echoes, before)
        echoes.run("zqctl wait --workers 2 --timeout 30")
    echoes.wait_until(lambda: echoes.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
    result = json.loads(load.communicate()[0])
    assert result["wrong"] == []
    assert result["replies"] > 150


def test_a_hung_broker_is_restarted(impatient: Machine) -> None:
    """A loop that does not turn misses its watchdog."""
    before = impatient.main_pid("zqd")
    impatient.run(f"kill -STOP {before}")
    _wait_for_another(impatient, before)
    impatient.run("zqctl wait --workers 2 --timeout 30")
    assert impatient.ask(TCP, "again") == "again"
    assert any("watchdog" in entry["MESSAGE"].lower() for entry in impatient.journal("-u", "zqd", "_PID=1"))


def test_a_hung_handler_costs_its_instance_only(impatient: Machine) -> None:
    """Exactly the instance that hangs is restarted, by its watchdog; the other serves on."""
    for instance in (1, 2):
        impatient.write(f"/etc/zqd/workers/{instance}.toml", ECHO + 'handler_timeout = "1s"\n')
    impatient.run("systemctl reload zqd-worker@1 zqd-worker@2")
    before = {unit: impatient.main_pid(unit) for unit in ("zqd-worker@1", "zqd-worker@2")}
    hung = impatient.start(f"python3 {HOME}/ask.py {TCP} hang")
    impatient.wait_until(
        lambda: any(impatient.main_pid(unit) not in {0, pid} for unit, pid in before.items()), "a restart"
    )
    impatient.run("zqctl wait --workers 2 --timeout 30")
    after = {unit: impatient.main_pid(unit) for unit in before}
    assert sum(after[unit] != before[unit] for unit in before) == 1
    assert impatient.ask(TCP, "again") == "again"
    assert re.match(r"ZQD-ERROR 50\d ", hung.communicate()[0])


def _all_answered(output: str) -> None:
    """What programs/load.py prints tells of replies, and of nothing else."""
    result = json.loads(output)
    assert result["replies"] > 0
    assert (result["failures"], result["wrong"], result["given_up"]) == ([], [], 0)


def _wait_for_another(machine: Machine, pid: int) -> None:
    """Wait until zqd has been started anew."""
    machine.wait_until(lambda: machine.main_pid("zqd") not in {0, pid}, "a new process")
