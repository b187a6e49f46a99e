from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.core.walk import MOVES, Walk
from tests.core.world import World
from zqd.core.check import check

settings_of_queues = st.fixed_dictionaries(
    {},
    optional={
        "prefetch": st.sampled_from([2, 4, 16]),
        "max_attempts": st.integers(1, 4),
        "max_capacity": st.sampled_from([0, 2]),
        "request_timeout": st.sampled_from([0.5, 1.0, 3.0]),
        "queue_timeout": st.sampled_from([1.0, 5.0]),
        "max_queued": st.integers(1, 8),
        "max_queued_bytes": st.sampled_from([100, 300]),
        "max_per_client": st.integers(1, 4),
        "max_unsent": st.sampled_from([20, 100]),
        "overload": st.just("reject"),
        "on_failure": st.just("drop"),
        "on_client_left": st.just("run"),
    },
)


class QueueMachine(RuleBasedStateMachine):
    """The moves of `Walk` in an order that hypothesis chooses, and shrinks when a law is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.walk = Walk(self.world, random.Random(0))
        self.failed = False

    @initialize(chosen=settings_of_queues)
    def begin(self, chosen: dict[str, Any]) -> None:
        """A queue with any settings."""
        self.world = World(**chosen)
        self.walk = Walk(self.world, random.Random(0))

    @rule(name=st.sampled_from(list(MOVES)), details=st.integers(0, 9999))
    def move(self, name: str, details: int) -> None:
        """One move; one number decides on its details, so that a failure shrinks to few moves in little time."""
        self.walk.random = random.Random(details)
        self.failed = True
        self.walk.move(name)
        self.failed = False

    @invariant()
    def laws_hold(self) -> None:
        """After every rule, as after every step within it."""
        check(self.world.queue)

    def teardown(self) -> None:
        """However it went, everybody gets an answer in the end."""
        if not self.failed:
            self.world.finish()


QueueMachine.TestCase.settings = settings(
    max_examples=1000,
    stateful_step_count=60,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],  # explaining would trace every line
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestQueueMachine = pytest.mark.slow(QueueMachine.TestCase)
