"""`--daemonize`: zqd in the background of a host without systemd, found again by its pid file.

Everything is opened before the process detaches, so that whoever started it learns what cannot be had from its exit status.
The pid file is locked for as long as zqd lives: a file that nobody has locked is a leftover, whatever stands in it.
Layer 4. Called by: `program`, which imports it only then (python-daemon is slow to import).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Self

import daemon

from zqd.errors import UnavailableError


def close_inherited(keep: Collection[int]) -> None:
    """Close what the starter left open, but for the standard descriptors and `keep`, before anything of ours is open.

    A lock that it holds would stay taken for as long as zqd lives, and a pipe's reader would wait for its end as long.
    """
    for descriptor in _open_descriptors():
        if descriptor not in keep:
            with contextlib.suppress(OSError):  # the listing's own is closed already
                os.close(descriptor)


def _open_descriptors() -> list[int]:
    """All but the standard ones."""
    return [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]


class PidFile:
    """The file `path`, locked from entering to leaving (flock(2): the lock outlives a fork), and then removed."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # detaching changes the working directory
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._lock()
            self._check()
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise UnavailableError(f"cannot have the pid file {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._path.unlink()
        os.close(self._fd)

    def detach(self) -> None:
        """Go on in a process without a terminal, in `/`, whose id stands in the file when the one that was started ends.

        python-daemon changes what it was not told to leave: so every descriptor but the standard ones is named, and the umask.
        """
        written, write = os.pipe()
        if os.fork():  # it waits, so that its end says that zqd can be found
            os.close(write)
            os._exit(0 if os.read(written, 1) else 70)
        os.close(written)
        umask = os.umask(0)
        os.umask(umask)
        daemon.DaemonContext(
            files_preserve=_open_descriptors(),
            umask=umask,
            signal_map={},
            detach_process=True,
        ).open()
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        os.write(write, b".")
        os.close(write)

    def _lock(self) -> None:
        while True:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
                os.close(self._fd)
                raise UnavailableError(
                    f"zqd is running already: pid {pid or 'unknown'} has locked {self._path}"
                ) from None
            if self._is_ours():
                return
            os.close(self._fd)  # another zqd that ended has removed it in between

    def _check(self) -> None:
        """Refuse a file that is something else: it would be written over now, and removed at the end."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            fault = "is no regular file"
        elif not re.fullmatch(rb"\s*[0-9]*\s*", os.pread(self._fd, 64, 0)):
            fault = "has something else in it"
        else:
            return
        os.close(self._fd)
        raise UnavailableError(
            f"the pid file {self._path} {fault}; expected one that is empty or has a process id, or none yet"
        )

    def _is_ours(self) -> bool:
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
