from __future__ import annotations

import pickle

import pytest

import zqd
from zqd.client.errors import OF_CODE, TimedOut, Unreachable, failure
from zqd.errors import FailureCode


def test_every_failure_has_its_exception() -> None:
    """The table of zqd(7) and this one are the same."""
    assert set(OF_CODE) == set(FailureCode)
    assert len(set(OF_CODE.values())) == len(FailureCode)


def test_what_it_says() -> None:
    """Code, reason and place, one line."""
    assert str(failure(504, "waited too long", "tcp://a:1")) == "504 waited too long (tcp://a:1)"
    assert str(TimedOut(504, "no answer within 2 s")) == "504 no answer within 2 s"


def test_a_time_out_is_a_timeout_error() -> None:
    """Whoever catches Python's own need not know ours."""
    assert issubclass(TimedOut, TimeoutError)
    assert issubclass(Unreachable, TimedOut)


@pytest.mark.parametrize("kind", [zqd.RequestError, zqd.Busy, TimedOut, Unreachable])
def test_failures_travel_between_processes(kind: type[zqd.RequestError]) -> None:
    """A pool's worker may raise them."""
    error = pickle.loads(pickle.dumps(kind(599, "why", "tcp://a:1")))  # noqa: S301 - our own
    assert type(error) is kind
    assert (error.code, error.reason, error.endpoint) == (599, "why", "tcp://a:1")
