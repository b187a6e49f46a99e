"""What the service manager is told of us: sd_notify(3) and sd_watchdog_enabled(3).

Knows the protocol, not when to say what. A service must not depend on who watches it: nothing here blocks, raises or needs
another descriptor later, however full, dead or wrong the socket is. Called by: `daemon`, `worker`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

LONGEST_STATUS = 500  # characters; systemd ignores a datagram of more than 4096 bytes, with all that is in it
_LONGEST_USEC = 2**63  # it reads 64 bits, of which all ones mean "for ever"


class Notifier:
    """$NOTIFY_SOCKET of sd_notify(3). Without one every method does nothing. Never blocks, never raises.

    A state (ready, reloading, stopping) or status that the socket does not take goes with the next message of any kind, if
    no newer one has come; the watchdog's pings and extensions are repeated by their nature.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        """`address` is a path or, with `@`, an abstract address (unix(7)); anything else is none. `watchdog`: seconds."""
        self._socket: socket.socket | None = None
        self._address = b""
        self._state: tuple[str, ...] = ()  # assignments that have not been taken yet
        self._status = ""
        self._status_taken = ""
        if address is not None and address.startswith(("/", "@")):
            self._address = os.fsencode(address)
            if address.startswith("@"):
                self._address = b"\0" + self._address[1:]
            # Kept, so that the watchdog is still served when descriptors have run out; not connected, so that a
            # manager that has made its socket anew is found.
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.watchdog = watchdog if self.enabled else None
        """Seconds within which `alive` must be called, again and again (WatchdogSec=); None where that is not asked of us."""

    @classmethod
    def from_environment(cls) -> Notifier:
        """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment: our children are not this service."""
        address, usec, pid = (
            os.environ.pop(name, None) for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        asked = pid is None or pid == str(os.getpid())
        return cls(address, _watchdog(usec) if asked and usec is not None else None)

    @property
    def enabled(self) -> bool:
        """There is a socket to write to; nobody may listen there."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload, is over: READY=1."""
        self._enter(status, "READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows, made one line: STATUS=. Sent only when it has changed."""
        self._status = _one_line(text)
        if self._status != self._status_taken:
            self._send()

    def reloading(self) -> None:
        """A reload begins; `ready` ends it: RELOADING=1 and MONOTONIC_USEC=, which Type=notify-reload needs."""
        self._enter("", "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The stop begins: STOPPING=1."""
        self._enter(status, "STOPPING=1")

    def extend(self, seconds: float, status: str = "") -> None:
        """Start, reload or stop goes on for up to `seconds` from now, whatever Timeout…Sec= says: EXTEND_TIMEOUT_USEC=."""
        if status:
            self._status = _one_line(status)
        self._send(f"EXTEND_TIMEOUT_USEC={int(max(0.0, min(seconds * 1e6, _LONGEST_USEC)))}")

    def alive(self) -> None:
        """The watchdog's ping: WATCHDOG=1. Due at most every half of `watchdog` seconds."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Say nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _enter(self, status: str, *state: str) -> None:
        self._state = state
        if status:
            self._status = _one_line(status)
        self._send()

    def _send(self, *assignments: str) -> None:
        """One datagram of all that is new; what it says counts as taken only if it was."""
        if self._socket is None:
            return
        status = () if self._status == self._status_taken else (f"STATUS={self._status}",)
        message = "\n".join((*self._state, *assignments, *status))
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:  # full, dead, never there: the next message tries again
            return
        self._state = ()
        self._status_taken = self._status


def _watchdog(usec: str) -> float | None:
    """Seconds, or None where it is no number that can be meant: sd_watchdog_enabled(3) refuses 0 and 2⁶⁴ - 1."""
    if not (usec.isascii() and usec.isdigit() and len(usec) <= 20):
        return None
    value = int(usec)
    return value / 1e6 if 0 < value < _LONGEST_USEC else None


def _one_line(text: str) -> str:
    """`text` in one line: each line of a datagram is an assignment, and one with a NUL is ignored."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:LONGEST_STATUS]
