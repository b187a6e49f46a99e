from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

import zqd as package
from tests.conftest import Connect
from tests.control.serving import queue
from tests.ctl.doctor.samples import row_of, status
from tests.ctl.sessions import PaperSession, refused
from tests.support.processes import PATIENCE, Zqd
from zqd.ctl import doctor
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.doctor.finding import Level
from zqd.ctl.local import Session


@pytest.fixture
def answers() -> dict[str, Any]:
    """A zqd with one queue that has no endpoints, and a pid that no process can have."""
    return {"status": status(queues=[row_of(frontend=[], backend=[])], pid=2**22 + 1), "workers": []}


def examined(session: PaperSession, **args: str) -> int:
    """Exit status."""
    return doctor.run(session, {"queue": None, "probe": None} | args)


def test_every_check_is_a_line(answers: dict[str, Any]) -> None:
    """Of zqd's sockets, its process, the machine, the queues."""
    session = PaperSession(answers)
    assert examined(session) == 0
    assert [line[6:].split(":")[0] for line in session.printed.splitlines()] == [
        *("control socket", "status socket", "events socket"),
        *("version", "user", "descriptors", "systemd", "backlog", "clock", "date", "queue default"),
    ]


def test_a_failure_is_status_1(answers: dict[str, Any], tmp_path: Path) -> None:
    """A warning is not."""
    answers["status"]["version"] = "0.0.1"
    assert examined(PaperSession(answers)) == 0
    answers["status"]["queues"][0]["backend"] = [f"ipc://{tmp_path}/none"]
    assert examined(PaperSession(answers)) == 1


def test_json_is_the_list_of_findings(answers: dict[str, Any]) -> None:
    """For programs: level, about, text, advice."""
    session = PaperSession(answers, json=True)
    examined(session)
    found = json.loads(session.printed)
    assert found[3] == {
        "level": "ok",
        "about": "version",
        "text": f"zqd and zqctl are {package.__version__}",
        "advice": "",
    }


def test_without_zqd_the_machine_is_still_looked_at() -> None:
    """What is wrong may be why it does not run."""
    session = PaperSession(refused(ExitStatus.NOT_RUNNING, "zqd is not running"))
    assert examined(session) == 1
    first, *rest = session.printed.splitlines()
    assert first.startswith("FAIL  zqd: zqd is not running: systemctl start zqd")
    assert [line[6:].split(":")[0] for line in rest] == ["backlog", "clock", "date"]


def test_zqds_own_word_for_its_sockets_counts(answers: dict[str, Any], tmp_path: Path) -> None:
    """They may lie elsewhere than beside the control socket."""
    answers["status"]["sockets"] = {"control": "x", "status": f"{tmp_path}/s", "events": f"{tmp_path}/e"}
    session = PaperSession(answers)
    examined(session)
    assert f"status socket: there is none at {tmp_path}/s" in session.printed
    assert f"events socket: there is none at {tmp_path}/e" in session.printed


def test_a_probe_goes_to_one_queue_only(answers: dict[str, Any]) -> None:
    """It is real work for somebody, so with several queues one has to be named; and it has to be there."""
    answers["status"]["queues"].append(queue("slow", measured=False) | {"frontend": [], "backend": []})
    for args in ({"probe": "Hello"}, {"queue": "none"}):
        with pytest.raises(ControlError, match=r"there is default, slow$") as raised:
            examined(PaperSession(answers), **args)
        assert raised.value.status == ExitStatus.USAGE


def test_one_queue_can_be_looked_at(answers: dict[str, Any]) -> None:
    """The others are left alone."""
    answers["status"]["queues"].append(queue("slow", measured=False) | {"frontend": [], "backend": []})
    session = PaperSession(answers)
    examined(session, queue="slow")
    assert "queue slow: no workers" in session.printed
    assert "queue default" not in session.printed


# A real zqd


def test_a_real_zqd_is_well_and_undisturbed(zqd: Zqd, connect: Connect) -> None:
    """Every check can be made; a probe is answered by the worker, and the doctor itself never was one."""
    worker = connect(zmq.REP, zqd.backend)
    zqd.wait_until("a worker", lambda row: row["workers"] == 1)

    def work() -> None:
        worker.send(worker.recv() + b", World")

    thread = threading.Thread(target=work)
    thread.start()
    session = Session(f"ipc://{zqd.control_path}", timeout=PATIENCE)
    found = list(doctor.examine(session, None, "Hello"))
    thread.join()
    assert [finding for finding in found if finding.level == Level.FAIL] == []
    assert found[-1].about == "probe of queue default"
    assert found[-1].text.startswith("a reply of 12 bytes in ")
    assert len(zqd.log("worker.joined")) == 1
    assert zqd.queue()["received"] == 1
