"""Where the daemon's own sockets lie: its choice of a directory, and where `zqctl` looks for them.

Layer 2: knows directories and their owners; opens no socket. Called by `zqd.daemon`, and by `zqd.ctl`, whose
start-up time is a feature: nothing else is imported here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zqd.errors import UnavailableError

CONTROL_SOCKET = "control.sock"
STATUS_SOCKET = "status.sock"
EVENTS_SOCKET = "events.sock"


class Places:
    """The three directories in the order in which they are tried.

    `system` serves whoever may write to it, and is never made: that is for the packaging. `user` is None without a usable
    $XDG_RUNTIME_DIR. `private` lies where everybody may write, so it is believed only if it is ours alone.
    """

    __slots__ = ("private", "system", "user")

    def __init__(self, system: Path, user: Path | None, private: Path) -> None:
        self.system = system
        self.user = user
        self.private = private

    @classmethod
    def of_this_process(cls) -> Places:
        """The places of the manual page, for this process's user and environment."""
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        user = (
            Path(runtime, "zqd") if runtime.startswith("/") else None
        )  # a relative one is void (XDG base dir)
        return cls(Path("/run/zqd"), user, Path(f"/tmp/zqd-{os.geteuid()}"))  # noqa: S108 - _refusal guards it

    def in_order(self) -> list[Path]:
        """The places that exist for this user at all, the first choice first."""
        return [place for place in (self.system, self.user, self.private) if place is not None]


def run_directory(places: Places | None = None) -> Path:
    """Return the directory for the daemon's own sockets, made with mode 0700 where it is the user's.

    Raises `UnavailableError` with one line when even the last place cannot be had, or is not safe to use.
    """
    places = places or Places.of_this_process()
    if _usable(places.system):
        return places.system
    # Any mode will do there: $XDG_RUNTIME_DIR itself lets nobody else in, and RuntimeDirectory= makes 0755.
    if places.user is not None and _make(places.user) is None and _usable(places.user):
        return places.user
    fault = _make(places.private)
    if fault is not None:
        raise UnavailableError(f"cannot make the directory {places.private}: {fault}")
    refusal = _refusal(places.private)
    if refusal is not None:
        raise UnavailableError(f"{places.private} is not safe to use: {refusal}")
    return places.private


def control_endpoints(places: Places | None = None) -> list[str]:
    """Where `zqctl` looks for the control socket, in order."""
    places = places or Places.of_this_process()
    return [f"ipc://{place / CONTROL_SOCKET}" for place in places.in_order()]


def beside(control: Path, role: str) -> Path:
    """Where the socket of `role`, "status" or "events", lies by default: in the directory of the control socket.

    Beside control.sock it is status.sock or events.sock; beside any other X it is X.status or X.events.
    """
    if control.name == CONTROL_SOCKET:
        return control.with_name({"status": STATUS_SOCKET, "events": EVENTS_SOCKET}[role])
    return control.with_name(f"{control.name}.{role}")


def find_control(places: Places | None = None) -> Path | None:
    """Return the first control socket that exists, or None.

    A directory that we may not look into counts as holding one if no other place does: connecting there says *no
    permission*, which is the truth, where *not running* would be a guess.
    """
    places = places or Places.of_this_process()
    hidden = None
    for place in places.in_order():
        path = place / CONTROL_SOCKET
        try:
            path.lstat()
        except PermissionError:
            hidden = hidden or path
        except OSError:
            continue
        else:
            # Another user's /tmp/zqd-<our uid> would be a trap: its "zqd" could tell us anything.
            if place is not places.private or _refusal(place) is None:
                return path
    return hidden


def _usable(place: Path) -> bool:
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _make(place: Path) -> str | None:
    """Make `place` unless something stands there; return what the system says against it."""
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as fault:
        return fault.strerror
    return None


def _refusal(place: Path) -> str | None:
    """Why `place` is not a directory that only this user can write to or replace, or None if it is one."""
    try:
        status = place.lstat()
    except OSError as fault:
        return fault.strerror
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    if status.st_uid != os.geteuid():
        return f"it belongs to uid {status.st_uid}, not to uid {os.geteuid()}"
    mode = stat.S_IMODE(status.st_mode)
    if mode != 0o700:
        return f"its mode is {mode:04o}, not 0700"
    return None
