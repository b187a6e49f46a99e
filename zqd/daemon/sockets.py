"""Where zqd listens: at the sockets that systemd passed, by their names, or else at the endpoints of the configuration.

A side whose socket was passed does not bind its endpoints. Layer 4. Called by: `daemon`, `reload`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zqd.config import Config, QueueConfig
from zqd.endpoints import Access, IpcEndpoint, Listener, adopt, bind, parse
from zqd.rundir import CONTROL_SOCKET, beside, run_directory
from zqd.systemd.passed import PassedSockets

SIDES = ("frontend", "backend")
ROLES = ("control", "status", "events")
MODES = {"control": 0o660, "status": 0o666, "events": 0o666}
"""Who may connect: the owner and the group give orders, everybody may look."""

Place = tuple[str, str]
"""A queue's name and one of SIDES."""


class Sockets:
    """Gives listeners to those who asked for them; what nobody took is closed by `close`."""

    def __init__(self, passed: PassedSockets) -> None:
        self._passed = passed
        self.adopted: set[Place] = set()
        """The sides that listen at passed sockets, whatever the configuration says."""

    def of_queue(self, queue: QueueConfig, side: str) -> Iterator[Listener]:
        """Listeners for one side at the start, one by one: each is its taker's; UnavailableError where the next cannot be had."""
        for name in self._names(queue, side):
            for sock in self._passed.claim(name):
                self.adopted.add((queue.name, side))
                yield adopt(sock)
        if (queue.name, side) not in self.adopted:
            for endpoint in wanted(queue, side):
                yield bind(parse(endpoint), access(queue))

    def of_role(self, config: Config, role: str) -> Iterator[Listener]:
        """The same for one of ROLES."""
        passed = self._passed.claim(role)
        if passed:
            yield from map(adopt, passed)
            return
        named: str | None = getattr(config, role)
        if named is None:
            control = Path(
                (config.control or f"ipc://{run_directory() / CONTROL_SOCKET}").removeprefix("ipc://")
            )
            named = f"ipc://{control if role == 'control' else beside(control, role)}"
        group = config.control_group if role == "control" else ""
        yield bind(parse(named), Access(MODES[role], group=group))

    def check(self, config: Config) -> None:
        """Raise UnavailableError if a socket was passed that nobody has asked for."""
        names = [name for queue in config.queues for side in SIDES for name in self._names(queue, side)]
        self._passed.check_all_claimed([*ROLES, *names])

    def close(self) -> None:
        """Close the passed sockets that nobody took."""
        self._passed.close()

    @staticmethod
    def _names(queue: QueueConfig, side: str) -> list[str]:
        """What a passed socket for this side is called: `QUEUE.frontend`, for the queue default also `frontend`."""
        return [f"{queue.name}.{side}", *([side] if queue.name == "default" else [])]


def wanted(queue: QueueConfig, side: str) -> tuple[str, ...]:
    """The endpoints of one side."""
    endpoints: tuple[str, ...] = getattr(queue, side)
    return endpoints


def access(queue: QueueConfig) -> Access:
    """Who may connect to a queue's ipc endpoints."""
    return Access(queue.socket_mode, queue.socket_user, queue.socket_group)


def path_of(listeners: Sequence[Listener]) -> str | None:
    """The path of the first that has one, for people."""
    paths = [listener.endpoint.path for listener in listeners if isinstance(listener.endpoint, IpcEndpoint)]
    return paths[0] if paths else None
