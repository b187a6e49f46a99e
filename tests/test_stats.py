from __future__ import annotations

import random
from itertools import pairwise

import pytest

from zqd.stats import Counters, Histogram, Rates

EXACT = 1.2  # a quantile may be off by its bucket's width, 19 %


def summary(told: dict[str, float | None], key: str) -> float:
    """One value of a summary that has values."""
    value = told[key]
    assert value is not None
    return value


def record(histogram: Histogram, seconds: float, now: float) -> None:
    """One duration at its time."""
    if now >= histogram.due:
        histogram.settle(now)
    histogram.record(seconds)


# Counters


def test_counters_begin_at_zero_and_have_the_names_of_the_status() -> None:
    """In the order of the law of conservation."""
    names = ["received", "replied", "failed", "dropped", "retried", "orphaned", "late", "malformed"]
    assert Counters().as_dict() == dict.fromkeys(names, 0)
    assert list(Counters().as_dict()) == names


def test_counters_tell_what_was_counted() -> None:
    """A snapshot does not change any more."""
    counters = Counters()
    counters.received += 2
    before = counters.as_dict()
    counters.received += 1
    assert before["received"] == 2
    assert counters.as_dict()["received"] == 3


# Histograms


def test_an_empty_histogram_knows_nothing() -> None:
    """None, not zero."""
    histogram = Histogram()
    nothing = {"p50": None, "p99": None, "max": None}
    assert histogram.since_start(0.5, 0.99) == nothing
    assert histogram.last_minute(1000.0, 0.5, 0.99) == nothing


def test_quantiles_are_named_by_percent() -> None:
    """As in `zqctl status`."""
    histogram = Histogram()
    record(histogram, 1.0, 0.0)
    assert list(histogram.since_start(0.5, 0.9, 0.999)) == ["p50", "p90", "p99.9", "max"]
    assert list(histogram.since_start()) == ["max"]


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 1e-5, 0.00123, 0.5, 1.0, 59.0, 86_400.0, 1e6])
def test_one_duration_is_told_to_within_its_bucket(seconds: float) -> None:
    """From less than the least bound to more than the greatest; the maximum is exact."""
    histogram = Histogram()
    record(histogram, seconds, 0.0)
    told = histogram.since_start(0.5)
    assert told["max"] == seconds
    median = summary(told, "p50")
    assert median <= seconds
    assert median >= min(seconds / EXACT, Histogram.BOUNDS[-1]) or seconds <= Histogram.BOUNDS[0]


def test_quantiles_are_right_to_within_a_bucket() -> None:
    """Compared with the sorted values, for durations over five decades."""
    chance = random.Random(1)
    values = [10 ** chance.uniform(-4, 1) for _ in range(20_000)]
    histogram = Histogram()
    for value in values:
        record(histogram, value, 5.0)
    values.sort()
    told = histogram.since_start(0.5, 0.9, 0.99)
    for key, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        exact = values[int(quantile * len(values))]
        assert exact / EXACT <= summary(told, key) <= exact * EXACT
    assert told["max"] == values[-1]


def test_quantiles_are_in_order() -> None:
    """A higher one is never lower, and none is above the maximum."""
    histogram = Histogram()
    for value in (0.1, 0.1, 0.1, 7.0):
        record(histogram, value, 0.0)
    told = histogram.since_start(0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
    values = [summary(told, key) for key in ("p0", "p25", "p50", "p75", "p90", "p100", "max")]
    assert values == sorted(values)
    assert values[-2:] == [7.0, 7.0]


def test_a_bound_belongs_to_the_bucket_below_it() -> None:
    """So a duration on a bound is not told as more than it was."""
    histogram = Histogram()
    bound = Histogram.BOUNDS[40]
    record(histogram, bound, 0.0)
    assert summary(histogram.since_start(1.0), "p100") == bound


def test_bounds_grow_by_a_fourth_root_of_two() -> None:
    """Ten microseconds to more than a day."""
    bounds = Histogram.BOUNDS
    assert bounds[0] == 1e-5
    assert bounds[-1] > 86_400
    assert all(b / a == pytest.approx(2**0.25) for a, b in pairwise(bounds))


def test_the_last_minute_forgets() -> None:
    """After 60 to 70 seconds; the total since the start does not."""
    histogram = Histogram()
    record(histogram, 5.0, 1000.0)
    assert histogram.last_minute(1059.9)["max"] == 5.0
    assert histogram.last_minute(1070.0)["max"] is None
    assert histogram.since_start()["max"] == 5.0


def test_the_last_minute_is_the_sum_of_its_slices() -> None:
    """What was recorded over it counts, whichever slice it is in."""
    histogram = Histogram()
    for second in range(60):
        record(histogram, 1.0 if second < 45 else 4.0, 2000.0 + second)
    told = histogram.last_minute(2059.0, 0.5, 0.9)
    assert summary(told, "p50") == pytest.approx(1.0, rel=0.2)
    assert summary(told, "p90") == pytest.approx(4.0, rel=0.2)
    told = histogram.last_minute(2105.0, 0.5)
    assert summary(told, "p50") == pytest.approx(4.0, rel=0.2)


def test_a_long_silence_is_no_trouble() -> None:
    """The slice that ran before it is finished when somebody records, or looks, again."""
    histogram = Histogram()
    record(histogram, 1.0, 0.0)
    record(histogram, 2.0, 1e6)
    assert histogram.last_minute(1e6)["max"] == 2.0
    assert histogram.since_start()["max"] == 2.0
    assert summary(histogram.since_start(0.25), "p25") == pytest.approx(1.0, rel=0.2)


def test_looking_changes_nothing() -> None:
    """Two looks tell the same."""
    histogram = Histogram()
    for second in range(200):
        record(histogram, second / 100, float(second))
    first = (histogram.since_start(0.5), histogram.last_minute(200.0, 0.5))
    assert (histogram.since_start(0.5), histogram.last_minute(200.0, 0.5)) == first


def test_nothing_is_lost_between_the_slices() -> None:
    """Every duration is in the total once, however the time goes on."""
    chance = random.Random(2)
    histogram = Histogram()
    now = 0.0
    for _ in range(5000):
        now += chance.choice((0.0, 0.01, 3.0, 9.99, 25.0))
        record(histogram, 0.5, now)
        if chance.random() < 0.1:
            histogram.last_minute(now)
    assert histogram._total.total() + histogram._counts.total() + len(histogram._recorded) == 5000


def test_memory_is_bounded() -> None:
    """At most the slices of a minute are kept."""
    histogram = Histogram()
    for second in range(10_000):
        record(histogram, 0.1, float(second))
    assert len(histogram._past) <= Histogram.SLICES


# Rates


def test_nothing_rises_at_first() -> None:
    """A rate is never a division by nothing."""
    assert Rates(1000.0, (5, 7.5)).per_second(1000.0, (5, 7.5)) == (0.0, 0.0)


def test_counts_that_were_there_before_do_not_count() -> None:
    """Rates are of what has risen."""
    rates = Rates(1000.0, (5000,))
    assert rates.per_second(1005.0, (5010,)) == (2.0,)


def test_before_the_first_minute_is_over_the_rate_is_of_the_time_that_was() -> None:
    """Not a sixth of it after ten seconds; and of no less than a second."""
    rates = Rates(1003.0, (0,))
    assert rates.per_second(1003.1, (10,)) == (10.0,)
    assert rates.per_second(1005.0, (10,)) == (5.0,)
    assert rates.per_second(1023.0, (10,)) == (0.5,)


def test_every_count_has_its_own_rate() -> None:
    """In the order in which they were given."""
    rates = Rates(1000.0, (0, 100, 0.0))
    assert rates.per_second(1004.0, (8, 100, 2.0)) == (2.0, 0.0, 0.5)


@pytest.mark.parametrize("rolled", [True, False])
def test_a_steady_rise_is_a_steady_rate(rolled: bool) -> None:
    """Whether somebody rolls in time or only looks: the slices are a minute to seventy seconds."""
    rates = Rates(1000.0, (0,))
    for second in range(1001, 1500):
        counts = ((second - 1000) * 3,)
        if rolled and second >= rates.next:
            rates.roll(second, counts)
        assert rates.per_second(second, counts) == (3.0,)
        assert rates.span(second) <= 70.0
        assert rates.span(second) >= min(second - 1000.0, 60.0)


def test_a_rise_is_forgotten_after_a_minute() -> None:
    """60 to 70 seconds after it, even if nobody has looked meanwhile."""
    for looks in ((), (1010.0, 1035.0, 1060.0)):
        rates = Rates(900.0, (0,))
        rates.roll(1000.0, (0,))
        rates.roll(1010.0, (650,))
        for now in looks:
            assert rates.per_second(now, (650,)) > (0.0,)
        assert rates.per_second(1065.0, (650,)) == (10.0,)
        assert rates.per_second(1080.0, (650,)) == (0.0,)


def test_a_burst_after_an_idle_hour_counts_now() -> None:
    """The first roll after a gap is in the turn that has brought it; it belongs to no slice of an hour ago."""
    rates = Rates(1000.0, (0,))
    rates.roll(1010.0, (0,))
    rates.roll(4600.0, (650,))
    assert rates.per_second(4605.0, (650,)) == (10.0,)
    assert rates.per_second(4680.0, (650,)) == (0.0,)


def test_a_roll_that_is_a_little_late_belongs_to_its_slice() -> None:
    """So the window does not grow with every roll of a loop that has little to do."""
    rates = Rates(1000.0, (0,))
    rates.roll(1019.0, (650,))
    assert rates.next == 1020.0
    assert rates.per_second(1069.0, (650,)) > (0.0,)
    assert rates.per_second(1070.0, (650,)) == (0.0,)


def test_slices_are_bounded() -> None:
    """At most those of a minute are kept, in a thousand years too."""
    chance = random.Random(3)
    rates = Rates(0.0, (0,))
    now = 0.0
    for count in range(5000):
        now += chance.choice((0.1, 3.0, 9.99, 10.0, 25.0, 1e6))
        rates.per_second(now, (count,))
        assert len(rates._slices) <= Rates.SLICES + 1


def test_the_next_roll_is_at_the_end_of_the_running_slice() -> None:
    """At whole multiples of its length, always in the future."""
    rates = Rates(1003.0, (0,))
    assert rates.next == 1010.0
    rates.roll(1010.0, (0,))
    assert rates.next == 1020.0
    rates.roll(1085.0, (0,))
    assert rates.next == 1090.0
