"""The settings of one queue, as the core and its shell use them: plain values with their defaults.

Called by: `zqd.config`, which fills them from TOML, `--set` and flags and documents each key in its
SETTINGS table; the queue and its device, which only read them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """One queue's settings. Durations are in seconds, sizes in bytes; 0 means none (no bound, never)."""

    # Dispatch
    prefetch: int | str = 1  # slots of a REP worker, or "auto" (`core.pace`)
    max_capacity: int = 1024  # most slots that a worker's hello may claim
    max_attempts: int = 3  # dispatches that may be charged to one request; 1 = at most once
    # Time
    request_timeout: float = 0.0
    queue_timeout: float = 0.0
    drain_timeout: float = 10.0
    handshake_timeout: float = 10.0
    slow_client_timeout: float = 60.0
    slow_request: float = 0.0
    frontend_heartbeat_interval: float = 0.0
    backend_heartbeat_interval: float = 10.0
    heartbeat_timeout: float = 30.0
    # Limits
    max_queued: int = 10_000
    max_queued_bytes: int = 256 << 20
    max_message_size: int = 128 << 20
    max_per_client: int = 0
    max_clients: int = 0
    max_workers: int = 0
    max_unsent: int = 64 << 20
    max_handshakes: int = 256  # half-open connections from beyond loopback
    handshake_rate: int = 100  # new connections a second from one address beyond loopback
    # What to do when
    overload: str = "wait"  # or "reject"
    on_failure: str = "error"  # or "drop"
    on_client_left: str = "drop"  # or "run"
