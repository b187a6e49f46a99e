"""Counting: a queue's counters and its latency histograms.

Layer 0: imports nothing of zqd; time is an argument. Integers are bumped at the point of truth, read by one snapshot
function, and rates follow by subtraction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
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
    """Durations in fixed buckets: bounded memory, at most 135 integers for each of eight tables.

    Reads both since the start and over about the last minute (the running ten-second slice and the six before it).
    A quantile is exact to within its bucket (19 %), interpolated; `max` is exact.

    To record costs next to nothing, because durations are counted many at a time: whoever records calls `settle` first, with
    the time, whenever that is past `due`.
    """

    BOUNDS = _bounds()
    SLICE = 10.0  # seconds
    SLICES = 6
    PATIENCE = 0.1  # seconds for which durations lie uncounted: some thousands of them at the most

    __slots__ = (
        "_counts",
        "_ends",
        "_max",
        "_past",
        "_recorded",
        "_sum",
        "_total",
        "_total_max",
        "due",
        "record",
    )

    def __init__(self) -> None:
        self._recorded: list[float] = []  # and not counted yet, all of the running slice
        self.record: Callable[[float], None] = self._recorded.append
        """Take one duration, seconds."""
        self._sum = 0.0  # of all that were counted
        self.due = 0.0
        """From when on `settle` has to be called before the next `record`, monotonic seconds."""
        self._counts: Counter[int] = Counter()  # of the running slice, by bucket
        self._max = 0.0
        self._ends = 0.0  # when the running slice ends; 0 before the first one
        # (end, counts, max) of finished slices, oldest first
        self._past: list[tuple[float, Counter[int], float]] = []
        self._total: Counter[int] = Counter()  # of all finished slices
        self._total_max = 0.0

    def settle(self, now: float) -> None:
        """Count what was recorded; from now on it is `now` (monotonic seconds)."""
        self._count()
        if now >= self._ends:
            self._turn(now)
        self.due = min(now + self.PATIENCE, self._ends)

    @property
    def total(self) -> float:
        """All durations together, seconds."""
        self._count()
        return self._sum

    def since_start(self, *quantiles: float) -> dict[str, float | None]:
        """`{"p50": seconds, …, "max": seconds}` of everything recorded; None where there is nothing."""
        self._count()
        return _summary(self._total + self._counts, max(self._total_max, self._max), quantiles)

    def last_minute(self, now: float, *quantiles: float) -> dict[str, float | None]:
        """The same of about the last minute (60 to 70 s)."""
        self.settle(now)
        counts, largest = self._counts.copy(), self._max
        for _, past, past_max in self._past:
            counts += past
            largest = max(largest, past_max)
        return _summary(counts, largest, quantiles)

    def _count(self) -> None:
        """Sorted durations take few looks: one at the end of each bucket."""
        recorded = self._recorded
        if not recorded:
            return
        recorded.sort()
        self._sum += sum(recorded)
        self._max = max(self._max, recorded[-1])
        counted = 0
        for bucket in range(bisect_left(self.BOUNDS, recorded[0]), len(self.BOUNDS)):
            below = bisect_right(recorded, self.BOUNDS[bucket], counted)
            if below > counted:
                self._counts[bucket] += below - counted
                counted = below
                if counted == len(recorded):
                    break
        else:
            self._counts[len(self.BOUNDS)] += len(recorded) - counted
        recorded.clear()

    def _turn(self, now: float) -> None:
        """Finish the running slice and begin the one that holds `now`."""
        if self._counts:
            self._past.append((self._ends, self._counts, self._max))
            self._total += self._counts
            self._total_max = max(self._total_max, self._max)
            self._counts = Counter()
            self._max = 0.0
        self._ends = now - now % self.SLICE + self.SLICE
        oldest = self._ends - (self.SLICES + 1) * self.SLICE
        self._past = [slice_ for slice_ in self._past if slice_[0] > oldest]


def _summary(counts: Counter[int], largest: float, quantiles: tuple[float, ...]) -> dict[str, float | None]:
    total = counts.total()
    summary: dict[str, float | None] = {}
    for quantile in quantiles:
        summary[f"p{quantile * 100:g}"] = _quantile(counts, total, largest, quantile) if total else None
    summary["max"] = largest if total else None
    return summary


def _quantile(counts: Counter[int], total: int, largest: float, quantile: float) -> float:
    """Interpolated inside the bucket that holds the rank; never above the largest value seen."""
    rank = quantile * total
    below = 0
    for index, count in sorted(counts.items()):
        if below + count >= rank:
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
