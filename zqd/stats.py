"""Counting: a queue's counters and its latency histograms.

Layer 0: imports nothing of zqd; time is an argument. Integers are bumped at the point of truth, read by one snapshot
function, and rates follow by subtraction.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Counters:
    """What a queue has counted since its start; names as in `zqctl status` and zqd(7).

    Law 3: received = replied + failed + dropped + queued + in flight.
    """

    received: int = 0
    replied: int = 0
    failed: int = 0
    dropped: int = 0
    retried: int = 0
    orphaned: int = 0
    late: int = 0
    malformed: int = 0

    def as_dict(self) -> dict[str, int]:
        """Name to count, in the order above."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _bounds() -> tuple[float, ...]:
    """Upper bounds of the buckets, seconds: 10 µs to over a day, each 2^(1/4) (19 %) above the last."""
    return tuple(1e-5 * 2 ** (step / 4) for step in range(134))


class Histogram:
    """Durations in fixed buckets: bounded memory, 135 integers for each of eight tables.

    Reads both since the start and over about the last minute (the running ten-second slice and the six before it).
    A quantile is exact to within its bucket (19 %), interpolated; `max` is exact.
    """

    BOUNDS = _bounds()
    SLICE = 10.0  # seconds
    SLICES = 6

    __slots__ = ("_counts", "_ends", "_max", "_past", "_total", "_total_max")

    def __init__(self) -> None:
        size = len(self.BOUNDS) + 1
        self._counts = [0] * size  # of the running slice
        self._max = 0.0
        self._ends = 0.0  # when the running slice ends; 0 before the first one
        self._past: list[
            tuple[float, list[int], float]
        ] = []  # (end, counts, max) of finished slices, oldest first
        self._total = [0] * size  # of all finished slices
        self._total_max = 0.0

    def record(self, seconds: float, now: float) -> None:
        """Count one duration; `now` is the monotonic time."""
        if now >= self._ends:
            self._turn(now)
        self._counts[bisect_left(self.BOUNDS, seconds)] += 1
        if seconds > self._max:
            self._max = seconds

    def since_start(self, *quantiles: float) -> dict[str, float | None]:
        """`{"p50": seconds, …, "max": seconds}` of everything recorded; None where there is nothing."""
        counts = [a + b for a, b in zip(self._total, self._counts, strict=True)]
        return _summary(counts, max(self._total_max, self._max), quantiles)

    def last_minute(self, now: float, *quantiles: float) -> dict[str, float | None]:
        """The same of about the last minute (60 to 70 s)."""
        if now >= self._ends:
            self._turn(now)
        counts, largest = list(self._counts), self._max
        for _, past, past_max in self._past:
            counts = [a + b for a, b in zip(counts, past, strict=True)]
            largest = max(largest, past_max)
        return _summary(counts, largest, quantiles)

    def _turn(self, now: float) -> None:
        """Finish the running slice and begin the one that holds `now`."""
        if any(self._counts):
            self._past.append((self._ends, self._counts, self._max))
            self._total = [a + b for a, b in zip(self._total, self._counts, strict=True)]
            self._total_max = max(self._total_max, self._max)
            self._counts = [0] * len(self._counts)
            self._max = 0.0
        self._ends = now - now % self.SLICE + self.SLICE
        oldest = self._ends - (self.SLICES + 1) * self.SLICE
        self._past = [slice_ for slice_ in self._past if slice_[0] > oldest]


def _summary(counts: list[int], largest: float, quantiles: tuple[float, ...]) -> dict[str, float | None]:
    total = sum(counts)
    summary: dict[str, float | None] = {}
    for quantile in quantiles:
        summary[f"p{quantile * 100:g}"] = _quantile(counts, total, largest, quantile) if total else None
    summary["max"] = largest if total else None
    return summary


def _quantile(counts: list[int], total: int, largest: float, quantile: float) -> float:
    """Interpolated inside the bucket that holds the rank; never above the largest value seen."""
    rank = quantile * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            low = Histogram.BOUNDS[index - 1] if index else 0.0
            high = Histogram.BOUNDS[index] if index < len(Histogram.BOUNDS) else largest
            return min(low + (high - low) * (rank - below) / count, largest)
        below += count
    return largest


class Rates:
    """How fast counts have risen over about the last minute: the running ten-second slice and the six before it.

    `roll` is to be called in the first turn of the loop at or after `next`; without traffic nothing rises, so nobody has to
    wake up for it.
    """

    SLICE = 10.0  # seconds
    SLICES = 6

    __slots__ = ("_began", "_last", "_slices", "next")

    def __init__(self, now: float, counts: tuple[float, ...]) -> None:
        self.next = now - now % self.SLICE + self.SLICE
        """When the running slice ends, monotonic seconds."""
        self._began = now
        self._last = counts
        self._slices: list[
            tuple[float, tuple[float, ...]]
        ] = []  # (end, rise) of finished slices, oldest first

    def roll(self, now: float, counts: tuple[float, ...]) -> None:
        """The running slice is over: what has risen since its start belongs to it.

        Later than by a slice there was no turn, thus no traffic, until this one, in which it has risen.
        """
        end = self.next if now < self.next + self.SLICE else now
        self._slices.append((end, _difference(counts, self._last)))
        self._last = counts
        self.next = now - now % self.SLICE + self.SLICE
        self._slices = [slice_ for slice_ in self._slices if slice_[0] > self._start()]

    def per_second(self, now: float, counts: tuple[float, ...]) -> tuple[float, ...]:
        """Each count's rise per second."""
        if now >= self.next:
            self.roll(now, counts)
        rises = [_difference(counts, self._last), *(rise for _, rise in self._slices)]
        span = self.span(now)
        return tuple(sum(column) / span for column in zip(*rises, strict=True))

    def span(self, now: float) -> float:
        """Seconds over which `per_second` has counted: 60 to 70, less before the first minute is over, at least 1."""
        return max(now - max(self._began, self._start()), 1.0)

    def _start(self) -> float:
        return self.next - (self.SLICES + 1) * self.SLICE


def _difference(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x - y for x, y in zip(a, b, strict=True))
