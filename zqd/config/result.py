"""What a loaded configuration is: frozen values that name where each came from.

`zqd.config.loader` makes them; the daemon and its shells only read them. Knows no file and no command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zqd.config.kinds import ENDPOINTS
from zqd.config.settings import DAEMON_SETTINGS, QUEUE_SETTINGS, SOCKET_KEYS, Setting
from zqd.config.values import Value
from zqd.core.settings import QueueSettings


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """One queue: its name, its endpoints (canonical text; none on a side whose sockets are passed), its settings.

    `socket_mode` (None: what the umask leaves), `socket_user` and `socket_group` (a name or a number in text, ""
    for the process's own) are for its ipc:// endpoints; whether these exist is for `zqd.daemon.check` to find out. So it is
    with the files of the keys of each side, which are named here and read by `zqd.daemon.gates`.
    """

    name: str
    frontend: tuple[str, ...]
    backend: tuple[str, ...]
    settings: QueueSettings
    socket_mode: int | None = None
    socket_user: str = ""
    socket_group: str = ""
    frontend_curve_secret: str = ""
    frontend_authorized_keys: str = ""
    frontend_anonymous: bool = False
    frontend_allow: tuple[str, ...] = ()
    frontend_deny: tuple[str, ...] = ()
    backend_curve_secret: str = ""
    backend_authorized_keys: str = ""
    backend_anonymous: bool = False
    backend_allow: tuple[str, ...] = ()
    backend_deny: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any]) -> QueueConfig:
        """The queue with a value for every key of [queues.NAME]."""
        sockets = {key: values[key] for key in SOCKET_KEYS}
        settings = {key: value for key, value in values.items() if key not in sockets}
        return cls(name=name, settings=QueueSettings(**settings), **sockets)

    def value(self, key: str) -> Value:
        """The value of one key of [queues.NAME]."""
        value: Value = getattr(self if key in SOCKET_KEYS else self.settings, key)
        return value


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    `control` None means the run directory's control.sock; `status` and `events` None mean `zqd.rundir.beside` it.
    `sources` maps each dotted key to where its value came from: "default", a file's path, "--set", or the
    flag ("--frontend"); `files` are those that were read, in order. Two configurations with the same values are
    equal, wherever they came from.
    """

    queues: tuple[QueueConfig, ...]
    control: str | None
    status: str | None
    events: str | None
    control_group: str
    log_level: str
    log_format: str
    log_target: str
    allow_unauthenticated: bool
    busy_poll: bool
    sources: Mapping[str, str] = field(compare=False, repr=False)
    files: tuple[str, ...] = field(compare=False, default=())

    def value(self, key: str) -> Value:
        """The value of one key of the daemon."""
        value: Value = getattr(self, key)
        return value


def describe(config: Config) -> str:
    """Every effective value with its source, as TOML that loads to an equal Config (`--print-config`)."""
    sources = config.sources
    lines = [_line(row, config.value(row.key), sources[row.key]) for row in DAEMON_SETTINGS.values()]
    for queue in config.queues:
        lines += [("", ""), (f"[queues.{queue.name}]", "")]
        lines += [
            _line(row, queue.value(row.key), sources[row.path(queue.name)]) for row in QUEUE_SETTINGS.values()
        ]
    # A long list of endpoints shall not push the other comments out of sight.
    width = min(60, max(len(text) for text, source in lines if source))
    return "".join(
        f"{text:<{width}}  # {source}".rstrip() + "\n" if source else text + "\n" for text, source in lines
    )


def _line(row: Setting, value: Value, source: str) -> tuple[str, str]:
    # A path can hold what a TOML comment cannot.
    comment = "".join(c if c.isprintable() else "?" for c in source)
    if value is None or (row.kind is ENDPOINTS and not value):  # no TOML says that
        return f"# {row.key} is {row.to_toml(None)}", comment
    return f"{row.key} = {row.to_toml(value)}", comment
