from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from tests.control.serving import worker
from tests.ctl.doctor.samples import IPC, TCP, file, row_of, status
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.doctor import endpoints, machine, service, sockets
from zqd.ctl.doctor.endpoints import Greeting
from zqd.ctl.doctor.finding import Finding, Level, fail, ok, skip, warn
from zqd.ctl.doctor.service import Process
from zqd.endpoints import TcpEndpoint
from zqd.zmtp.handshake import HandshakeError


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (ok("clock", "synchronised"), "ok    clock: synchronised"),
        (warn("queue x", "paused", "resume it"), "warn  queue x: paused: resume it"),
        (fail("zqd", "stopped or hung?", "look"), "FAIL  zqd: stopped or hung? look"),
        (skip("user\x1b", "hidden"), r"skip  user\x1b: hidden"),
    ],
)
def test_a_finding_is_one_line(finding: Finding, line: str) -> None:
    """How bad, what, how it is, and what to do; nothing that could upset a terminal."""
    assert finding.line() == line


def test_on_a_terminal_the_level_has_a_colour() -> None:
    """And only the level."""
    assert fail("zqd", "gone", "look").line(color=True) == "\x1b[31mFAIL \x1b[0m zqd: gone: look"
    assert skip("user", "hidden").line(color=True) == "skip  user: hidden"


def test_whatever_is_wrong_has_an_advice() -> None:
    """The types ask for it; here it is not empty either."""
    for finding in every_finding():
        if finding.level in {Level.WARN, Level.FAIL}:
            assert finding.advice


def every_finding() -> Iterator[Finding]:
    """One of each that is wrong."""
    yield machine.backlog(128)
    yield machine.synchronised(machine.TIME_ERROR)
    yield machine.clock(0, 1e9)
    yield service.version("0.0.1")
    yield service.user(Process(uid=0))
    yield service.descriptors(status(descriptors={"limit": 10, "reserve": 0, "used": 9}), Process())
    for shown in ({"NeedDaemonReload": "yes"}, {"NRestarts": "3"}, {"UnitFileState": "disabled"}):
        yield service.unit(Process(uid=1, unit="zqd.service"), shown)
    for row in (row_of(state="paused"), row_of(state="stopping"), row_of(workers=0), row_of()):
        yield from service.queue(row, [worker("w1", state="quarantined")])
    for reason in ExitStatus:
        yield sockets.answer(ControlError(reason, "why"))
    for fault in (0, errno.EACCES, errno.ECONNREFUSED):
        for role in sockets.ROLES:
            yield sockets.permissions(role, file(0o666), fault)
            yield sockets.permissions(role, file(0o660, 0o777), fault)
    for side in endpoints.SIDES:
        yield endpoints.answers(side, TCP, Greeting("NULL", 0.001, "PUB"))
        for trouble in (TimeoutError(), ConnectionRefusedError(), HandshakeError("x"), OSError(5, "y")):
            yield endpoints.silent(side, TCP, trouble)
        yield endpoints.tcp_exposure(side, "q", TCP, "NULL")
        yield endpoints.tcp_exposure(side, "q", TcpEndpoint("::", 1), "NULL")
        yield endpoints.ipc_exposure(side, "q", IPC, "NULL", file(0o666))
        yield endpoints.ipc_exposure(side, "q", IPC, "NULL", file(0o666, 0o777))
    yield endpoints.reply_finding("probe", None, 1.0)
    yield endpoints.reply_finding("probe", [b"ZQD-ERROR 503 no capacity"], 1.0)
