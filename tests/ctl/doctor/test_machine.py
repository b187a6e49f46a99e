from __future__ import annotations

import pytest

from zqd.ctl.doctor import machine
from zqd.ctl.doctor.finding import Level


@pytest.mark.parametrize(("value", "level"), [(4096, "ok"), (8192, "ok"), (4095, "warn"), (None, "skip")])
def test_the_backlog_is_the_kernels(value: int | None, level: str) -> None:
    """Less than zqd asks for is cut silently."""
    assert machine.backlog(value).level == level


@pytest.mark.parametrize(("state", "level"), [(0, "ok"), (1, "ok"), (5, "warn"), (None, "skip")])
def test_the_clock_is_synchronised_or_not(state: int | None, level: str) -> None:
    """TIME_OK and the leap seconds are well, TIME_ERROR is not."""
    assert machine.synchronised(state).level == level


def test_a_clock_before_zqd_was_made_is_wrong() -> None:
    """By more than a day, which a time zone may be off."""
    now = 1.8e9
    assert machine.clock(now, now + 0.9 * machine.DAY).level == "ok"
    finding = machine.clock(now, now + 10 * machine.DAY)
    assert (finding.level, finding.text) == (
        "warn",
        "the clock stands 10 days before the date of zqd's own files",
    )


def test_this_machine_can_be_looked_at() -> None:
    """Every check comes to something, and none of it is a failure of zqd's."""
    assert [finding.about for finding in machine.examine()] == ["backlog", "clock", "date"]
    assert all(finding.level != Level.FAIL for finding in machine.examine())
