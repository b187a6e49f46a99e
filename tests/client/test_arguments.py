from __future__ import annotations

import re
from typing import Any

import pytest

from zqd import AsyncClient, Client
from zqd.client.arguments import OWN, Wishes, endpoints_of, frames_of, single_frame
from zqd.client.errors import ManyFrames


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        (b"", [b""]),
        (b"x", [b"x"]),
        (bytearray(b"x"), [b"x"]),
        (memoryview(b"x"), [b"x"]),
        ([b"a", b""], [b"a", b""]),
        ((b"a",), [b"a"]),
        ([bytearray(b"a"), memoryview(b"b")], [b"a", b"b"]),
    ],
)
def test_messages(message: object, frames: list[bytes]) -> None:
    """Bytes in each of their forms, or a sequence of them."""
    assert frames_of(message) == frames


@pytest.mark.parametrize(
    ("message", "kind", "sentence"),
    [
        ("x", TypeError, "a request is bytes, not str: encode it, as in text.encode()"),
        (None, TypeError, "a request is bytes or a list of bytes, not NoneType"),
        (7, TypeError, "a request is bytes or a list of bytes, not int"),
        ({b"a": b"b"}, TypeError, "a request is bytes or a list of bytes, not dict"),
        ([], ValueError, "a request needs at least one frame; an empty one is b''"),
        ([b"a", "b"], TypeError, "frame 1 of a request is bytes, not str: encode it"),
        ([b"a", 1], TypeError, "frame 1 of a request is bytes, not int"),
    ],
)
def test_what_is_no_message(message: object, kind: type[Exception], sentence: str) -> None:
    """Said at once, in one sentence."""
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        frames_of(message)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:5559",
        "tcp://localhost:5559",
        "tcp://broker.example.org:1",
        "tcp://[::1]:65535",
        "ipc:///run/zqd/clients.sock",
        "ipc://relative.sock",
    ],
)
def test_endpoints(endpoint: str) -> None:
    """What libzmq connects to."""
    assert endpoints_of(endpoint) == endpoints_of([endpoint]) == (endpoint,)


@pytest.mark.parametrize(
    ("endpoints", "kind", "sentence"),
    [
        ([], ValueError, "the list of endpoints is empty: expected at least one, as in tcp://127.0.0.1:5559"),
        (["tcp://a:1", "tcp://a:1"], ValueError, "an endpoint is there twice: tcp://a:1, tcp://a:1"),
        (b"tcp://a:1", TypeError, "an endpoint is str, not bytes"),
        ([b"tcp://a:1"], TypeError, "an endpoint is str, not bytes"),
        (5559, TypeError, "expected an endpoint or a list of them, not int"),
        (
            "localhost:5559",
            ValueError,
            "'localhost:5559' is no endpoint: expected tcp://HOST:PORT or ipc:///PATH",
        ),
        ("", ValueError, "'' is no endpoint: expected tcp://HOST:PORT or ipc:///PATH"),
        ("udp://a:1", ValueError, "'udp://a:1' is no endpoint: expected tcp://HOST:PORT or ipc:///PATH"),
        ("tcp://*:5559", ValueError, "'tcp://*:5559' is no place to connect to: name the host in place of *"),
        (
            "tcp://a",
            ValueError,
            "'tcp://a' is incomplete: expected tcp://HOST:PORT, the port from 1 to 65535",
        ),
        (
            "tcp://:1",
            ValueError,
            "'tcp://:1' is incomplete: expected tcp://HOST:PORT, the port from 1 to 65535",
        ),
        (
            "tcp://a:0",
            ValueError,
            "'tcp://a:0' is incomplete: expected tcp://HOST:PORT, the port from 1 to 65535",
        ),
        (
            "tcp://a:65536",
            ValueError,
            "'tcp://a:65536' is incomplete: expected tcp://HOST:PORT, the port from 1 to 65535",
        ),
        ("tcp://::1:1", ValueError, "'tcp://::1:1': an IPv6 address stands in brackets, as in tcp://[::1]:1"),
        ("tcp://a b:1", ValueError, "'tcp://a b:1': 'a b' is no name or address of a host"),
        ("tcp://\xe4:1", ValueError, "'tcp://\xe4:1': '\xe4' is no name or address of a host"),
        ("ipc://", ValueError, "'ipc://' has no path: expected ipc:///PATH"),
        ("ipc://@", ValueError, "'ipc://@' has no path: expected ipc:///PATH"),
        (
            f"ipc:///{'x' * 107}",
            ValueError,
            f"'ipc:///{'x' * 107}' is too long: the path of a unix socket has at most 107 bytes",
        ),
    ],
)
def test_what_is_no_endpoint(endpoints: object, kind: type[Exception], sentence: str) -> None:
    """Said at once, in one sentence."""
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        endpoints_of(endpoints)


@pytest.mark.parametrize(
    ("wishes", "kind", "sentence"),
    [
        (
            {"timeout": -1},
            ValueError,
            "timeout=-1: expected more than 0 seconds, at most 1000000; None is no limit",
        ),
        (
            {"timeout": 0},
            ValueError,
            "timeout=0: expected more than 0 seconds, at most 1000000; None is no limit",
        ),
        (
            {"timeout": float("nan")},
            ValueError,
            "timeout=nan: expected more than 0 seconds, at most 1000000; None is no limit",
        ),
        (
            {"timeout": float("inf")},
            ValueError,
            "timeout=inf: expected more than 0 seconds, at most 1000000; None is no limit",
        ),
        ({"timeout": "5s"}, TypeError, "timeout is a number of seconds, or None, not str"),
        ({"timeout": True}, TypeError, "timeout is a number of seconds, or None, not bool"),
        ({"attempts": 0}, ValueError, "attempts=0: expected 1 to 1000"),
        ({"attempts": 1.5}, TypeError, "attempts is a whole number, not float"),
        ({"priority": 10}, ValueError, "priority=10: expected 0 to 9"),
        ({"priority": -1}, ValueError, "priority=-1: expected 0 to 9"),
        ({"priority": True}, TypeError, "priority is a whole number, not bool"),
    ],
)
def test_wishes_that_make_no_sense(wishes: dict[str, Any], kind: type[Exception], sentence: str) -> None:
    """Are refused when a client is made, either one, and for a request."""
    for make in (Client, AsyncClient):
        with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
            make("tcp://127.0.0.1:1", **wishes)
    with Client("tcp://127.0.0.1:1") as client, pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        client.request(b"", **wishes)


@pytest.mark.parametrize(
    "endpoint", [f"ipc:///{'x' * 106}", "ipc://@x", "tcp://[::1%lo]:1", "tcp://a-b.c_d:1"]
)
def test_what_is_an_endpoint_is_one_for_libzmq(endpoint: str) -> None:
    """Or its words would be raised, in its own exception."""
    Client(endpoint).close()


def test_a_heartbeat_is_checked() -> None:
    """By its own name."""
    with pytest.raises(ValueError, match=r"^heartbeat=0: expected more than 0 seconds"):
        Client("tcp://127.0.0.1:1", heartbeat=0)


def test_a_request_may_say_otherwise() -> None:
    """Each on its own; a timeout of None is said, not left out."""
    own = Wishes(2.0, 3, 4)
    assert own.changed(OWN, None, None) == own
    assert own.changed(None, None, None) == Wishes(None, 3, 4)
    assert own.changed(1, None, 0) == Wishes(1.0, 3, 0)
    assert own.changed(OWN, 1, None) == Wishes(2.0, 1, 4)


def test_the_frames_that_do_not_fit_are_not_lost() -> None:
    """They are in the exception."""
    assert single_frame([b"a"]) == b"a"
    with pytest.raises(ManyFrames, match="the answer has 2 frames") as caught:
        single_frame([b"a", b"b"])
    assert caught.value.frames == [b"a", b"b"]
