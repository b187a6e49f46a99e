"""Where zqd listens: at the sockets that systemd passed, by their names, or else at the endpoints of the configuration.

A side whose socket was passed does not bind its endpoints, now or at a reload: a passed socket stays that side's for as long
as zqd runs. Layer 4. Called by: `daemon`, `check`, `reload`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zqd.config import Config, QueueConfig
from zqd.endpoints import Access, Endpoint, IpcEndpoint, Listener, adopt, bind, parse
from zqd.errors import ConfigError
from zqd.rundir import CONTROL_SOCKET, beside, run_directory
from zqd.systemd.passed import PassedSockets

SIDES = ("frontend", "backend")
ROLES = ("control", "status", "events")
MODES = {"control": 0o660, "status": 0o666, "events": 0o666}
"""Who may connect: the owner and the group give orders, everybody may look."""

Place = tuple[str, str]
"""A queue's name and one of SIDES."""


class Sockets:
    """Gives listeners to those who asked for them. `adopt` comes first; `close` closes what was passed."""

    def __init__(self, passed: PassedSockets) -> None:
        self._passed = passed
        self.adopted: dict[Place, list[Listener]] = {}
        """The sides that listen at passed sockets, whatever the configuration says."""
        self._roles: dict[str, list[Listener]] = {}

    def adopt(self, config: Config) -> None:
        """Take what was passed; UnavailableError where it cannot be used, or where nobody has asked for it."""
        expected = list(ROLES)
        for role in ROLES:
            self._roles[role] = self._take(role)
        for queue in config.queues:
            for side in SIDES:
                names = _names(queue, side)
                expected += names
                for name in names:
                    if listeners := self._take(name):
                        self.adopted.setdefault((queue.name, side), []).extend(listeners)
        self._passed.check_all_claimed(expected)

    def problems(self, config: Config) -> Iterator[str]:
        """What was passed to be served as `config` says, and must not be so: the rules that it has for its own endpoints."""
        for role, listeners in self._roles.items():
            for listener in listeners:
                if not _has_path(listener.endpoint):  # who may give orders there is said by a file's mode
                    yield (
                        f"the socket passed as {role!r} is {listener.endpoint}; "
                        "expected a unix socket (ListenStream=/path)"
                    )
        for queue in config.queues:
            for side in SIDES:
                path = f"queues.{queue.name}.{side}"
                secured = config.allow_unauthenticated or getattr(queue, f"{side}_curve_secret")
                for listener in self.adopted.get((queue.name, side), ()):
                    if not (secured or listener.endpoint.is_loopback):
                        yield (
                            f"{path}: the socket passed for it is {listener.endpoint}, which can be reached from other "
                            f"machines, and whoever connects would be served; expected {path}_curve_secret, a loopback or "
                            "unix socket, or, if that is meant, allow_unauthenticated = true in the configuration or "
                            "--allow-unauthenticated"
                        )

    def of_queue(self, queue: QueueConfig, side: str) -> Iterator[Listener]:
        """Listeners for one side at the start, one by one: each is its taker's; UnavailableError where the next cannot be had."""
        place = queue.name, side
        if place in self.adopted:
            yield from self.adopted[place]
            return
        for endpoint in wanted(queue, side):
            yield bind(parse(endpoint), access(queue))

    def of_role(self, config: Config, role: str) -> Iterator[Listener]:
        """The same for one of ROLES."""
        if self._roles[role]:
            yield from self._roles[role]
            return
        group = config.control_group if role == "control" else ""
        named: str | None = getattr(config, role)
        try:
            endpoint = parse(named or f"ipc://{self._by_default(config, role)}")
        except ValueError as error:  # the loader cannot know where the run directory or a passed socket lies
            raise ConfigError([f"{role}: {error}; expected {role} = ENDPOINT in the configuration"]) from None
        yield bind(endpoint, Access(MODES[role], group=group))

    def close(self) -> None:
        """Close what was passed, taken or not."""
        for listeners in (*self._roles.values(), *self.adopted.values()):
            for listener in listeners:
                listener.close()
        self._passed.close()

    def _take(self, name: str) -> list[Listener]:
        return [adopt(sock) for sock in self._passed.claim(name)]

    def _by_default(self, config: Config, role: str) -> Path:
        """Where a socket lies that neither was passed nor is named: the control socket's, or beside it."""
        passed = path_of(self._roles["control"])
        if passed is not None:
            control = Path(passed)
        elif config.control is not None:
            control = Path(config.control.removeprefix("ipc://"))
        else:
            control = run_directory() / CONTROL_SOCKET
        return control if role == "control" else beside(control, role)


def _names(queue: QueueConfig, side: str) -> list[str]:
    """What a passed socket for this side is called: `QUEUE.frontend`, for the queue default also `frontend`."""
    return [f"{queue.name}.{side}", *([side] if queue.name == "default" else [])]


def _has_path(endpoint: Endpoint) -> bool:
    """An abstract name has no file, and so no mode (unix(7))."""
    return isinstance(endpoint, IpcEndpoint) and endpoint.path.startswith("/")


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
