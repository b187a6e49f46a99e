from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PATIENCE
from tests.systemd.receiver import ROOT, command
from zqd.errors import ExitStatus, UnavailableError
from zqd.systemd.passed import PassedSockets

EXPECTED = "; expected a listening stream socket (ListenStream= in the socket unit)"


def receive(plan: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What the receiver, a process of its own, got of sockets that it made itself and of these variables."""
    result = subprocess.run(
        command(plan),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


# From the environment


def test_without_variables_nothing_is_passed() -> None:
    """Started by hand there are no names, and nothing to claim."""
    answer = receive({"claim": ["frontend"], "expected": ["frontend"]})
    assert (answer["names"], answer["claimed"], answer["error"]) == ([], {"frontend": []}, None)


def test_sockets_are_found_by_their_names() -> None:
    """The order is not ours to know: FileDescriptorName= says which is which."""
    plan = {"make": 2, "claim": ["frontend", "backend"], "expected": []}
    answer = receive(plan, LISTEN_FDS="2", LISTEN_FDNAMES="backend:frontend")
    assert answer["names"] == ["backend", "frontend"]
    claimed = {name: [row["descriptor"] for row in rows] for name, rows in answer["claimed"].items()}
    assert claimed == {"backend": [3], "frontend": [4]}
    assert answer["error"] is None


def test_a_name_may_come_several_times() -> None:
    """A unit with several ListenStream= passes all of them under one name; they are claimed together, in order."""
    plan = {"make": 3, "claim": ["frontend"], "expected": []}
    answer = receive(plan, LISTEN_FDS="3", LISTEN_FDNAMES="frontend:frontend:frontend")
    assert [row["descriptor"] for row in answer["claimed"]["frontend"]] == [3, 4, 5]


def test_nothing_is_left_for_children() -> None:
    """The variables are gone, and the descriptors close at exec, claimed or not (sd_listen_fds(3))."""
    answer = receive({"make": 2, "claim": ["a"]}, LISTEN_FDS="2", LISTEN_FDNAMES="a:b")
    assert answer["environment"] == []
    assert answer["inherited"] == []


def test_descriptors_without_a_name_are_unknown() -> None:
    """As sd_listen_fds_with_names(3) calls them: with no names, with fewer names than sockets, with an empty one."""
    plan = {"make": 2, "claim": ["unknown"]}
    assert receive(plan, LISTEN_FDS="2")["names"] == ["unknown", "unknown"]
    assert receive(plan, LISTEN_FDS="2", LISTEN_FDNAMES="a")["names"] == ["a", "unknown"]
    assert receive(plan, LISTEN_FDS="2", LISTEN_FDNAMES=":a")["names"] == ["unknown", "a"]


@pytest.mark.parametrize("variables", [{"LISTEN_PID": "1"}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "0"}])
def test_sockets_for_somebody_else_are_not_ours(variables: dict[str, str]) -> None:
    """A LISTEN_PID that a parent passed on means none, and so does a count of none; the variables go all the same."""
    answer = receive({"make": 1, "claim": ["a"], "expected": []}, **{"LISTEN_FDS": "1"} | variables)
    assert (answer["names"], answer["claimed"], answer["error"]) == ([], {"a": []}, None)
    assert answer["environment"] == []


def test_a_count_without_a_process_is_none() -> None:
    """LISTEN_FDS alone was not meant for us (sd_listen_fds(3))."""
    assert receive({}, LISTEN_FDS="1")["names"] == []


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"LISTEN_FDS": "two"},
            "LISTEN_FDS='two' makes no sense; expected how many sockets are passed, a number",
        ),
        (
            {"LISTEN_FDS": "-1"},
            "LISTEN_FDS='-1' makes no sense; expected how many sockets are passed, a number",
        ),
        (
            {"LISTEN_FDS": "9" * 5000},
            f"LISTEN_FDS='{'9' * 5000}' makes no sense; expected how many sockets are passed, a number",
        ),
        ({"LISTEN_PID": "me"}, "LISTEN_PID='me' makes no sense; expected a process id, a number"),
        (
            {"LISTEN_FDS": "999999999"},
            (
                "LISTEN_FDS=999999999 but descriptor 4 cannot be used: Bad file descriptor; "
                "expected the passed sockets to be descriptors 3 to 1000000001"
            ),
        ),
        (
            {"LISTEN_FDNAMES": "a:b"},
            "LISTEN_FDNAMES='a:b' has 2 names; expected at most one for each of the passed sockets (LISTEN_FDS=1)",
        ),
    ],
)
def test_malformed_variables_are_refused(variables: dict[str, str], sentence: str) -> None:
    """With one line that says what stands there and what is expected, and the status of a refusal by the machine."""
    answer = receive({"make": 1}, **{"LISTEN_FDS": "1"} | variables)
    assert answer["error"] == sentence
    assert answer["status"] == ExitStatus.UNAVAILABLE
    assert answer["environment"] == []


# Claiming


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test hands to it."""
    with ExitStack() as stack:
        yield stack


def listening(stack: ExitStack) -> int:
    """The descriptor of a listening socket; the test's end closes it."""
    return stack.enter_context(socket.create_server(("127.0.0.1", 0))).fileno()


def duplicate(stack: ExitStack) -> int:
    """The same, but whoever gets it has to close it."""
    return os.dup(listening(stack))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_listening_stream_sockets_are_given_out(
    family: socket.AddressFamily, stack: ExitStack, tmp_path: Path
) -> None:
    """IPv4, IPv6 and unix; made non-blocking, as the loop needs them."""
    addresses: dict[socket.AddressFamily, Any] = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: str(tmp_path / "x.sock"),
    }
    ours = stack.enter_context(socket.socket(family))
    try:
        ours.bind(addresses[family])
    except OSError:
        if family != socket.AF_INET6:
            raise
        pytest.skip("NO IPv6 LOOPBACK HERE: a passed socket at [::1] is NOT TESTED")
    ours.listen()
    passed = PassedSockets([("frontend", os.dup(ours.fileno()))])
    (claimed,) = passed.claim("frontend")
    stack.enter_context(claimed)
    assert (claimed.family, claimed.getsockname()) == (family, ours.getsockname())
    assert not os.get_blocking(claimed.fileno())
    assert claimed.gettimeout() == 0


def test_what_is_claimed_is_the_claimants(stack: ExitStack) -> None:
    """A second claim gets nothing, the name is still told, and `close` leaves the socket open."""
    passed = PassedSockets([("frontend", duplicate(stack))])
    (claimed,) = passed.claim("frontend")
    assert passed.claim("frontend") == []
    assert passed.names == ("frontend",)
    passed.close()
    assert stack.enter_context(claimed).getsockname()


def test_what_nobody_claimed_is_closed(stack: ExitStack) -> None:
    """Once, and without complaint where that has happened already."""
    descriptor = duplicate(stack)
    passed = PassedSockets([("frontend", descriptor)])
    passed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    passed.close()
    PassedSockets([("frontend", descriptor)]).close()


def test_a_socket_that_does_not_listen_is_refused(stack: ExitStack) -> None:
    """Such as one of Accept=yes, which is a connection."""
    ours, _ = (stack.enter_context(sock) for sock in socket.socketpair())
    check_refused(ours.fileno(), "is not listening")


@pytest.mark.parametrize(
    ("family", "kind", "fault"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM, "has the type SOCK_DGRAM"),
        (socket.AF_UNIX, socket.SOCK_SEQPACKET, "has the type SOCK_SEQPACKET"),
        (socket.AF_NETLINK, socket.SOCK_RAW, "has the address family AF_NETLINK"),
    ],
)
def test_a_socket_of_another_kind_is_refused(
    family: socket.AddressFamily, kind: socket.SocketKind, fault: str, stack: ExitStack
) -> None:
    """ListenDatagram=, ListenSequentialPacket= and ListenNetlink= are no way to connect to us."""
    check_refused(stack.enter_context(socket.socket(family, kind)).fileno(), fault)


def test_what_is_no_socket_is_refused(stack: ExitStack) -> None:
    """ListenFIFO= and OpenFile= pass such descriptors."""
    for descriptor in os.pipe():
        stack.callback(os.close, descriptor)
        check_refused(descriptor, "is not a socket")


def test_a_descriptor_that_was_closed_is_refused(stack: ExitStack) -> None:
    """Whoever closed it: no traceback."""
    descriptor = duplicate(stack)
    os.close(descriptor)
    check_refused(descriptor, "cannot be used: Bad file descriptor")


def check_refused(descriptor: int, fault: str) -> None:
    """Claiming it raises one line with that fault."""
    with pytest.raises(UnavailableError) as caught:
        PassedSockets([("frontend", descriptor)]).claim("frontend")
    assert str(caught.value) == f"the socket passed as 'frontend' (descriptor {descriptor}) {fault}{EXPECTED}"


def test_one_bad_socket_of_a_name_refuses_all(stack: ExitStack) -> None:
    """The good ones stay unclaimed, and open until `close`."""
    good = duplicate(stack)
    bad = stack.enter_context(socket.socket()).detach()
    passed = PassedSockets([("frontend", good), ("frontend", bad)])
    with pytest.raises(UnavailableError, match="is not listening"):
        passed.claim("frontend")
    assert stat.S_ISSOCK(os.fstat(good).st_mode)
    passed.close()
    for descriptor in (good, bad):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


# What nobody claimed


def test_all_claimed_is_right(stack: ExitStack) -> None:
    """Fewer than expected may be passed: the others are bound by ourselves."""
    passed = PassedSockets([("frontend", duplicate(stack))])
    stack.enter_context(passed.claim("frontend")[0])
    passed.check_all_claimed(["frontend", "backend"])


@pytest.mark.parametrize(
    ("names", "expected", "lines"),
    [
        (
            ["frontned"],
            ["frontend", "backend"],
            (
                "a socket was passed as 'frontned' (descriptor 3), which nothing here serves (did you mean frontend?); "
                "expected FileDescriptorName=frontend or backend in the socket unit"
            ),
        ),
        (
            ["zqd-frontend.socket"],
            ["frontend", "backend"],
            (
                "a socket was passed as 'zqd-frontend.socket' (descriptor 3), which nothing here serves (did you mean frontend?); "
                "expected FileDescriptorName=frontend or backend in the socket unit"
            ),
        ),
        (
            ["http", "\nx", "http"],
            ["control"],
            (
                "2 sockets were passed as 'http' (descriptors 3, 5), which nothing here serves; "
                "expected FileDescriptorName=control in the socket unit\n"
                "a socket was passed as '\\nx' (descriptor 4), which nothing here serves; "
                "expected FileDescriptorName=control in the socket unit"
            ),
        ),
        (
            ["unknown"],
            [],
            ("a socket was passed as 'unknown' (descriptor 3), which nothing here serves; expected none"),
        ),
    ],
)
def test_what_nobody_claimed_is_named(names: list[str], expected: list[str], lines: str) -> None:
    """One line a name, with the descriptors, the names that would be served, and the one that was probably meant."""
    passed = PassedSockets((name, descriptor) for descriptor, name in enumerate(names, 3))
    with pytest.raises(UnavailableError) as caught:
        passed.check_all_claimed(expected)
    assert str(caught.value) == lines
