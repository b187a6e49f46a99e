from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zqd.core.peers import Client
from zqd.core.request import NO_OPTIONS, Options, Request, failure_reply, parse_options
from zqd.errors import FailureCode
from zqd.zmtp.frames import EMPTY_MORE, MORE, decode_message, encode_frame, encode_message, envelope_of


def envelope(*frames: bytes) -> bytes:
    """These frames and the empty one, as they are on the wire."""
    return b"".join(encode_frame(frame, MORE) for frame in (*frames, b""))


# Options


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (b"zqd/1", NO_OPTIONS),
        (b"zqd/1 timeout_ms=1500", Options(timeout=1.5)),
        (b"zqd/1 priority=0", Options(priority=0)),
        (b"zqd/1 attempts=1", Options(attempts=1)),
        (b"zqd/1 priority=9 timeout_ms=1 attempts=1000", Options(timeout=0.001, priority=9, attempts=1000)),
        (b"zqd/1  priority=7 ", Options(priority=7)),
        (b"zqd/1 priority=7 priority=8", Options(priority=8)),
    ],
)
def test_rule_25_options_are_read_from_the_first_frame(text: bytes, options: Options) -> None:
    """`zqd/1` and pairs of key and value; what is not given is the queue's own setting."""
    assert parse_options(envelope(text, b"c7")) == options


@pytest.mark.parametrize(
    "first", [b"", b"c7", b"zqd/10 priority=1", b"zqd/", b"ZQD/1 priority=x", b"zqd/1\tpriority=x"]
)
def test_rule_25_another_first_frame_is_the_clients_own_business(first: bytes) -> None:
    """Only the word `zqd/1` makes it options."""
    assert parse_options(envelope(first)) is NO_OPTIONS


def test_rule_25_options_are_read_from_the_first_frame_only() -> None:
    """Behind another one they are somebody else's."""
    assert parse_options(envelope(b"c7", b"zqd/1 priority=x")) is NO_OPTIONS


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"priority=10", "priority=10: expected a whole number from 0 to 9"),
        (b"priority=-1", "priority=-1: "),
        (b"priority=", "priority=: "),
        (b"priority", "priority=: "),
        (b"timeout_ms=0", "timeout_ms=0: expected a whole number from 1 to 1000000000"),
        (b"timeout_ms=1.5", "timeout_ms=1.5: "),
        (b"timeout_ms=99999999999", "timeout_ms=99999999999: "),
        (b"attempts=0", "attempts=0: expected a whole number from 1 to 1000"),
        (b"attempts=1001", "attempts=1001: "),
        (b"colour=red", "unknown option colour: expected timeout_ms, priority or attempts"),
        (b"\xff=1", "unknown option \\xff: "),
        (b"priority=" + b"9" * 5000, "priority=" + "9" * 32 + ": "),
        ("priority=٣".encode(), "priority=\\xd9\\xa3: "),
    ],
)
def test_rule_25_what_is_wrong_in_the_options_is_said(text: bytes, wrong: str) -> None:
    """A sentence for the client's programmer; shortened, and in ASCII."""
    with pytest.raises(ValueError, match="expected") as error:
        parse_options(envelope(b"zqd/1 " + text))
    assert str(error.value).startswith(wrong)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=40))
def test_law_4_no_options_frame_raises_anything_else(text: bytes) -> None:
    """Whatever follows `zqd/1`, it is options or a ValueError."""
    found = envelope_of(encode_message([b"zqd/1 " + text, b"", b"x"]))
    assert found is not None
    try:
        assert isinstance(parse_options(found), Options)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - most examples do not raise


# Failures


def test_rule_14_a_failure_is_one_frame_under_the_clients_envelope() -> None:
    """For a plain REQ, a correlating one, a DEALER with more in its envelope."""
    for given_envelope in (EMPTY_MORE, envelope(b"c7"), envelope(b"a", b"b")):
        raw = failure_reply(given_envelope, FailureCode.TIMED_OUT, "ran too long")
        assert raw == given_envelope + encode_frame(b"ZQD-ERROR 504 ran too long")


def test_rule_25_in_a_failure_the_options_become_a_status() -> None:
    """The rest of the envelope comes back as it was sent."""
    raw = failure_reply(envelope(b"zqd/1 priority=9", b"c7"), FailureCode.WORKER_LOST, "worker lost")
    assert decode_message(raw) == [b"zqd/1 status=502", b"c7", b"", b"ZQD-ERROR 502 worker lost"]


def test_rule_25_bad_options_become_a_status_too() -> None:
    """However long the frame was."""
    raw = failure_reply(envelope(b"zqd/1 " + b"x" * 300), FailureCode.BAD_OPTIONS, "no")
    assert decode_message(raw) == [b"zqd/1 status=400", b"", b"ZQD-ERROR 400 no"]


def test_rule_25_what_only_looks_like_options_is_left_alone() -> None:
    """`zqd/10` is no options frame."""
    raw = failure_reply(envelope(b"zqd/10 x"), FailureCode.TOO_LARGE, "no")
    assert decode_message(raw)[0] == b"zqd/10 x"


def test_a_reason_may_hold_anything() -> None:
    """Half a surrogate pair from a worker's JSON does not raise."""
    assert failure_reply(EMPTY_MORE, FailureCode.HANDLER_FAILED, "ä \ud800") == EMPTY_MORE + encode_frame(
        "ZQD-ERROR 500 ä ?".encode()
    )


# Requests


def test_a_request_has_ended_when_it_is_nowhere() -> None:
    """Neither waiting nor held by a worker (law 1)."""
    request = Request(7, Client(1, "a", "", 0.0), b"", 0.0)
    assert request.ended
    request.waiting = True
    assert not request.ended
