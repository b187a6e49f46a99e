from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zqd.core.notice import LEFT, MAX_TEXT, PREFIX, Fail, Hello, Leave, parse
from zqd.errors import FailureCode
from zqd.zmtp.frames import decode_message, encode_message

ID = b"sixteen bytes id"


def hello(told: object) -> Hello:
    """What is understood of a hello with this JSON."""
    found = parse(encode_message([b"zqd/1", b"hello", json.dumps(told).encode()]))
    assert isinstance(found, Hello)
    return found


def test_rule_26_a_notice_begins_with_its_protocol() -> None:
    """As a frame that others follow."""
    assert encode_message([b"zqd/1", b"leave"]).startswith(PREFIX)
    assert not encode_message([b"zqd/1"]).startswith(PREFIX)
    assert decode_message(LEFT) == [b"zqd/1", b"left"]


def test_rule_26_hello() -> None:
    """Who a worker is and how much it runs at once."""
    told = {
        "name": "resizer",
        "pid": 4711,
        "unit": "zqd-worker@1.service",
        "handler": "img:resize",
        "capacity": 4,
        "held": "0123",
    }
    assert hello(told) == Hello("resizer", 4711, "zqd-worker@1.service", "img:resize", 4, "0123")


def test_rule_26_a_hello_need_not_say_anything() -> None:
    """Every key is optional, and unknown ones are for later versions."""
    assert hello({}) == Hello()
    assert hello({"colour": "red"}) == Hello()


@pytest.mark.parametrize("value", [None, 7, ["x"], {"x": 1}, False])
def test_rule_26_a_text_that_is_none_is_empty(value: object) -> None:
    """A name that is no string is as good as none."""
    assert hello({"name": value, "unit": value, "handler": value, "held": value}) == Hello()


def test_rule_26_texts_are_bounded_and_can_be_written_anywhere() -> None:
    """JSON can carry half a surrogate pair, which no file takes, and what a terminal would obey."""
    assert hello({"name": "x" * 1000}).name == "x" * MAX_TEXT
    assert hello({"name": "a\ud800b"}).name == "a\\ud800b"
    assert hello({"name": "\x1b[31mred\n"}).name == "\\x1b[31mred\\n"


@pytest.mark.parametrize("pid", [0, -1, "7", 1.5, True, None])
def test_rule_26_a_pid_that_is_none_is_not_known(pid: object) -> None:
    """It is only for people."""
    assert hello({"pid": pid}).pid is None


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "4", True, [4]])
def test_rule_26_a_capacity_must_be_a_whole_number(capacity: object) -> None:
    """From 1; anything else breaks the protocol."""
    with pytest.raises(ValueError, match="capacity must be a whole number from 1"):
        hello({"capacity": capacity})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"\xff\xfe\xfd", b"[" * 100_000, b'{"pid": ' + b"9" * 5000 + b"}"]
)
def test_rule_26_a_hello_that_is_no_json_object_is_an_error(body: bytes) -> None:
    """Of one kind, whatever is wrong with it (law 4)."""
    with pytest.raises(ValueError, match="hello is no JSON"):
        parse(encode_message([b"zqd/1", b"hello", body]))


def test_rule_26_leave() -> None:
    """One word."""
    assert parse(encode_message([b"zqd/1", b"leave"])) == Leave()


def test_rule_26_fail() -> None:
    """An id, a code and a reason."""
    found = parse(encode_message([b"zqd/1", b"fail", ID, b"503", "später".encode()]))
    assert found == Fail(ID, FailureCode.NO_CAPACITY, "später")


@pytest.mark.parametrize("code", [b"", b"abc", b"-5", b"200", b"599", b"5000", b"\xd9\xa5"])
def test_rule_26_a_code_that_is_none_of_ours_is_500(code: bytes) -> None:
    """The handler has failed, whatever it calls that."""
    found = parse(encode_message([b"zqd/1", b"fail", ID, code, b"x"]))
    assert found == Fail(ID, FailureCode.HANDLER_FAILED, "x")


def test_rule_26_a_reason_is_bounded_text() -> None:
    """Whatever bytes it is made of."""
    found = parse(encode_message([b"zqd/1", b"fail", ID, b"500", b"\xff" * 1000]))
    assert isinstance(found, Fail)
    assert found.reason == "\ufffd" * MAX_TEXT


@pytest.mark.parametrize(
    "frames",
    [
        (b"",),
        (b"hullo",),
        (b"leave", b"now"),
        (b"hello",),
        (b"hello", b"{}", b"{}"),
        (b"fail", ID, b"500"),
        (b"fail", ID[:15], b"500", b"x"),
        (b"left",),
    ],
)
def test_rule_26_an_unknown_notice_is_an_error(frames: tuple[bytes, ...]) -> None:
    """Also a known one with frames too few or too many."""
    with pytest.raises(ValueError, match="unknown notice"):
        parse(encode_message([b"zqd/1", *frames]))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"hello", b"leave", b"fail", ID, b"{}"])),
        min_size=1,
    )
)
def test_law_4_no_notice_raises_anything_else(frames: list[bytes]) -> None:
    """Whatever follows `zqd/1`, it is a notice or a ValueError."""
    try:
        assert isinstance(parse(encode_message([b"zqd/1", *frames])), Hello | Leave | Fail)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - most examples do not raise
