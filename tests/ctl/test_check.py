from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ctl.sessions import PaperSession, refused
from zqd.ctl import check
from zqd.ctl.check import Level
from zqd.ctl.connection import ExitStatus
from zqd.ctl.local import LOCAL
from zqd.ctl.program import build_parser, main

WELL = {
    "name": "default",
    "state": "running",
    "workers": 4,
    "idle_workers": 3,
    "clients": 2,
    "queued": 0,
    "in_flight": 1,
    "oldest_wait_s": None,
    "busy": 0.25,
    "received": 10,
    "failed": 1,
    "saturation": "1 of 4 workers busy, 25 % over the last minute, nothing waits",
}
NO_LIMITS: dict[str, Any] = {option.name: option.default for option in LOCAL["check"].arguments}


def checked(*rows: dict[str, Any], state: str = "running", **limits: Any) -> tuple[int, str]:
    """Exit status and line of a zqd with these queues."""
    session = PaperSession({"status": {"state": state, "queues": [WELL | row for row in rows]}})
    status = check.run(session, NO_LIMITS | limits)
    assert session.printed.endswith("\n")
    assert session.printed.count("\n") == 1
    return status, session.printed.rstrip("\n")


def test_all_is_well() -> None:
    """OK, in words before the bar and in numbers behind it."""
    status, line = checked({})
    assert status == Level.OK
    words, numbers = line.split(" | ")
    assert words == "OK - 4 workers, nothing waits"
    assert numbers == (
        "workers=4;;1: idle=3 clients=2 queued=0 in_flight=1 oldest_wait=0s busy=25% received=10c failed=1c"
    )


def test_several_queues_are_told_together() -> None:
    """Their sums in words, their numbers under their names."""
    status, line = checked({}, {"name": "mail", "workers": 1, "queued": 3, "oldest_wait_s": 1.25})
    assert status == Level.OK
    assert line.startswith("OK - 5 workers of 2 queues, 3 queued, oldest wait 1.2 s | default.workers=4;;1: ")
    assert " mail.workers=1;;1: " in line


@pytest.mark.parametrize(
    ("limits", "row", "problem"),
    [
        ({"min_workers": 5}, {}, "4 workers, fewer than 5"),
        ({}, {"workers": 0, "idle_workers": 0, "saturation": "no workers"}, "no workers, fewer than 1"),
        ({"min_idle": 4}, {}, "3 idle, fewer than 4"),
        ({"max_queued": 9}, {"queued": 10}, "10 queued, more than 9"),
        ({"max_wait": 5.0}, {"oldest_wait_s": 5.5}, "the oldest request has waited 5.5 s, longer than 5 s"),
        (
            {"max_wait": 0.5},
            {"oldest_wait_s": 0.6},
            "the oldest request has waited 0.6 s, longer than 0.5 s",
        ),
    ],
)
def test_past_a_limit_is_critical(limits: dict[str, Any], row: dict[str, Any], problem: str) -> None:
    """With the queue, what is and what was asked for."""
    status, line = checked(row, **limits)
    assert (status, line.split(" | ")[0]) == (Level.CRITICAL, f"CRITICAL - queue default: {problem}")


@pytest.mark.parametrize(
    ("limits", "row"),
    [
        ({"min_workers": 4, "min_idle": 3}, {}),
        ({"min_workers": 0}, {"workers": 0, "saturation": "no workers"}),
        ({"max_queued": 10, "max_wait": 5.0}, {"queued": 10, "oldest_wait_s": 5.0}),
        ({"max_queued": 0, "max_wait": 0.0}, {}),
    ],
)
def test_at_a_limit_is_well(limits: dict[str, Any], row: dict[str, Any]) -> None:
    """The limits themselves are allowed."""
    assert checked(row, **limits)[0] == Level.OK


@pytest.mark.parametrize("state", ["paused", "draining", "drained", "stopping"])
def test_a_queue_that_does_not_run_is_a_warning(state: str) -> None:
    """Somebody has ordered that, and may have forgotten it."""
    status, line = checked({"state": state, "saturation": "paused: nothing is dispatched, nothing waits"})
    assert status == Level.WARNING
    assert line.startswith(f"WARNING - queue default: {state} | ")


def test_a_zqd_that_stops_is_a_warning() -> None:
    """It will not be there much longer."""
    assert checked({}, state="stopping")[1].startswith("WARNING - zqd is stopping | ")


@pytest.mark.parametrize(
    "saturation",
    [
        "4 of 4 workers busy, 97 % over the last minute, oldest wait 3.2 s: add workers",
        "0 of 1 workers busy, 1 quarantined, oldest wait 3.2 s: start workers",
    ],
)
def test_a_saturated_queue_is_a_warning(saturation: str) -> None:
    """In zqd's own words."""
    status, line = checked({"saturation": saturation})
    assert (status, line.split(" | ")[0]) == (Level.WARNING, f"WARNING - queue default: {saturation}")


def test_the_worst_comes_first_and_is_the_status() -> None:
    """All that is wrong is said, in one line."""
    status, line = checked({"state": "paused"}, {"name": "mail", "queued": 2}, max_queued=1)
    assert status == Level.CRITICAL
    assert line.startswith("CRITICAL - queue mail: 2 queued, more than 1; queue default: paused | ")


def test_limits_stand_behind_the_numbers() -> None:
    """As the plugins write them: critical below, critical above."""
    numbers = checked({}, max_wait=1.5, min_workers=2, min_idle=1, max_queued=100)[1].split(" | ")[1].split()
    assert {"workers=4;;2:", "idle=3;;1:", "queued=0;;100", "oldest_wait=0s;;1.5"} <= set(numbers)


def test_one_queue_can_be_asked_about() -> None:
    """The others count for nothing, and the numbers need no name."""
    assert checked({"state": "paused"}, {"name": "mail"}, queue="mail") == (
        Level.OK,
        checked({})[1],
    )


def test_an_unknown_queue_is_unknown() -> None:
    """The question makes no sense; what there is is said."""
    assert checked({}, {"name": "mail"}, queue="x|\x1b") == (
        Level.UNKNOWN,
        r"UNKNOWN - no queue is named 'x/\x1b'; there is default, mail",
    )


def test_one_queue_of_a_name_is_judged() -> None:
    """The one that lives: the other has been removed by a reload, and only ends. No number has a name twice."""
    status, line = checked({}, {"name": "mail"}, {"name": "mail", "state": "stopping", "workers": 0})
    assert (status, line.count("mail.workers=")) == (Level.OK, 1)
    assert (
        "4 workers, nothing waits"
        in checked({"state": "stopping", "workers": 0}, {"state": "running"}, queue="default")[1]
    )
    assert checked({}, {"name": "mail"}, {"name": "mail", "state": "stopping"}, queue="x")[1].endswith(
        "there is default, mail"
    )


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        (ExitStatus.NOT_RUNNING, Level.CRITICAL),
        (ExitStatus.ERROR, Level.CRITICAL),
        (ExitStatus.NO_PERMISSION, Level.UNKNOWN),
        (ExitStatus.USAGE, Level.UNKNOWN),
    ],
)
def test_no_answer_has_a_level(reason: ExitStatus, level: Level) -> None:
    """A zqd that is down or hangs is critical; one that may not be asked may be well. Nothing is raised."""
    session = PaperSession(refused(reason, "the | reason"))
    assert check.run(session, NO_LIMITS) == level
    assert session.printed == f"{level.name} - the / reason\n"


def test_json_has_the_problems_one_by_one() -> None:
    """For programs, with the same exit status."""
    status = {"state": "running", "queues": [WELL | {"state": "paused", "queued": 2}]}
    session = PaperSession({"status": status}, json=True)
    assert check.run(session, NO_LIMITS | {"max_queued": 1}) == Level.CRITICAL
    assert json.loads(session.printed) == {
        "level": "CRITICAL",
        "text": "queue default: 2 queued, more than 1; queue default: paused",
        "problems": [
            {"level": "CRITICAL", "text": "queue default: 2 queued, more than 1"},
            {"level": "WARNING", "text": "queue default: paused"},
        ],
    }


NO_DURATION = 'argument --max-wait: "{}" is not a duration; expected a duration such as "500ms" or "5s"'


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["check", "--min-workers", "-1"],
            "argument --min-workers: -1 is not a whole number from 0 to 1000000000",
        ),
        (
            ["check", "--max-queued", "x"],
            "argument --max-queued: x is not a whole number from 0 to 1000000000",
        ),
        (["check", "--max-wait", "soon"], NO_DURATION.format("soon")),
        (["check", "--max-wait", "5q"], NO_DURATION.format("5q")),
        (["check", "--max-wait", ""], NO_DURATION.format("")),
        (["check", "--max-wait", "-1s"], "argument --max-wait: expected one argument"),
        (["check", "--max-wait=-1s"], "argument --max-wait: -1s is not between 0 and 1000000 seconds"),
        (["check", "--foo"], "unrecognized arguments: --foo"),
        (["--foo", "check"], "unrecognized arguments: --foo"),
        (["check", "a|b\x1b"], r"unrecognized arguments: a/b\x1b"),
    ],
)
def test_a_wrong_call_is_unknown(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said where a monitoring system reads it, and not with argparse's status, which is CRITICAL to one."""
    assert main(words) == 3
    printed = capsys.readouterr()
    assert printed.out == f"UNKNOWN - {sentence}\n"
    assert "usage: zqctl" in printed.err
    assert main(["--json", *words]) == 3
    assert json.loads(capsys.readouterr().out)["level"] == "UNKNOWN"


def test_a_wrong_call_of_another_command_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Even if that word stands in it."""
    assert main(["request", "check", "--foo"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("5s", 5.0), ("1.5", 1.5), ("2m", 120.0)])
def test_a_wait_is_a_duration(text: str, seconds: float) -> None:
    """As the configuration has it."""
    assert build_parser().parse_args(["check", "--max-wait", text]).max_wait == seconds
