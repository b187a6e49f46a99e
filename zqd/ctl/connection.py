"""One question to zqd and its answer, or the true reason why there is none.

An asynchronous connect cannot tell "nobody listens" from "busy", so a plain AF_UNIX connect comes first: it knows the
difference between *not running* and *no permission*, and who listens. Whoever may not use the control socket is answered by the
status socket beside it, if the command only reads. Knows nothing of the command line and prints nothing.
Called by `zqd.ctl.local`.
"""

from __future__ import annotations

import enum
import errno
import json
import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from zqd.control.answers import Code
from zqd.control.commands import COMMANDS, PROTOCOL
from zqd.rundir import CONTROL_SOCKET, Places, beside, control_endpoints, find_control

if TYPE_CHECKING:
    import zmq


class ExitStatus(enum.IntEnum):
    """Exit statuses of `zqctl`; unlike zqd's, they are few enough to be told apart in a script without a table."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_RUNNING = 3
    NO_PERMISSION = 4
    INTERRUPTED = 130


_STATUSES = {Code.NOT_PERMITTED: ExitStatus.NO_PERMISSION, Code.BAD_ARGUMENT: ExitStatus.USAGE}
"""Of zqd's refusals; those of another kind are errors."""


class ControlError(Exception):
    """There is no result: one sentence that says why, and the exit status."""

    def __init__(self, status: ExitStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def consult(endpoint: str | None, command: str, args: Mapping[str, object], timeout: float) -> object:
    """As `ask`, at the socket that this user may use for it: the control socket of `endpoint`, else the status socket.

    Without permission for the control socket a command that only reads is asked at the status socket; where there is no control
    socket at all but a status socket (a container that was given no other), every command is: zqd itself says no to an order.
    """
    path = locate(endpoint)
    try:
        return ask(path, command, args, timeout)
    except ControlError as refusal:
        match refusal.status:
            case ExitStatus.NO_PERMISSION if command in COMMANDS and COMMANDS[command].reads:
                pass
            case ExitStatus.NOT_RUNNING if not os.path.lexists(path):
                pass
            case _:
                raise
        try:
            return ask(str(beside(Path(path), "status")), command, args, timeout)
        except ControlError as error:
            raise (refusal if error.status in {ExitStatus.NOT_RUNNING, refusal.status} else error) from None


def locate(endpoint: str | None, places: Places | None = None) -> str:
    """Return the path of the control socket: of `endpoint`, or without one the first that exists. Raises `ControlError`."""
    if endpoint is None:
        places = places or Places.of_this_process()
        found = find_control(places) or _only_status(places)
        if found is None:
            looked = ", ".join(control_endpoints(places))
            raise ControlError(
                ExitStatus.NOT_RUNNING, f"zqd is not running: no socket {CONTROL_SOCKET}; looked in: {looked}"
            )
        return str(found)
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not path or path[0] in "@*":
        raise ControlError(ExitStatus.USAGE, f"{endpoint} is no control endpoint: ipc://PATH is wanted")
    if len(os.fsencode(path)) > 107:
        raise ControlError(ExitStatus.USAGE, f"{endpoint} is too long: a socket's path has at most 107 bytes")
    return path


def _only_status(places: Places) -> Path | None:
    """Where the control socket would be if its place holds a status socket alone; a private place holds both or none."""
    for place in places.in_order():
        path = place / CONTROL_SOCKET
        if place is not places.private and os.path.lexists(beside(path, "status")):
            return path
    return None


def ask(path: str, command: str, args: Mapping[str, object], timeout: float) -> object:
    """Return the result of `command`, waiting at most `timeout` seconds (0: as long as it takes). Raises `ControlError`."""
    pid = probe(path, timeout)
    import zmq  # half of the start-up time, of use only now

    context = zmq.Context[zmq.Socket[bytes]](1)
    try:
        with context.socket(zmq.DEALER) as control:
            control.setsockopt(zmq.LINGER, 0)
            ended = control.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            control.connect(f"ipc://{path}")
            request = {"zqctl": PROTOCOL, "command": command, "args": dict(args)}
            control.send_multipart([b"", json.dumps(request).encode()])
            return _result(_await_reply(control, ended, timeout, pid))
    finally:
        context.destroy(linger=0)


def _await_reply(
    control: zmq.Socket[bytes], ended: zmq.Socket[bytes], timeout: float, pid: int | None
) -> list[bytes]:
    """The reply's frames; `ended` says when the connection has broken, for libzmq would wait for the next zqd for ever."""
    import zmq

    poller = zmq.Poller()
    poller.register(control, zmq.POLLIN)
    poller.register(ended, zmq.POLLIN)
    if not poller.poll(max(1, round(timeout * 1000)) if timeout else None):
        raise _no_answer(timeout, pid)
    if not control.poll(0):
        raise ControlError(ExitStatus.ERROR, f"{_zqd(pid)} ended before it answered")
    return control.recv_multipart()


def _result(frames: list[bytes]) -> object:
    """What a reply holds; raises `ControlError` with zqd's own sentence if that is an error."""
    status = ExitStatus.ERROR
    try:
        reply = json.loads(frames[-1])
        protocol, ok = reply["zqd"], reply["ok"]
        if protocol == PROTOCOL and ok:
            return reply["result"]
        if not ok:
            status = _STATUSES.get(reply.get("code"), status)
        sentence = (
            reply["error"] if not ok else f"zqd speaks control protocol {protocol}, this zqctl {PROTOCOL}"
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        sentence = "what listens at the control socket gave an answer that is not zqd's"
    raise ControlError(status, str(sentence))


def _no_answer(timeout: float, pid: int | None) -> ControlError:
    return ControlError(
        ExitStatus.ERROR, f"{_zqd(pid)} did not answer within {timeout:g} s: stopped or hung?"
    )


def _zqd(pid: int | None) -> str:
    return f"zqd (pid {pid})" if pid else "zqd"


# The plain connect ----------------------------------------------------------------------------------------------------


def probe(path: str, timeout: float) -> int | None:
    """Connect and hang up, within `timeout` seconds (0: none); return the pid of who listens, if that can be known.

    Raises `ControlError` if nobody does, or nobody may.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # With a full backlog a connect blocks, and would for ever. settimeout() would not do: it makes the socket
        # non-blocking, and then AF_UNIX fails at once instead of waiting for room.
        seconds, fraction = divmod(timeout, 1)
        wait = struct.pack("ll", int(seconds), max(int(fraction * 1e6), 1 if timeout else 0))
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        try:
            probe.connect(path)
        except OSError as fault:
            _explain(path, fault, timeout)
        pid, _, _ = struct.unpack("iii", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    # 1 is systemd, which listens for a socket unit; 0 is a process of another pid namespace.
    return pid if pid > 1 else None


def _explain(path: str, fault: OSError, timeout: float) -> NoReturn:
    endpoint = f"ipc://{path}"
    match fault.errno:
        case errno.ENOENT | errno.ENOTDIR:
            raise ControlError(
                ExitStatus.NOT_RUNNING, f"zqd is not running: no socket at {endpoint}"
            ) from None
        case errno.ECONNREFUSED if _is_socket(path):
            raise ControlError(
                ExitStatus.NOT_RUNNING, f"zqd is not running: nothing listens at {endpoint}"
            ) from None
        case errno.ECONNREFUSED:
            raise ControlError(ExitStatus.ERROR, f"{path} is not a socket") from None
        case errno.EACCES | errno.EPERM:
            raise ControlError(
                ExitStatus.NO_PERMISSION, f"no permission for {endpoint}: {_remedy(path)}"
            ) from None
        case errno.EAGAIN:
            raise _no_answer(timeout, None) from None
        case _:
            raise ControlError(ExitStatus.ERROR, f"cannot connect to {endpoint}: {fault.strerror}") from None


def _is_socket(path: str) -> bool:
    status = _stat(path)
    return status is None or stat.S_ISSOCK(status.st_mode)  # None: gone in between, with a zqd that ended


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _remedy(path: str) -> str:
    """What would give permission: the group, if it has any, of the socket or of the directory that bars the way."""
    status = _stat(path)
    while status is None:
        path = os.path.dirname(os.path.abspath(path))
        status = _stat(path)
    needed = stat.S_IXGRP if stat.S_ISDIR(status.st_mode) else stat.S_IWGRP
    if status.st_mode & needed:
        return f"ask for membership of the group that owns it ({_group(status.st_gid)})"
    return f"only its owner ({_user(status.st_uid)}) may use it"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
