"""The service manager's end of sd_notify(3), and a zqd that it has started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import Zqd, wait_for

Message = dict[str, str]
"""The assignments of one datagram."""


class NotifySocket:
    """A socket at `path` that a thread reads, as systemd does: the kernel keeps only ten datagrams."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[Message] = []
        """Each datagram so far."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink()

    def _read(self) -> None:
        while data := self._socket.recv(65536):
            lines = data.decode().split("\n")
            self.messages.append(dict(line.split("=", 1) for line in lines))

    def having(self, *keys: str) -> list[Message]:
        """Those datagrams that have all these keys."""
        return [message for message in list(self.messages) if message.keys() >= set(keys)]

    def next(self, what: str, is_it: Callable[[Message], bool], after: int = 0) -> int:
        """The place of the first message from `after` on that is it, once it is there."""

        def found() -> int | None:
            places = [at for at, message in enumerate(list(self.messages)) if at >= after and is_it(message)]
            return places[0] + 1 if places else None

        return wait_for(found, what) - 1


class NotifiedZqd(Zqd):
    """A zqd with NOTIFY_SOCKET, and WATCHDOG_USEC if `watchdog` (seconds) is given."""

    def __init__(
        self,
        folder: Path,
        notify: NotifySocket,
        *options: str,
        watchdog: float | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.notify = notify
        variables = [f"NOTIFY_SOCKET={notify.path}"]
        if watchdog is not None:
            variables.append(f"WATCHDOG_USEC={int(watchdog * 1e6)}")
        super().__init__(folder, *options, wrapper=("env", *variables, *wrapper))
