"""What is measured: one row for each situation, with the reason why it is there."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """`clients` keep `in_flight` requests of `body` bytes each in flight; `workers` echo; `idle` clients stay silent.

    The first worker takes `slow_ms` for each request if that is not 0. `prefetch` is zqd's setting; the others have none.
    `key`: one of those that tell the most (`--quick`).
    """

    name: str
    clients: int
    in_flight: int
    workers: int
    body: int = 64
    idle: int = 0
    slow_ms: int = 0
    prefetch: int | str = 1
    key: bool = False


CASES = (
    # Many clients of the ordinary sort: what a web service looks like.
    Case("200 REQ on 16", 200, 1, 16, key=True),
    Case("200 REQ on 16, prefetch auto", 200, 1, 16, prefetch="auto", key=True),
    Case("200 REQ on 2", 200, 1, 2),
    Case("200 REQ on 2, prefetch auto", 200, 1, 2, prefetch="auto"),
    Case("200 REQ on 128", 200, 1, 128),
    Case("100 REQ on 100", 100, 1, 100, key=True),
    # Sizes: what is copied, and how often.
    Case("200 REQ on 16, 4 KiB", 200, 1, 16, 4 * KIB, key=True),
    Case("200 REQ on 16, 4 KiB, prefetch auto", 200, 1, 16, 4 * KIB, prefetch="auto", key=True),
    Case("200 REQ on 16, 64 KiB", 200, 1, 16, 64 * KIB, key=True),
    Case("50 REQ on 16, 64 KiB", 50, 1, 16, 64 * KIB, key=True),
    Case("8 REQ on 4, 1 MiB", 8, 1, 4, KIB * KIB, key=True),
    # Few: latency, with nothing to share a system call with.
    Case("1 REQ on 1", 1, 1, 1, key=True),
    Case("8 REQ on 2", 8, 1, 2, key=True),
    Case("8 REQ on 2, prefetch auto", 8, 1, 2, prefetch="auto", key=True),
    Case("64 REQ on 16", 64, 1, 16),
    # One client that pipelines: what a message costs where system calls are shared.
    Case("1 client, 8 in flight, 2 workers", 1, 8, 2, key=True),
    Case("1 client, 8 in flight, 2 workers, prefetch auto", 1, 8, 2, prefetch="auto", key=True),
    Case("1 client, 64 in flight, 2 workers, prefetch auto", 1, 64, 2, prefetch="auto"),
    Case("1 client, 500 in flight, 2 workers", 1, 500, 2),
    Case("1 client, 500 in flight, 2 workers, prefetch auto", 1, 500, 2, prefetch="auto", key=True),
    Case("1 client, 500 in flight, 2 workers, prefetch 16", 1, 500, 2, prefetch=16),
    # What a queue is for: nobody waits behind the slow one while others are idle.
    Case("64 REQ on 8, one takes 50 ms", 64, 1, 8, slow_ms=50, key=True),
    Case("64 REQ on 8, one takes 50 ms, prefetch auto", 64, 1, 8, slow_ms=50, prefetch="auto", key=True),
    # Connections that only cost memory.
    Case("200 REQ on 16, 5,000 idle", 200, 1, 16, idle=5000),
)

SMOKE = (Case("8 REQ on 8, one takes 20 ms", 8, 1, 8, slow_ms=20, prefetch="auto"),)
