"""The one table of settings: each key's kind, default, bounds, help, and whether a reload takes it.

A setting is one row here. TOML, `--set`, flags, `--print-config`, the manual page and the example
configuration follow from it or are tested against it. The defaults of per-queue rows are those of
`QueueSettings`: there is no second list. Knows no file and no command line; read by everything in
`zqd.config` and by whatever documents a key.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

from zqd.config.kinds import (
    ACCOUNT,
    BOOL,
    CHOICE,
    DURATION,
    ENDPOINT,
    ENDPOINTS,
    INT,
    KEY_FILE,
    KEYS,
    LOG_TARGET,
    MODE,
    NETWORKS,
    SIZE,
    SLOTS,
    Kind,
)
from zqd.config.values import Value, format_duration, format_mode, format_size, shown
from zqd.core.settings import QueueSettings

Scope = Literal["daemon", "queue", "worker"]
"""Whose setting it is: the broker's, at the top of its file; a queue's, in [queues.NAME]; a worker's, in its own file."""

_WEEK = 7 * 86400.0
_COUNT = 1_000_000_000
_TIB = 1 << 40
_BOUNDS: dict[Kind, tuple[float, float]] = {DURATION: (0, _WEEK), SIZE: (0, _TIB), INT: (0, _COUNT)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key. Bounds are inclusive, in the kind's unit; a string or list has the minimum 1 if it may not be empty."""

    key: str
    kind: Kind
    default: Value
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    help: str
    reloadable: bool = True
    scope: Scope

    def path(self, queue: str) -> str:
        """The dotted TOML path; `queue` is used only by settings of scope "queue"."""
        return f"queues.{queue}.{self.key}" if self.scope == "queue" else self.key

    def parse(self, value: object) -> Value:
        """The checked value of what TOML holds. Raises ValueError: what is wrong, what is expected."""
        try:
            return self._checked(self.kind.parse(value))
        except ValueError as error:
            raise ValueError(f"{error}; expected {self.expected()}") from None

    def parse_text(self, text: str) -> Value:
        """The checked value of the bare text of `--set` or a flag. Raises ValueError like `parse`."""
        try:
            return self._checked(self.kind.parse_text(text))
        except ValueError as error:
            raise ValueError(f"{error}; expected {self.expected()}") from None

    def to_toml(self, value: Value) -> str:
        """`value` as it stands behind the key in TOML; loading it gives the same value. TOML has no word for None."""
        return "not set" if value is None else self.kind.to_toml(value)

    def expected(self) -> str:
        """What the value must be, bounds or choices included."""
        if self.choices:
            return f"{self.kind.expects} {', '.join(self.choices)}"
        if self.minimum is None or self.maximum is None:
            return self.kind.expects + (", not empty" if self.minimum else "")
        return f"{self.kind.expects}, from {self._show(self.minimum)} to {self._show(self.maximum)}"

    def _checked(self, value: Value) -> Value:
        if self.choices and value not in self.choices:
            raise ValueError(f"{shown(value)} is not a choice{did_you_mean(str(value), self.choices)}")
        if isinstance(value, int | float):
            if self.minimum is not None and value < self.minimum:
                raise ValueError(f"{self._show(value)} is too small")
            if self.maximum is not None and value > self.maximum:
                raise ValueError(f"{self._show(value)} is too large")
        elif self.minimum and not value:
            raise ValueError("it is empty")
        return value

    def _show(self, number: float) -> str:
        if self.kind is DURATION and abs(number) < _COUNT:
            return format_duration(number)
        if self.kind is SIZE and 0 <= number <= _TIB:
            return format_size(int(number))
        if self.kind is MODE and 0 <= number < _COUNT:
            return format_mode(int(number))
        return shown(number)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    # The cut keeps a key of a megabyte from costing minutes.
    return next(iter(difflib.get_close_matches(word[:100], known, n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question at the end of a message, or nothing."""
    match = closest(word, known)
    return f" (did you mean {match}?)" if match else ""


_FIELD_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(QueueSettings)}


def _queue(
    key: str,
    kind: Kind,
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Setting:
    """The row of one field of QueueSettings, with its default, and its kind's bounds unless others are given."""
    least, most = _BOUNDS.get(kind, (None, None))
    return Setting(
        key=key,
        kind=kind,
        default=_FIELD_DEFAULTS[key],
        minimum=least if minimum is None else minimum,
        maximum=most if maximum is None else maximum,
        choices=choices,
        help=text,
        scope="queue",
    )


def _entry(side: str, peers: str) -> tuple[Setting, ...]:
    """The rows about who may connect at one side of a queue."""
    rows: tuple[tuple[str, Kind, Value, str], ...] = (
        (
            "curve_secret",
            KEY_FILE,
            "",
            f"The key by which zqd proves itself to {peers}, who then need keys too: a file, or a credential's name.",
        ),
        (
            "authorized_keys",
            KEYS,
            "",
            f"The public keys of {peers} that may connect: a directory of certificates, or a file with one in a line.",
        ),
        ("anonymous", BOOL, False, f"Whether {peers} with any other key may connect too."),
        ("allow", NETWORKS, (), f"The addresses from which {peers} may connect; none: from everywhere."),
        ("deny", NETWORKS, (), f"The addresses from which {peers} may not connect."),
    )
    return tuple(
        Setting(key=f"{side}_{key}", kind=kind, default=default, help=text, scope="queue")
        for key, kind, default, text in rows
    )


# After those of its sockets, rows of a queue stand in the order of the fields of QueueSettings.
SETTINGS: tuple[Setting, ...] = (
    Setting(
        key="control",
        kind=ENDPOINT,
        default=None,
        help="Where zqctl gives orders; by default control.sock in the run directory.",
        reloadable=False,
        scope="daemon",
    ),
    Setting(
        key="status",
        kind=ENDPOINT,
        default=None,
        help="Where everybody may ask and nobody may order; by default status.sock beside the control socket.",
        reloadable=False,
        scope="daemon",
    ),
    Setting(
        key="events",
        kind=ENDPOINT,
        default=None,
        help="Where events are published; by default events.sock beside the control socket.",
        reloadable=False,
        scope="daemon",
    ),
    Setting(
        key="control_group",
        kind=ACCOUNT,
        default="",
        help="The group whose members may give orders, by name or number; empty: that of the process.",
        reloadable=False,
        scope="daemon",
    ),
    Setting(
        key="log_level",
        kind=CHOICE,
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="The least severe events that are logged; one request at a time only at debug.",
        scope="daemon",
    ),
    Setting(
        key="log_format",
        kind=CHOICE,
        default="auto",
        choices=("auto", "journal", "json", "console"),
        help="How events are logged; auto: the journal under systemd, console on a terminal, else JSON lines.",
        reloadable=False,
        scope="daemon",
    ),
    Setting(
        key="log_target",
        kind=LOG_TARGET,
        default="stderr",
        help="Where events are logged: stderr, syslog, or a file by its absolute path.",
        reloadable=False,
        scope="daemon",
    ),
    Setting(
        key="allow_unauthenticated",
        kind=BOOL,
        default=False,
        help="Whether an endpoint that other machines can reach may listen without authentication.",
        scope="daemon",
    ),
    Setting(
        key="busy_poll",
        kind=BOOL,
        default=True,
        help="Whether to look again for up to 0.05 ms before sleeping, while messages come that quickly.",
        scope="daemon",
    ),
    Setting(
        key="frontend",
        kind=ENDPOINTS,
        default=("tcp://127.0.0.1:5559",),
        help="Where clients connect.",
        scope="queue",
    ),
    Setting(
        key="backend",
        kind=ENDPOINTS,
        default=("tcp://127.0.0.1:5560",),
        help="Where workers connect.",
        scope="queue",
    ),
    Setting(
        key="socket_mode",
        kind=MODE,
        default=None,
        minimum=0,
        maximum=0o777,
        help="The mode of the queue's ipc:// sockets; by default what the umask leaves.",
        scope="queue",
    ),
    Setting(
        key="socket_user",
        kind=ACCOUNT,
        default="",
        help="The owner of the queue's ipc:// sockets, by name or number; empty: that of the process.",
        scope="queue",
    ),
    Setting(
        key="socket_group",
        kind=ACCOUNT,
        default="",
        help="The group of the queue's ipc:// sockets, by name or number; empty: that of the process.",
        scope="queue",
    ),
    *_entry("frontend", "clients"),
    *_entry("backend", "workers"),
    _queue(
        "prefetch",
        SLOTS,
        "Requests that a REP worker may hold at once: the one it runs and those behind it.",
        minimum=1,
        maximum=1024,
    ),
    _queue(
        "max_capacity",
        INT,
        "Most requests at once that a worker may declare; 0: no bound.",
        maximum=1_000_000,
    ),
    _queue(
        "max_attempts",
        INT,
        "Dispatches of one request, retries included, before it fails; 1: at most once.",
        minimum=1,
        maximum=1000,  # the attempt travels in 2 bytes (zqd(7), rule 24)
    ),
    _queue("request_timeout", DURATION, "How long a worker may run a request; 0: for ever."),
    _queue("queue_timeout", DURATION, "How long a request may wait for a worker; 0: for ever."),
    _queue("drain_timeout", DURATION, "How long a stop waits for requests to be answered; 0: for ever."),
    _queue("handshake_timeout", DURATION, "How long a connection may take to say what it is; 0: for ever."),
    _queue(
        "slow_client_timeout",
        DURATION,
        "How long a client over max_unsent may read nothing before it is closed; 0: for ever.",
    ),
    _queue("slow_request", DURATION, "From this time on a request is reported as slow; 0: never."),
    _queue("frontend_heartbeat_interval", DURATION, "Time between heartbeats to clients; 0: none."),
    _queue("backend_heartbeat_interval", DURATION, "Time between heartbeats to workers; 0: none."),
    _queue("heartbeat_timeout", DURATION, "How long a peer may leave a heartbeat unanswered; 0: for ever."),
    _queue("max_queued", INT, "Waiting requests at which the queue is full; 0: no bound."),
    _queue("max_queued_bytes", SIZE, "Bytes of waiting requests at which the queue is full; 0: no bound."),
    _queue("max_message_size", SIZE, "The largest request or reply that is passed on.", minimum=1024),
    _queue("max_per_client", INT, "Waiting requests that one client may have; 0: no bound."),
    _queue("max_clients", INT, "Client connections at once; 0: as many as files can be open."),
    _queue("max_workers", INT, "Worker connections at once; 0: as many as files can be open."),
    _queue("max_unsent", SIZE, "Unread bytes of replies at which a client is not served; 0: no bound."),
    _queue(
        "max_handshakes",
        INT,
        "Connections from other machines that may be in their handshake at once; 0: no bound.",
    ),
    _queue(
        "handshake_rate",
        INT,
        "New connections a second that one address of another machine may make; 0: no bound.",
    ),
    _queue(
        "overload",
        CHOICE,
        "When the queue is full: stop reading clients, or fail their requests (503).",
        choices=("wait", "reject"),
    ),
    _queue(
        "on_failure",
        CHOICE,
        "Whether a request that fails is answered by ZQD-ERROR or by nothing.",
        choices=("error", "drop"),
    ),
    _queue(
        "on_client_left",
        CHOICE,
        "Whether the waiting requests of a client that left are dropped or still run.",
        choices=("drop", "run"),
    ),
)

DAEMON_SETTINGS: dict[str, Setting] = {row.key: row for row in SETTINGS if row.scope == "daemon"}
QUEUE_SETTINGS: dict[str, Setting] = {row.key: row for row in SETTINGS if row.scope == "queue"}
SOCKET_KEYS: tuple[str, ...] = tuple(key for key in QUEUE_SETTINGS if key not in _FIELD_DEFAULTS)
"""The keys of a queue that are about its listening sockets, which the core knows nothing of."""
