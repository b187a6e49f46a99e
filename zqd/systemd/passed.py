"""Listening sockets that the service manager made for us: sd_listen_fds_with_names(3), systemd.socket(5).

Knows descriptors and their names, not what a name means: whoever serves `frontend` claims it, and at the end
`check_all_claimed` finds the socket units that nobody serves. Called by: `daemon`.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import stat
from collections.abc import Iterable, Sequence

from zqd.config.settings import did_you_mean
from zqd.errors import UnavailableError

FIRST = 3
"""The first passed descriptor (SD_LISTEN_FDS_START)."""
UNNAMED = "unknown"
"""The name of a descriptor that has none (sd_listen_fds_with_names(3))."""

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class PassedSockets:
    """Sockets of socket units (sd_listen_fds(3)), by their FileDescriptorName.

    A unit with several ListenStream= passes several of one name. The descriptors that nobody has claimed are ours until
    `close`; a claimed one belongs to its claimant.
    """

    def __init__(self, passed: Iterable[tuple[str, int]]) -> None:
        """`passed`: name and descriptor of each, in the order in which they came."""
        self._unclaimed = list(passed)
        self.names = tuple(name for name, _ in self._unclaimed)
        """The name of each that was passed, claimed or not."""
        self.descriptors = tuple(descriptor for _, descriptor in self._unclaimed)
        """Likewise."""

    @classmethod
    def from_environment(cls) -> PassedSockets:
        """Take LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment, and the descriptors from our children.

        To be called before the program opens any file of its own: that could get the number of one that was promised and
        not passed. Variables that are meant for another process (LISTEN_PID) give none; UnavailableError says in one line
        what in ours makes no sense.
        """
        pid, count, names = (
            os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
        )
        if not pid or not count or _number("LISTEN_PID", pid, "a process id") != os.getpid():
            return cls(())
        end = FIRST + _number("LISTEN_FDS", count, "how many sockets are passed")
        for descriptor in range(FIRST, end):
            try:
                os.set_inheritable(descriptor, False)
            except OSError as fault:
                raise UnavailableError(
                    f"LISTEN_FDS={count} but descriptor {descriptor} cannot be used: {fault.strerror}; "
                    f"expected the passed sockets to be descriptors {FIRST} to {end - 1}"
                ) from fault
        given = names.split(":") if names else []
        if len(given) > end - FIRST:
            raise UnavailableError(
                f"LISTEN_FDNAMES={names!r} has {len(given)} names; expected at most one for each of "
                f"the passed sockets (LISTEN_FDS={count})"
            )
        given += [UNNAMED] * (end - FIRST - len(given))
        return cls((name or UNNAMED, FIRST + index) for index, name in enumerate(given))

    def claim(self, name: str) -> list[socket.socket]:
        """The sockets of that name, non-blocking, in the order in which they came; none where no unclaimed one has it.

        Raises UnavailableError, and gives out none of them, unless each listens for streams (IPv4, IPv6 or unix).
        """
        descriptors = self._of(name)
        for descriptor in descriptors:
            fault = _fault(descriptor)
            if fault is not None:
                raise UnavailableError(
                    f"the socket passed as {name!r} (descriptor {descriptor}) {fault}; "
                    f"expected a listening stream socket (ListenStream= in the socket unit)"
                )
        self._unclaimed = [entry for entry in self._unclaimed if entry[0] != name]
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for sock in sockets:
            sock.setblocking(False)
        return sockets

    def check_all_claimed(self, expected: Sequence[str]) -> None:
        """Raise UnavailableError with a line for each name that nobody has claimed; `expected` are those that would be.

        Refused, not ignored: clients of such a socket would connect and wait for ever.
        """
        names = dict.fromkeys(name for name, _ in self._unclaimed)
        if names:
            raise UnavailableError("\n".join(self._unexpected(name, expected) for name in names))

    def close(self) -> None:
        """Close those that nobody has claimed."""
        for _, descriptor in self._unclaimed:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._unclaimed = []

    def _of(self, name: str) -> list[int]:
        return [descriptor for passed, descriptor in self._unclaimed if passed == name]

    def _unexpected(self, name: str, expected: Sequence[str]) -> str:
        descriptors = self._of(name)
        numbers = ", ".join(map(str, descriptors))
        if len(descriptors) == 1:
            what = f"a socket was passed as {name!r} (descriptor {numbers})"
        else:
            what = f"{len(descriptors)} sockets were passed as {name!r} (descriptors {numbers})"
        # Without a FileDescriptorName= the name is the unit's own.
        hint = did_you_mean(name.removesuffix(".socket"), expected)
        right = f"FileDescriptorName={' or '.join(expected)} in the socket unit" if expected else "none"
        return f"{what}, which nothing here serves{hint}; expected {right}"


def _fault(descriptor: int) -> str | None:
    """Why nobody can connect to it as our peers do, or None (socket(7))."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return "is not a socket"
    except OSError as fault:
        return f"cannot be used: {fault.strerror}"
    # Only a socket object has getsockopt, and only one of a given family is made without asking what the socket may not know.
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
    family, kind, listening = (
        probe.getsockopt(socket.SOL_SOCKET, option)
        for option in (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_ACCEPTCONN)
    )
    probe.detach()
    if family not in FAMILIES:
        return f"has the address family {_word(socket.AddressFamily, family)}"
    if kind != socket.SOCK_STREAM:
        return f"has the type {_word(socket.SocketKind, kind)}"
    return None if listening else "is not listening"


def _word(kind: type[enum.IntEnum], value: int) -> str:
    """Its name, if Python knows it."""
    return kind(value).name if value in kind.__members__.values() else str(value)


def _number(variable: str, text: str, meaning: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise UnavailableError(f"{variable}={text!r} makes no sense; expected {meaning}, a number")
