"""One measurement, and the statistics of several: medians of ratios to the baseline of the same round."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import Case
from tests.bench.contestants import BASELINE, running

WARM_UP = 0.5  # seconds
SOURCE = Path(__file__).with_name("load.c")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contestant in one case."""

    rate: float
    """Requests a second."""
    p50: float
    """Latency, µs."""
    p99: float
    cpu: float
    """The broker's processor time for a request, µs."""
    kernel: float
    """What it is in the kernel: system calls, and what they do of the network's work."""
    resident: float
    """The broker's memory, MB."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


FIGURES = ("rate", "p50", "p99", "cpu", "kernel", "resident")
Result = dict[str, dict[str, dict[str, Spread]]]
"""Contestant to `absolute` and `ratio`, each figure's spread."""


def build_load() -> Path:
    """Compile the load generator into the cache and return it; RuntimeError where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("the benchmark needs a C compiler for its load (apt-get install gcc)")
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "zqd")
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"bench-load-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:8]}"
    if not program.exists():
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)], check=True)
    return program


def measure(load: Path, contestant: str, case: Case, seconds: float) -> Measurement:
    """Run one contestant in one case."""
    numbers = (
        case.clients,
        case.in_flight,
        case.workers,
        case.body,
        case.idle,
        case.slow_ms,
        WARM_UP,
        seconds,
    )
    with running(contestant, case) as broker:
        command = [str(load), str(broker.frontend), str(broker.backend), *map(str, numbers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"the load gave up: {contestant}, {case.name}")
            before, kernel_before = broker.cpu(), broker.kernel()
            line = process.stdout.readline()
            spent, in_kernel = broker.cpu() - before, broker.kernel() - kernel_before
            resident = broker.resident()
        report = json.loads(line)
    requests = max(1, report["requests"])
    return Measurement(
        rate=requests / report["seconds"],
        p50=report["p50_us"],
        p99=report["p99_us"],
        cpu=spent / requests * 1e6,
        kernel=in_kernel / requests * 1e6,
        resident=resident / 1e6,
    )


def rounds(
    load: Path,
    contestants: tuple[str, ...],
    case: Case,
    count: int,
    seconds: float,
    tell: Callable[[str], None],
) -> list[dict[str, Measurement]]:
    """Measure every contestant once in each of `count` rounds, so that the machine's moods hit all alike."""
    measured = []
    for number in range(1, count + 1):
        one = {}
        for name in contestants:
            tell(f"round {number} of {count}: {name}")
            one[name] = measure(load, name, case, seconds)
        measured.append(one)
    return measured


def summary(measured: list[dict[str, Measurement]]) -> Result:
    """Absolute figures, and their ratios to the baseline of the same round."""
    result: Result = {}
    for name in measured[0]:
        result[name] = {"absolute": {}, "ratio": {}}
        for figure in FIGURES:
            values = [float(getattr(one[name], figure)) for one in measured]
            bases = [float(getattr(one[BASELINE], figure)) for one in measured]
            result[name]["absolute"][figure] = Spread.of(values)
            ratios = [value / base for value, base in zip(values, bases, strict=True) if base]
            result[name]["ratio"][figure] = Spread.of(ratios or [0.0])
    return result
