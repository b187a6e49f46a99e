"""When the loop looks again instead of sleeping: time is the test's, and so is what comes when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zqd.net.loop import BUSY_POLL, ENOUGH_HOPE, NO_HOPE, SHORT, Loop

LOOK = 1e-6  # seconds that one look takes
FD = 3


class Kernel:
    """Instead of the clock, the scheduler and epoll: events come `gap` seconds after the last one was taken."""

    def __init__(self, gap: float) -> None:
        self.now = 1000.0
        self.gap = gap
        self.due = self.now + gap
        self.slept = 0
        self.looked = 0
        self.yielded = 0
        self.others_run = 0.0
        """How long another process takes the processor where it may, seconds."""

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sched_yield(self) -> None:
        """Others may run now."""
        self.yielded += 1
        self.now += self.others_run

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        """As epoll does it; a sleep ends with the next event, or when its time is over."""
        assert most > 1
        self.now += LOOK
        if timeout == 0:
            self.looked += 1
        else:
            self.slept += 1
            self.now = max(self.now, min(self.due, self.now + (3600.0 if timeout is None else timeout)))
        if self.now < self.due:
            return []
        self.due = self.now + self.gap
        return [(FD, 1)]

    def close(self) -> None:
        """Nothing is open."""


class Scene:
    """A loop in the hands of a `Kernel`."""

    def __init__(self, patch: pytest.MonkeyPatch, gap: float) -> None:
        self.kernel = kernel = Kernel(gap)
        self.loop = Loop()
        self.loop.close()
        patch.setattr("zqd.net.loop.time.monotonic", kernel.monotonic)
        patch.setattr("zqd.net.loop.os.sched_yield", kernel.sched_yield)
        self.loop._epoll = kernel  # type: ignore[assignment]
        self.loop.now = kernel.now
        self.handled = 0
        self.loop._handlers = [None] * FD + [self._handle]

    def _handle(self, _: int) -> None:
        self.handled += 1

    def turns(self, count: int) -> tuple[int, int]:
        """So many turns: how often it slept in them, and how many of them brought something."""
        slept, handled = self.kernel.slept, self.handled
        for _ in range(count):
            self.loop.turn()
        return self.kernel.slept - slept, self.handled - handled


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Patches for one test, gone before pytest wants the clock itself."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_after_two_short_waits_it_does_not_sleep(patch: pytest.MonkeyPatch) -> None:
    """What comes at once is there before the loop would be asleep; others that want to run may do so meanwhile."""
    scene = Scene(patch, gap=BUSY_POLL / 2)
    assert scene.turns(ENOUGH_HOPE) == (ENOUGH_HOPE, ENOUGH_HOPE)
    assert scene.kernel.yielded == 0
    assert scene.turns(100) == (0, 100)
    assert scene.kernel.yielded > 100


def test_it_sleeps_when_nothing_comes_for_a_while(patch: pytest.MonkeyPatch) -> None:
    """It has looked for as long as that pays, and does so again only after waits that were short."""
    scene = Scene(patch, gap=BUSY_POLL / 2)
    scene.turns(10)
    scene.kernel.due = scene.kernel.now + 10.0
    looked = scene.kernel.looked
    assert scene.turns(1) == (1, 1)
    assert 10 < scene.kernel.looked - looked < BUSY_POLL / LOOK + 10
    assert scene.turns(ENOUGH_HOPE) == (ENOUGH_HOPE, ENOUGH_HOPE)
    assert scene.turns(10) == (0, 10)


@pytest.mark.parametrize("gap", [SHORT * 1.1, 0.01, 100.0])
def test_it_always_sleeps_where_waits_are_long(patch: pytest.MonkeyPatch, gap: float) -> None:
    """One look tells that nothing is there; to look on would be a waste."""
    scene = Scene(patch, gap)
    assert scene.turns(50) == (50, 50)
    assert scene.kernel.looked == 50
    assert scene.kernel.yielded == 0


def test_looking_in_vain_is_tried_seldom(patch: pytest.MonkeyPatch) -> None:
    """Waits that are short, and yet longer than it looks: most of them are slept through from the start."""
    scene = Scene(patch, gap=(BUSY_POLL + SHORT) / 2)
    assert scene.turns(300) == (300, 300)
    assert 0 < scene.kernel.yielded < 110 * BUSY_POLL / LOOK


def test_a_wait_that_is_longer_for_once_is_forgiven(patch: pytest.MonkeyPatch) -> None:
    """Where looking has paid for a while it goes on, though one wait was slept through."""
    scene = Scene(patch, gap=BUSY_POLL / 2)
    scene.turns(30)
    scene.kernel.due = scene.kernel.now + (BUSY_POLL + SHORT) / 2
    assert scene.turns(1) == (1, 1)
    assert scene.turns(30) == (0, 30)


def test_who_shares_the_processor_with_others_does_not_look(patch: pytest.MonkeyPatch) -> None:
    """A process that wants to compute takes what it is offered for milliseconds; to sleep and be woken is quicker then."""
    scene = Scene(patch, gap=BUSY_POLL / 2)
    scene.kernel.others_run = 0.004
    slept, handled = scene.turns(-NO_HOPE)
    assert handled == -NO_HOPE
    assert scene.kernel.yielded == handled - slept == 1
    scene.kernel.others_run = 0.0
    scene.turns(10)
    assert scene.turns(100) == (0, 100)


def test_it_always_sleeps_where_that_is_the_setting(patch: pytest.MonkeyPatch) -> None:
    """However quickly things come."""
    scene = Scene(patch, gap=BUSY_POLL / 2)
    scene.loop.busy_poll = False
    assert scene.turns(50) == (50, 50)
    assert scene.kernel.yielded == 0


def test_what_is_there_already_needs_no_wait(patch: pytest.MonkeyPatch) -> None:
    """A loop that never comes to rest neither sleeps nor looks twice."""
    scene = Scene(patch, gap=0.0)
    assert scene.turns(50) == (0, 50)
    assert scene.kernel.looked == 50


def test_what_was_put_off_needs_no_wait(patch: pytest.MonkeyPatch) -> None:
    """After one look at what is ready beside it."""
    scene = Scene(patch, gap=10.0)
    called: list[int] = []
    scene.loop.call_soon(lambda: called.append(1))
    assert scene.turns(1) == (0, 0)
    assert called == [1]


def test_timers_do_not_keep_it_awake(patch: pytest.MonkeyPatch) -> None:
    """A wait that a timer ends is none for messages, however short it was."""
    scene = Scene(patch, gap=1000.0)

    def again() -> None:
        scene.loop.call_at(scene.loop.now + SHORT / 10, again)

    again()
    assert scene.turns(50) == (50, 0)
    assert scene.kernel.yielded == 0
