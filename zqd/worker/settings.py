"""The one table of settings of `zqd-worker`: what may stand in its files, in `--set` and in flags.

As `zqd.config.settings` is for the broker. Defaults are those of `WorkerSettings`; there is no second list. Called by: `program`,
`library`, `instance`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from zqd.config.flat import load_flat
from zqd.config.kinds import BOOL, DURATION, ENDPOINTS, INT, KEY_FILE, SIZE, TEXT, WORDS, Kind
from zqd.config.settings import DAEMON_SETTINGS, Setting
from zqd.config.values import parse_each, parse_endpoint, parse_text, shown
from zqd.errors import ConfigError

DEFAULT_PATH = Path("/etc/zqd/worker.toml")
"""The file of all instances, unless another is named; it need not exist."""
INSTANCES = "workers"
"""The folder beside it: INSTANCE.toml there goes over it; it need not exist either."""
DEFAULT_HANDLER = "zqd.handlers:hello"
BACKEND_VARIABLE = "ZQD_BACKEND"
"""The variable with the default of `backend`: the packaged unit has no network, and so another one than a shell."""

_HOST = re.compile(r"tcp://([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)(\.[A-Za-z0-9-]+)*\.?:([0-9]{1,5})")
_ANYWHERE = ("tcp://0.0.0.0:", "tcp://[::]:")
_WEEK = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything that can be set; durations in seconds, sizes in bytes, 0 for none."""

    backend: tuple[str, ...] = ("tcp://127.0.0.1:5560",)
    server_key: tuple[str, ...] = ()
    curve_secret: str = ""
    handler: str = DEFAULT_HANDLER
    command: tuple[str, ...] = ()
    frames: bool = False
    python_path: tuple[str, ...] = ()
    concurrency: int = 1
    handler_timeout: float = 0.0
    max_reply_size: int = 128 << 20
    drain_timeout: float = 10.0
    max_requests: int = 0
    max_requests_jitter: int = 0
    heartbeat_interval: float = 5.0
    heartbeat_timeout: float = 15.0
    heartbeat_ttl: float = 0.0
    log_level: str = "info"
    log_format: str = "auto"
    log_target: str = "stderr"


def _parse_backend(value: object) -> tuple[str, ...]:
    """Endpoints to connect to: as those of zqd, but host names too, and no address or port that means any."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list of endpoints")
    if not value:
        raise ValueError("the list is empty")
    return parse_each(_parse_broker, value)


def _parse_broker(value: object) -> str:
    if isinstance(value, str) and (match := _HOST.fullmatch(value.strip())):
        host, port = match[0].rpartition(":")[0], int(match[4])
        named = not re.fullmatch(r"tcp://[0-9.]+", host) and host != "tcp://localhost"
        if named and 0 < port < 65536:
            return value.strip()
    endpoint = parse_endpoint(value)
    if endpoint.startswith(_ANYWHERE) or (endpoint.startswith("tcp://") and endpoint.endswith(":0")):
        raise ValueError(f"{shown(value)} is no place to connect to")
    return endpoint


def _parse_server_keys(value: object) -> tuple[str, ...]:
    """One key for all brokers, or one for each, where an empty one is for a broker without CURVE."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is no key")
    keys = parse_each(parse_text, value)
    return keys if any(keys) else ()


_BACKEND = Kind(
    ENDPOINTS.name,
    "",
    'a list of endpoints such as ["tcp://127.0.0.1:5560", "ipc:///run/zqd/backend.sock"]',
    _parse_backend,
    lambda text: _parse_backend(text.split(",")),
    ENDPOINTS.to_toml,
)
_SERVER_KEYS = Kind(
    "key, or list of keys",
    "",
    "a key of 40 characters, or the path of a certificate, or a list of them, one for each broker",
    _parse_server_keys,
    lambda text: _parse_server_keys(text.split(",")),  # no key has a comma
    WORDS.to_toml,
)
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(WorkerSettings)}


def _row(key: str, kind: Kind, text: str, **more: Any) -> Setting:
    bounds: dict[str, float] = {"minimum": 0, "maximum": _WEEK} if kind is DURATION else {}
    return Setting(
        key=key, kind=kind, default=_DEFAULTS[key], help=text, scope="worker", **{**bounds, **more}
    )


# In the order of the fields of WorkerSettings.
SETTINGS: tuple[Setting, ...] = (
    _row("backend", _BACKEND, "The brokers to serve; each has a connection of its own."),
    _row(
        "server_key",
        _SERVER_KEYS,
        "The public key of the brokers, who then use CURVE, or the path of its certificate.",
    ),
    _row("curve_secret", KEY_FILE, "Our own key for brokers that use CURVE: a file, or a credential's name."),
    _row("handler", TEXT, "MODULE:NAME of the callable that answers requests.", minimum=1),
    _row(
        "command", WORDS, "A program and its arguments, run once a request in place of a handler.", minimum=1
    ),
    _row("frames", BOOL, "Whether the handler takes and gives lists of frames, whatever it says of itself."),
    _row("python_path", WORDS, "Folders in which handlers are looked for first.", reloadable=False),
    _row(
        "concurrency",
        INT,
        "Requests at once: in threads, or as tasks of an async handler.",
        minimum=1,
        maximum=1024,
    ),
    _row("handler_timeout", DURATION, "How long a request may run; 0: for ever."),
    _row("max_reply_size", SIZE, "The largest reply; 0: no bound.", minimum=0, maximum=1 << 40),
    _row("drain_timeout", DURATION, "How long a stop waits for what runs; 0: for ever."),
    _row(
        "max_requests",
        INT,
        "After so many requests the instance exits, to be started anew; 0: never.",
        minimum=0,
    ),
    _row(
        "max_requests_jitter",
        INT,
        "At random up to so many requests more, so that not all go at once.",
        minimum=0,
    ),
    _row("heartbeat_interval", DURATION, "Time between heartbeats to a broker; 0: none.", reloadable=False),
    _row(
        "heartbeat_timeout",
        DURATION,
        "How long a broker may leave one unanswered; 0: as long as the interval.",
        reloadable=False,
    ),
    _row(
        "heartbeat_ttl",
        DURATION,
        "After which silence the broker is asked to give us up; 0: not asked.",
        reloadable=False,
        maximum=6553.0,  # tenths of a second in 16 bits (RFC 37)
    ),
    replace(DAEMON_SETTINGS["log_level"], scope="worker", help="The least severe events that are logged."),
    *(replace(DAEMON_SETTINGS[key], scope="worker") for key in ("log_format", "log_target")),
)


def load(
    path: Path | None,
    instance: str,
    sets: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> tuple[WorkerSettings, dict[str, str]]:
    """The settings of an instance and where each came from; ConfigError names all that is wrong.

    `path` is the file of all instances: if it is named it has to exist. INSTANCES/`instance`.toml beside it goes over it, where
    it exists; `sets` and `flags` go over both; without any of them $ZQD_BACKEND is the backend. Of `handler` and `command` the one that was set last counts.
    """
    main = path or DEFAULT_PATH
    own = main.parent / INSTANCES / f"{instance}.toml"
    files = [file for file in (main, own) if file is path or _is_there(file)]
    values, sources = load_flat(SETTINGS, files, sets, flags)
    if sources["backend"] == "default" and (text := os.environ.get(BACKEND_VARIABLE)):
        values["backend"], sources["backend"] = _from_environment(text), f"${BACKEND_VARIABLE}"
    order = ["default", *map(str, files), "--set"]
    ranks = {key: order.index(sources[key]) if sources[key] in order else len(order) for key in sources}
    if ranks["handler"] == ranks["command"] and ranks["handler"]:
        raise ConfigError([f"{sources['handler']}: handler and command are both set; expected one of them"])
    if ranks["handler"] > ranks["command"]:
        values["command"], sources["command"] = (), "default"
    elif ranks["command"]:
        values["handler"], sources["handler"] = DEFAULT_HANDLER, "default"
    chosen: dict[str, Any] = dict(values)
    return WorkerSettings(**chosen), sources


def _is_there(file: Path) -> bool:
    """Also where it is a link that leads nowhere, or cannot be looked at: reading it tells why."""
    try:
        os.lstat(file)
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return True


def _from_environment(text: str) -> tuple[str, ...]:
    row = next(row for row in SETTINGS if row.key == "backend")
    try:
        value: Any = row.parse_text(text)
    except ValueError as error:
        raise ConfigError([f"${BACKEND_VARIABLE}: {error}"]) from None
    return tuple(value)


def describe(settings: WorkerSettings, sources: Mapping[str, str]) -> str:
    """Every effective value with its source, as TOML that loads to the same settings (`--print-config`)."""
    lines = []
    for row in SETTINGS:
        value = getattr(settings, row.key)
        unused = value == () or (row.key == "handler" and settings.command)
        text = f"# {row.key} is not set" if unused else f"{row.key} = {row.to_toml(value)}"
        source = "".join(char if char.isprintable() else "?" for char in sources[row.key])
        lines.append(f"{text:<50}  # {source}".rstrip() + "\n")
    return "".join(lines)


def taken_over(old: WorkerSettings, new: WorkerSettings) -> tuple[WorkerSettings, list[str], list[str]]:
    """What a reload from `old` to `new` comes to, the keys that changed by it, and those that need a restart to change."""
    different = [row for row in SETTINGS if getattr(old, row.key) != getattr(new, row.key)]
    pending = [row.key for row in different if not row.reloadable]
    settings = replace(new, **{key: getattr(old, key) for key in pending})
    return settings, [row.key for row in different if row.reloadable], pending
