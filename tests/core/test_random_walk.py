from __future__ import annotations

import random
from typing import Any

import pytest

from tests.core.walk import Walk
from tests.core.world import World

LENGTH = 2_200  # moves of each walk; together the walks are some 120,000 stimuli

WALKS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "prefetch 4": {"prefetch": 4},
    "prefetch 16": {"prefetch": 16, "max_attempts": 2},
    "prefetch auto": {"prefetch": "auto", "request_timeout": 2.0},
    "at most once": {"max_attempts": 1, "prefetch": 4},
    "time-outs": {"request_timeout": 2.0, "queue_timeout": 5.0},
    "time-outs and prefetch 4": {"request_timeout": 1.0, "queue_timeout": 9.0, "prefetch": 4},
    "time-outs and prefetch 16": {"request_timeout": 1.5, "prefetch": 16, "max_attempts": 5},
    "count limits": {"max_queued": 8, "max_per_client": 4},
    "one per client": {"max_queued": 1, "max_per_client": 1, "prefetch": 4},
    "byte limit": {"max_queued_bytes": 300, "max_unsent": 100},
    "all limits": {
        "max_queued": 10,
        "max_queued_bytes": 500,
        "max_per_client": 5,
        "max_unsent": 60,
        "prefetch": 4,
    },
    "rejecting": {"max_queued": 6, "max_queued_bytes": 400, "overload": "reject", "request_timeout": 3.0},
    "clients that left": {"on_client_left": "run", "max_unsent": 50, "prefetch": 4, "request_timeout": 3.0},
    "failures dropped": {"on_failure": "drop", "request_timeout": 1.0, "max_queued": 10},
    "unbounded": {
        "max_queued": 0,
        "max_queued_bytes": 0,
        "max_unsent": 0,
        "max_capacity": 0,
        "drain_timeout": 3.0,
    },
    "everything": {
        "prefetch": 4,
        "max_attempts": 2,
        "request_timeout": 1.0,
        "queue_timeout": 4.0,
        "max_queued": 12,
        "max_queued_bytes": 600,
        "max_per_client": 6,
        "max_unsent": 80,
        "max_capacity": 3,
    },
}


@pytest.mark.parametrize("ending", ["answered", "stopped", "timed out"])
@pytest.mark.parametrize("name", WALKS)
def test_laws_1_to_7_hold_after_every_random_step(name: str, ending: str) -> None:
    """Whatever clients, workers and the clock do, in any order, the laws hold and everybody gets one answer."""
    world = World(**WALKS[name])
    Walk(world, random.Random(f"{name}, {ending}")).go(LENGTH)
    if ending == "answered":
        world.finish()
    else:
        world.finish_by_stop(answering=ending == "stopped")
