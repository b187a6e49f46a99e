from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from tests.ctl.doctor.samples import file
from zqd.ctl.doctor import sockets


@pytest.mark.parametrize(
    ("role", "mode", "directory", "fault", "level"),
    [
        ("control", 0o660, 0o755, 0, "ok"),
        ("control", 0o660, 0o755, errno.EACCES, "ok"),
        ("control", 0o666, 0o700, 0, "ok"),
        ("control", 0o666, 0o755, 0, "FAIL"),
        ("control", 0o660, 0o777, 0, "FAIL"),
        ("control", 0o660, 0o1777, 0, "ok"),
        ("control", 0o660, 0o755, errno.ECONNREFUSED, "FAIL"),
        ("status", 0o666, 0o755, 0, "ok"),
        ("status", 0o660, 0o755, errno.EACCES, "warn"),
        ("events", 0o666, 0o777, 0, "FAIL"),
    ],
)
def test_a_socket_lets_in_whom_it_should(
    role: str, mode: int, directory: int, fault: int, level: str
) -> None:
    """Orders are for few, answers for all; nobody else may put a socket in its place, and somebody listens."""
    finding = sockets.permissions(role, file(mode, directory), fault)
    assert finding.level == level


def test_permissions_are_shown() -> None:
    """Path, mode, owner, group, and what this user may do."""
    assert sockets.permissions("control", file(0o660), errno.EACCES).text == (
        "/run/zqd/x.sock, mode 0660, zqd:operators: this user may not give it orders"
    )


def test_sockets_are_looked_at_where_they_are(tmp_path: Path) -> None:
    """One that listens, one that is dead, one that is not there."""
    living, dead = tmp_path / "control.sock", tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as closed:
        listener.bind(str(living))
        living.chmod(0o660)
        listener.listen()
        closed.bind(str(dead))
        closed.close()
        paths = {"control": str(living), "status": str(dead), "events": str(tmp_path / "none")}
        found = list(sockets.examine(paths))
    assert [finding.level for finding in found] == ["ok", "FAIL", "skip"]
    assert os.strerror(errno.ECONNREFUSED) in found[1].text
