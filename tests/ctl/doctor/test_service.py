from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import zqd
from tests.control.serving import worker
from tests.ctl.doctor.samples import row_of, status
from zqd.ctl.doctor import service
from zqd.ctl.doctor.finding import Finding, Level
from zqd.ctl.doctor.service import Process


def test_versions_are_compared() -> None:
    """An upgraded zqctl may meet a zqd that has not been restarted."""
    assert service.version(zqd.__version__).level == "ok"
    assert service.version("0.0.1").text == f"zqd is 0.0.1, zqctl {zqd.__version__}"


@pytest.mark.parametrize(("uid", "level"), [(0, "warn"), (999, "ok"), (None, "skip")])
def test_root_is_too_much(uid: int | None, level: str) -> None:
    """zqd needs no right of root's."""
    assert service.user(Process(uid=uid)).level == level


@pytest.mark.parametrize(
    ("told", "seen", "level"),
    [
        ({"limit": 1064, "reserve": 64, "used": 799}, Process(), "ok"),
        ({"limit": 1064, "reserve": 64, "used": 800}, Process(), "warn"),
        (None, Process(descriptors_limit=1000, descriptors_used=799), "ok"),
        (None, Process(descriptors_limit=1000, descriptors_used=900), "warn"),
        (None, Process(descriptors_limit=1000), "skip"),
        (None, Process(), "skip"),
    ],
)
def test_descriptors_run_out_before_they_are_gone(
    told: dict[str, int] | None, seen: Process, level: str
) -> None:
    """What zqd tells counts; of an older one what can be seen in /proc; else it is said that nothing is known."""
    known = {"descriptors": told} if told else {}
    finding = service.descriptors(status(**known), seen)
    assert finding.level == level
    assert " of 1000 descriptors " in finding.text or level == "skip"


@pytest.mark.parametrize(
    ("shown", "level", "words"),
    [
        ({"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}, "ok", "active, enabled"),
        ({"UnitFileState": "disabled", "TriggeredBy": "zqd-frontend.socket"}, "ok", "disabled"),
        ({"UnitFileState": "disabled", "TriggeredBy": ""}, "warn", "does not start with the machine"),
        ({"NRestarts": "7", "UnitFileState": "enabled"}, "warn", "has been restarted 7 times"),
        ({"NeedDaemonReload": "yes"}, "warn", "was changed on disk"),
        (None, "skip", "systemctl tells nothing about zqd.service"),
    ],
)
def test_the_unit_is_as_systemd_says(shown: dict[str, str] | None, level: str, words: str) -> None:
    """Enabled, or started by a socket; not restarted, not changed since."""
    finding = service.unit(Process(uid=1, unit="zqd.service"), shown)
    assert finding.level == level
    assert words in finding.text


def test_without_systemd_there_is_nothing_to_say() -> None:
    """A zqd in the foreground is well; one that cannot be seen is not known."""
    assert service.unit(Process(uid=1), None).level == "ok"
    assert service.unit(Process(), None).level == "skip"


def proc(place: Path, **files: str) -> Path:
    """A /proc with one process, 42."""
    (place / "42" / "fd").mkdir(parents=True)
    for name, text in files.items():
        (place / "42" / name).write_text(text)
    return place


def test_a_process_is_read_from_proc(tmp_path: Path) -> None:
    """proc(5): cmdline, status, limits, cgroup, fd."""
    place = proc(
        tmp_path,
        cmdline="/usr/bin/python3\0/usr/bin/zqd\0",
        status="Name:\tzqd\nUid:\t999\t999\t999\t999\n",
        limits="Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   4096   files\n",
        cgroup="0::/system.slice/zqd.service\n",
    )
    (place / "42" / "fd" / "0").touch()
    assert service.look(42, place) == Process(999, "zqd.service", 1024, 1)


def test_another_process_of_that_number_tells_nothing(tmp_path: Path) -> None:
    """The pid of a zqd in a container may be anybody's here."""
    assert service.look(42, proc(tmp_path, cmdline="sleep\0", status="Uid:\t0\n")) == Process()
    assert service.look(43, tmp_path) == Process()


def test_a_systemctl_that_is_not_there_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines without systemd are machines too."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert service.show("zqd.service") is None


def test_systemctl_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """KEY=VALUE, as of systemctl show."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho NRestarts=2\necho 'TriggeredBy=a.socket b.socket'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert service.show("zqd.service") == {"NRestarts": "2", "TriggeredBy": "a.socket b.socket"}


# Queues


@pytest.mark.parametrize(
    ("row", "level", "text", "advice"),
    [
        (
            {"saturation": "1 of 4 workers busy, nothing waits"},
            "ok",
            "1 of 4 workers busy, nothing waits",
            "",
        ),
        (
            {"saturation": "4 busy, oldest wait 3 s: add workers"},
            "warn",
            "4 busy, oldest wait 3 s",
            "add workers",
        ),
        ({"state": "paused"}, "warn", "it is paused", "zqctl resume default"),
        ({"state": "drained"}, "warn", "it is drained", "zqctl resume default"),
        ({"state": "stopping"}, "warn", "it is stopping", "wait for its end"),
        (
            {
                "workers": 0,
                "saturation": "no workers, oldest wait 2 s: start workers",
                "backend": ["ipc:///b", "x"],
            },
            "warn",
            "no workers, oldest wait 2 s",
            "start workers at ipc:///b or x",
        ),
    ],
)
def test_a_queue_does_its_work_or_not(row: dict[str, Any], level: str, text: str, advice: str) -> None:
    """In zqd's own words, with what to do."""
    assert list(service.queue(row_of(**row), [])) == [Finding(Level(level), "queue default", text, advice)]


def test_workers_that_hang_are_named() -> None:
    """Of this queue, and not more than a line can hold."""
    rows = [worker(f"w{number}", state="quarantined") for number in range(9)]
    rows += [worker("w9"), worker("w10", state="quarantined", queue="slow")]
    _, finding = service.queue(row_of(), rows)
    assert finding.level == "warn"
    assert finding.text.startswith("9 quarantined: ")
    assert finding.text.endswith("(w0, w1, w2, w3, w4, w5, w6, w7, …)")
