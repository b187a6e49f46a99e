"""What is measured: one row for each situation, with the reason why it is there."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """`clients` keep `in_flight` requests of `body` bytes each in flight; `workers` echo; `idle` clients stay silent.

    `prefetch` is zqd's setting; the others have none.
    """

    name: str
    clients: int
    in_flight: int
    workers: int
    body: int = 64
    idle: int = 0
    prefetch: int = 1


CASES = (
    Case("200 REQ on 16", 200, 1, 16),
    Case("100 REQ on 100", 100, 1, 100),
    Case("200 REQ on 16, 4 KiB", 200, 1, 16, 4 * KIB),
    Case("50 REQ on 16, 64 KiB", 50, 1, 16, 64 * KIB),
    Case("8 REQ on 4, 1 MiB", 8, 1, 4, KIB * KIB),
    Case("1 REQ on 1", 1, 1, 1),
    Case("8 REQ on 2", 8, 1, 2),
    Case("64 REQ on 16", 64, 1, 16),
    Case("1 client, 500 in flight, 2 workers", 1, 500, 2),
    Case("the same, prefetch 16", 1, 500, 2, prefetch=16),
    Case("200 REQ on 128", 200, 1, 128),
    Case("200 REQ on 16, 5,000 idle", 200, 1, 16, idle=5000),
)

SMOKE = (Case("8 REQ on 2", 8, 1, 2),)
