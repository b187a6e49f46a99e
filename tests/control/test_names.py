"""A queue that a reload has removed still ends beside its successor of the same name: which of them a name means."""

from __future__ import annotations

import pytest

from tests.control.serving import PaperBroker, queue
from zqd.control.answers import CommandError, Later
from zqd.control.commands import dispatch
from zqd.control.inquiries import by_name


@pytest.fixture
def broker() -> PaperBroker:
    """Its only queue `slow` was removed and added again, and the old one still holds a request."""
    broker = PaperBroker()
    old = queue("slow", measured=False) | {"state": "stopping", "in_flight": 1}
    broker.queue_rows = [queue("slow", measured=False) | {"workers": 2}, old]
    return broker


@pytest.mark.parametrize("step", [1, -1])
def test_a_name_means_the_queue_that_lives(step: int) -> None:
    """In whichever order they come."""
    rows = [{"name": "a", "state": state} for state in ("stopping", "running")]
    assert by_name(rows[::step]) == {"a": {"name": "a", "state": "running"}}


def test_of_two_that_end_the_later_is_meant() -> None:
    """It was the one that lived when all of zqd began to stop."""
    ending = [{"name": "a", "state": "stopping", "at": at} for at in (1, 2)]
    assert by_name(ending)["a"]["at"] == 2


def test_refusals_tell_a_name_once(broker: PaperBroker) -> None:
    """There is one that can be meant."""
    for name in ("pause", "workers"):
        with pytest.raises(CommandError, match=r"^no queue is named 'x'; there is slow$"):
            dispatch(broker, name, {"queue": "x"})


def test_what_is_listed_has_both(broker: PaperBroker) -> None:
    """With their states."""
    rows = dispatch(broker, "queues", {"queue": "slow"})
    assert isinstance(rows, list)
    assert [row["state"] for row in rows] == ["running", "stopping"]


def test_a_wait_for_workers_is_for_the_one_that_lives(broker: PaperBroker) -> None:
    """The other gets no more of them, and is not told."""
    later = dispatch(broker, "wait", {"workers": 2})
    assert isinstance(later, Later)
    outcomes: list[object] = []
    later.deliver_to(outcomes.append)
    row = {"name": "slow", "state": "running", "workers": 2, "queued": 0, "in_flight": 0}
    assert outcomes == [{"queues": [row]}]


def test_a_wait_for_idle_is_for_both(broker: PaperBroker) -> None:
    """What the other holds is in flight."""
    dispatch(broker, "wait", {"idle": True})
    ((_, condition, _),) = broker.waiting
    assert condition() is None
    broker.queue_rows[1]["in_flight"] = 0
    assert condition() is not None
