from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from zqd.control.answers import Code, CommandError, Later
from zqd.control.waiters import LONGEST, PERIOD, SHARE, Waiters
from zqd.net.loop import Loop


class Stage:
    """A loop that never turns, whose clock the test sets; `value` is what all who wait here look at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = Loop()
        self.loop.now = 1000.0
        self.faults: list[Exception] = []
        self.waiters = Waiters(self.loop, self.faults.append)
        self.value: object = None
        self.looks = 0
        self.costs = 0.0  # seconds of CPU time that a look takes
        self._clock = 0.0
        monkeypatch.setattr("zqd.control.waiters.time", SimpleNamespace(thread_time=lambda: self._clock))

    def look(self) -> object:
        """A condition: None until there is a value, which is raised if it is an exception."""
        self.looks += 1
        self._clock += self.costs
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def wait(self, timeout: float = 0.0) -> list[object]:
        """One more that waits; what it is answered appears in the list."""
        return answers(self.waiters.add(self.look, timeout))

    def turn(self, seconds: float = 0.0) -> None:
        """So much later there is a turn of the loop."""
        self.loop.now += seconds
        self.waiters.settle()


def answers(later: Later) -> list[object]:
    """A list in which an answer appears when it comes."""
    outcomes: list[object] = []
    later.deliver_to(outcomes.append)
    return outcomes


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Waiters with a loop."""
    stage = Stage(monkeypatch)
    yield stage
    stage.loop.close()


def test_what_is_true_already_is_answered_at_once(stage: Stage) -> None:
    """Without a turn."""
    stage.value = "there"
    assert stage.wait() == ["there"]
    assert len(stage.waiters) == 0


def test_what_becomes_true_is_answered(stage: Stage) -> None:
    """In a turn after it, once."""
    told = stage.wait()
    stage.turn()
    assert told == []
    stage.value = "there"
    stage.turn(PERIOD)
    stage.turn(PERIOD)
    assert told == ["there"]
    assert len(stage.waiters) == 0


def test_nobody_looks_where_nobody_waits(stage: Stage) -> None:
    """It costs a turn nothing."""
    stage.turn()
    assert stage.waiters.deadline is None
    assert stage.looks == 0


def test_rule_20_the_loop_sleeps_until_something_happens(stage: Stage) -> None:
    """After a look without a turn in between there is nothing new to see."""
    stage.wait()
    stage.turn()
    assert stage.waiters.deadline is None


def test_a_turn_soon_after_a_look_is_looked_at_a_little_later(stage: Stage) -> None:
    """What it has done is not missed though there may be no other turn."""
    told = stage.wait()
    stage.turn()
    looked = stage.loop.now
    stage.value = "there"
    stage.turn(PERIOD / 10)
    assert told == []
    assert stage.waiters.deadline == looked + PERIOD
    stage.turn(PERIOD)
    assert told == ["there"]


def test_looks_do_not_follow_the_turns(stage: Stage) -> None:
    """Under load there are thousands of turns a second."""
    stage.wait()
    before = stage.looks
    for _ in range(1000):
        stage.turn(0.001)
    assert stage.looks - before <= 1 + 1 / PERIOD


def test_looking_takes_a_small_share_of_the_time(stage: Stage) -> None:
    """When many wait, and each look takes its time."""
    stage.costs = 0.0001
    for _ in range(100):
        stage.wait()
    before, began = stage.looks, stage.loop.now
    for _ in range(10_000):
        stage.turn(0.01)
    share = (stage.looks - before) * stage.costs / (stage.loop.now - began)
    assert share == pytest.approx(SHARE, rel=0.1)


def test_nobody_waits_long_for_a_look(stage: Stage) -> None:
    """Whatever that costs."""
    stage.costs = 1.0
    told = stage.wait()
    stage.turn()
    stage.value = "there"
    stage.turn(LONGEST / 2)
    assert stage.waiters.deadline == 1000.0 + LONGEST
    stage.turn(LONGEST / 2)
    assert told == ["there"]


def test_a_wait_ends_when_its_time_is_over(stage: Stage) -> None:
    """With a sentence that says how long that was; the loop wakes up for it."""
    told = stage.wait(timeout=2.5)
    stage.turn()
    assert stage.waiters.deadline == 1002.5
    stage.turn(2.4)
    assert told == []
    stage.turn(0.1)
    assert [(type(answer), str(answer)) for answer in told] == [
        (CommandError, "it has not come to that within 2.5 s")
    ]


def test_the_first_time_that_is_over_counts(stage: Stage) -> None:
    """The others wait on."""
    told = [stage.wait(timeout) for timeout in (9.0, 3.0, 0.0)]
    stage.turn()
    assert stage.waiters.deadline == 1003.0
    stage.turn(3.0)
    assert [len(answers) for answers in told] == [0, 1, 0]
    assert stage.waiters.deadline == 1009.0


def test_in_the_last_moment_is_in_time(stage: Stage) -> None:
    """What has become true by then is the answer."""
    told = stage.wait(timeout=1.0)
    stage.value = "there"
    stage.turn(1.0)
    assert told == ["there"]


def test_what_will_never_be_true_is_said(stage: Stage) -> None:
    """A condition's own refusal is the answer."""
    told = stage.wait()
    stage.value = CommandError(Code.FAILED, "called off")
    stage.turn()
    assert [str(answer) for answer in told] == ["called off"]
    assert stage.faults == []


def test_a_fault_in_a_condition_harms_nobody_else(stage: Stage) -> None:
    """It is told, to who waits and to the log, and the loop goes on."""
    told, other = stage.wait(), answers(stage.waiters.add(lambda: "fine" if stage.looks > 1 else None, 0.0))
    stage.value = ZeroDivisionError("by nothing")
    stage.turn()
    assert [str(answer) for answer in told] == [
        "the command failed inside zqd: ZeroDivisionError: by nothing"
    ]
    assert stage.faults == [stage.value]
    assert other == ["fine"]


def test_a_refusal_at_once_is_the_callers(stage: Stage) -> None:
    """It is an answer like any other refusal, and nobody waits."""
    stage.value = CommandError(Code.BAD_ARGUMENT, "no such queue")
    with pytest.raises(CommandError, match="no such queue"):
        stage.wait()
    assert len(stage.waiters) == 0


def test_who_was_given_up_is_forgotten(stage: Stage) -> None:
    """The server keeps a bounded number; nobody looks for the rest any more."""
    later = stage.waiters.add(stage.look, 0.0)
    later.fail("too many")
    before = stage.looks
    stage.turn()
    assert len(stage.waiters) == 0
    assert stage.looks == before


def test_who_has_hung_up_is_forgotten(stage: Stage) -> None:
    """The server is told too, by an answer that nobody gets."""
    later = stage.waiters.add(stage.look, 0.0)
    told = answers(later)
    later.abandoned = lambda: True
    stage.turn()
    assert len(stage.waiters) == 0
    assert [str(answer) for answer in told] == ["nobody waits for this any more"]


def test_it_looks_when_all_others_have_settled(stage: Stage) -> None:
    """What a queue does at the end of a turn is seen in that turn, or the loop might sleep on it."""

    class Other:
        deadline = None

        def settle(self) -> None:
            pass

    stage.loop.parts += [stage.waiters, Other()]
    stage.wait()
    assert stage.loop.parts[-1] is stage.waiters
    assert len(stage.loop.parts) == 2
