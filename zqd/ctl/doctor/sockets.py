"""What the doctor looks at first: zqd's own sockets, who may use them, and whether zqd answers there.

Called by `zqd.ctl.doctor`.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.doctor.finding import Finding, fail, ok, skip, warn

ROLES = {
    "control": "give it orders",
    "status": "ask how it is",
    "events": "read its events",
}
"""zqd's sockets, and what whoever may connect can do."""


class File(NamedTuple):
    """A socket's file and its directory, as far as they can be seen."""

    path: str
    mode: int
    owner: str
    group: str
    directory_mode: int

    @property
    def for_everybody(self) -> bool:
        """Whether every user of this machine may connect: unix(7) asks for write permission, and for the way there."""
        return bool(self.mode & stat.S_IWOTH and self.directory_mode & stat.S_IXOTH)

    @property
    def replaceable(self) -> bool:
        """Whether every user of this machine may put another socket in its place."""
        return bool(self.directory_mode & stat.S_IWOTH) and not self.directory_mode & stat.S_ISVTX

    def __str__(self) -> str:
        return f"{self.path}, mode {self.mode:04o}, {self.owner}:{self.group}"


def look(path: str) -> File | None:
    """The socket at `path`; None where there is nothing. Raises OSError where that cannot be seen."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    directory = os.stat(os.path.dirname(os.path.abspath(path)))
    return File(
        path,
        stat.S_IMODE(status.st_mode),
        _named(Path(path).owner, status.st_uid),
        _named(Path(path).group, status.st_gid),
        stat.S_IMODE(directory.st_mode),
    )


def examine(paths: dict[str, str]) -> Iterator[Finding]:
    """The sockets at these paths, by their roles."""
    for role, path in paths.items():
        try:
            file = look(path)
        except OSError as fault:
            yield skip(f"{role} socket", f"{path} cannot be seen: {fault.strerror}", "run this as root")
            continue
        if file is None:
            yield missing(role, path)
        else:
            yield permissions(role, file, connect(path))


def missing(role: str, path: str) -> Finding:
    """There is no such socket though zqd answers, so that there must be another."""
    if role == "control":
        return skip("control socket", f"there is none at {path}, so that nobody may give orders there")
    return skip(f"{role} socket", f"there is none at {path}", "this zqd may be too old to have one")


def permissions(role: str, file: File, fault: int) -> Finding:
    """Who may connect; `fault` is the errno with which this user's own connect failed, or 0."""
    about = f"{role} socket"
    if file.replaceable:
        directory = os.path.dirname(file.path)
        return fail(about, f"every user may replace {file.path}", f"chmod o-w {directory}")
    if role == "control" and file.for_everybody:
        return fail(
            about,
            f"{file}: every user of this machine may stop zqd",
            f"chmod 0660 {file.path}, and set control_group",
        )
    if not fault:
        return ok(about, f"{file}: this user may {ROLES[role]}")
    if fault == errno.EACCES:
        text = f"{file}: this user may not {ROLES[role]}"
        return ok(about, text) if role == "control" else warn(about, text, f"chmod 0666 {file.path}")
    return fail(about, f"{file}: {os.strerror(fault)}", "nobody listens there: systemctl restart zqd")


def answer(trouble: ControlError) -> Finding:
    """Why zqd gave no answer, with what to do."""
    advice = {
        ExitStatus.NOT_RUNNING: "systemctl start zqd, and journalctl -u zqd tells why it ended",
        ExitStatus.NO_PERMISSION: "run this as root",
    }.get(trouble.status, "journalctl -u zqd may tell more; systemctl restart zqd")
    return fail("zqd", trouble.sentence, advice)


def connect(path: str) -> int:
    """0 if this user may connect and somebody listens, else the errno of why not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        fault = probe.connect_ex(path)
    return 0 if fault == errno.EAGAIN else fault  # a full backlog: somebody listens


def _named(name: Callable[[], str], number: int) -> str:
    """A user's or a group's name, or the number where there is none."""
    try:
        return name()
    except KeyError:
        return str(number)
