from __future__ import annotations

import random
from itertools import pairwise

import pytest

from zqd.stats import Counters, Histogram

EXACT = 1.2  # a quantile may be off by its bucket's width, 19 %


def summary(told: dict[str, float | None], key: str) -> float:
    """One value of a summary that has values."""
    value = told[key]
    assert value is not None
    return value


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
    histogram.record(1.0, 0.0)
    assert list(histogram.since_start(0.5, 0.9, 0.999)) == ["p50", "p90", "p99.9", "max"]
    assert list(histogram.since_start()) == ["max"]


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 1e-5, 0.00123, 0.5, 1.0, 59.0, 86_400.0, 1e6])
def test_one_duration_is_told_to_within_its_bucket(seconds: float) -> None:
    """From less than the least bound to more than the greatest; the maximum is exact."""
    histogram = Histogram()
    histogram.record(seconds, 0.0)
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
        histogram.record(value, 5.0)
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
        histogram.record(value, 0.0)
    told = histogram.since_start(0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
    values = [summary(told, key) for key in ("p0", "p25", "p50", "p75", "p90", "p100", "max")]
    assert values == sorted(values)
    assert values[-2:] == [7.0, 7.0]


def test_a_bound_belongs_to_the_bucket_below_it() -> None:
    """So a duration on a bound is not told as more than it was."""
    histogram = Histogram()
    bound = Histogram.BOUNDS[40]
    histogram.record(bound, 0.0)
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
    histogram.record(5.0, 1000.0)
    assert histogram.last_minute(1059.9)["max"] == 5.0
    assert histogram.last_minute(1070.0)["max"] is None
    assert histogram.since_start()["max"] == 5.0


def test_the_last_minute_is_the_sum_of_its_slices() -> None:
    """What was recorded over it counts, whichever slice it is in."""
    histogram = Histogram()
    for second in range(60):
        histogram.record(1.0 if second < 45 else 4.0, 2000.0 + second)
    told = histogram.last_minute(2059.0, 0.5, 0.9)
    assert summary(told, "p50") == pytest.approx(1.0, rel=0.2)
    assert summary(told, "p90") == pytest.approx(4.0, rel=0.2)
    told = histogram.last_minute(2105.0, 0.5)
    assert summary(told, "p50") == pytest.approx(4.0, rel=0.2)


def test_a_long_silence_is_no_trouble() -> None:
    """The slice that ran before it is finished when somebody records, or looks, again."""
    histogram = Histogram()
    histogram.record(1.0, 0.0)
    histogram.record(2.0, 1e6)
    assert histogram.last_minute(1e6)["max"] == 2.0
    assert histogram.since_start()["max"] == 2.0
    assert summary(histogram.since_start(0.25), "p25") == pytest.approx(1.0, rel=0.2)


def test_looking_changes_nothing() -> None:
    """Two looks tell the same."""
    histogram = Histogram()
    for second in range(200):
        histogram.record(second / 100, float(second))
    first = (histogram.since_start(0.5), histogram.last_minute(200.0, 0.5))
    assert (histogram.since_start(0.5), histogram.last_minute(200.0, 0.5)) == first


def test_nothing_is_lost_between_the_slices() -> None:
    """Every duration is in the total once, however the time goes on."""
    chance = random.Random(2)
    histogram = Histogram()
    now = 0.0
    for _ in range(5000):
        now += chance.choice((0.0, 0.01, 3.0, 9.99, 25.0))
        histogram.record(0.5, now)
        if chance.random() < 0.1:
            histogram.last_minute(now)
    assert sum(histogram._total) + sum(histogram._counts) == 5000


def test_memory_is_bounded() -> None:
    """At most the slices of a minute are kept."""
    histogram = Histogram()
    for second in range(10_000):
        histogram.record(0.1, float(second))
    assert len(histogram._past) <= Histogram.SLICES
