"""`zqctl metrics`: zqd's numbers for Prometheus.

Two texts of one content. Standard output gets OpenMetrics 1.0, whose last line `# EOF` tells the reader that nothing is missing.
`--textfile` is for the textfile collector of node_exporter, which reads only the classic format (0.0.4): there a state set and an
info are gauges. Sample names, labels and values are the same in both.

That zqd does not answer is a fact to be told as well: `zqd_up 0`, with the exit status of the reason. Knows prometheus_client, which
nothing else imports, and the rows of `status` and `workers`; a key that an older zqd lacks leaves its metric out. Called by
`zqd.ctl.local`.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from zqd.control.inquiries import by_name
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import Session
from zqd.ctl.tables import Row

try:
    from prometheus_client import exposition
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
        Metric,
        StateSetMetricFamily,
    )
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.registry import Collector, CollectorRegistry
except ImportError:
    raise ControlError(
        ExitStatus.ERROR, "metrics need the Python package prometheus_client (python3-prometheus-client)"
    ) from None


class Sort(NamedTuple):
    """A metric with one sample a queue: where its value stands in the queue's row, and what it is."""

    key: str
    name: str
    help: str
    unit: str = ""


COUNTERS = (
    Sort("received", "zqd_requests_received", "Requests that came with a valid envelope, or were too large."),
    Sort("replied", "zqd_requests_replied", "Requests that were answered by a worker."),
    Sort("failed", "zqd_requests_failed", "Requests that failed, whether their client was told or not."),
    Sort("dropped", "zqd_requests_dropped", "Requests whose client had left."),
    Sort("retried", "zqd_requests_retried", "Dispatches that were repeated after a loss or a time-out."),
    Sort("orphaned", "zqd_replies_orphaned", "Replies to a dispatch that the worker did not hold."),
    Sort("late", "zqd_replies_late", "Replies that came after their request had ended."),
    Sort("malformed", "zqd_messages_malformed", "Messages that were no request or reply at all."),
    Sort(
        "refused", "zqd_peers_refused", "Connections that were refused, before, in or after their handshake."
    ),
)
GAUGES = (
    Sort("workers", "zqd_workers", "Connected workers."),
    Sort("idle_workers", "zqd_workers_idle", "Workers that could take a request and hold none."),
    Sort("clients", "zqd_clients", "Connected clients."),
    Sort("queued", "zqd_requests_queued", "Requests that wait for a worker."),
    Sort("in_flight", "zqd_requests_in_flight", "Requests that workers hold."),
    Sort(
        "oldest_wait_s",
        "zqd_oldest_wait",
        "Age of the oldest waiting request, 0 where none waits.",
        "seconds",
    ),
    Sort("busy", "zqd_workers_busy", "Share of the last minute in which the workers ran requests.", "ratio"),
)
SUMMARIES = (
    Sort(
        "wait_ms",
        "zqd_request_wait",
        "How long requests waited, over the last minute; 1 is the longest.",
        "seconds",
    ),
    Sort(
        "run_ms",
        "zqd_request_run",
        "How long requests ran, over the last minute; 1 is the longest.",
        "seconds",
    ),
)
QUANTILES = {"p50": "0.5", "p90": "0.9", "p99": "0.99", "max": "1"}
DESCRIPTORS = {
    "limit": "Descriptors that zqd may have open.",
    "reserve": "Of these, what is kept for zqd itself.",
    "used": "Of these, what the connections of clients and workers use.",
}
SET_ASIDE = {
    "quarantined": "Workers that let a request time out and get nothing until they have answered.",
    "draining": "Workers that get nothing more, by order.",
}  # states of a worker
STATES = ("running", "paused", "draining", "drained", "stopping", "stopped")  # of a queue


def run(session: Session, args: dict[str, Any]) -> int:
    """Print the metrics, or write them to --textfile. A zqd that does not answer raises its `ControlError` after that."""
    trouble: ControlError | None = None
    metrics = [_up(False)]
    try:
        metrics = [_up(True), *families(session.ask("status"), session.ask("workers"))]
    except ControlError as error:
        if error.status == ExitStatus.USAGE:
            raise
        trouble = error
    if args["textfile"] is None:
        session.write(openmetrics_text(metrics))
    else:
        replace(args["textfile"], classic_text(metrics))
    if trouble is not None:
        raise trouble
    return ExitStatus.OK


# What there is to tell ------------------------------------------------------------------------------------------------


def families(status: Row, workers: Sequence[Row]) -> Iterator[Metric]:
    """The metrics of a zqd with this `status` and these `workers`, all but `zqd_up`."""
    yield InfoMetricFamily("zqd_build", "Which zqd this is.", value={"version": str(status["version"])})
    yield GaugeMetricFamily("zqd_uptime", "Time since zqd started.", status["uptime_s"], unit="seconds")
    for key, meaning in DESCRIPTORS.items():
        if key in status.get("descriptors", {}):
            yield GaugeMetricFamily(f"zqd_descriptors_{key}", meaning, status["descriptors"][key])
    # Not the sums of those of one name: a counter must not fall when the old one has gone, other than to begin anew.
    queues = by_name(status["queues"]).values()
    state = StateSetMetricFamily("zqd_queue_state", "What a queue is doing.", labels=("queue",))
    for row in queues:
        state.add_metric((row["name"],), {name: name == row["state"] for name in (*STATES, row["state"])})
    yield state
    for sort in COUNTERS:
        yield _per_queue(CounterMetricFamily(sort.name, sort.help, labels=("queue",)), sort, queues)
    for sort in GAUGES:
        yield _per_queue(
            GaugeMetricFamily(sort.name, sort.help, labels=("queue",), unit=sort.unit), sort, queues
        )
    for name, meaning in SET_ASIDE.items():
        counts = Counter(worker["queue"] for worker in workers if worker["state"] == name)
        gauge = GaugeMetricFamily(f"zqd_workers_{name}", meaning, labels=("queue",))
        for row in queues:
            gauge.add_metric((row["name"],), counts[row["name"]])
        yield gauge
    for sort in SUMMARIES:
        yield _summary(sort, queues)


def _up(up: bool) -> Metric:
    return GaugeMetricFamily("zqd_up", "Whether zqd answered zqctl (1) or not (0).", int(up))


def _per_queue(family: CounterMetricFamily | GaugeMetricFamily, sort: Sort, queues: Iterable[Row]) -> Metric:
    for row in queues:
        if sort.key in row:
            family.add_metric((row["name"],), row[sort.key] or 0)
    return family


def _summary(sort: Sort, queues: Iterable[Row]) -> Metric:
    """Quantiles alone: zqd has no sum for the last minute, and SummaryMetricFamily would want one."""
    summary = Metric(sort.name, sort.help, "summary", sort.unit)
    for row in queues:
        for key, quantile in QUANTILES.items():
            milliseconds = row.get(sort.key, {}).get(key)
            if milliseconds is not None:
                labels = {"queue": row["name"], "quantile": quantile}
                summary.add_sample(summary.name, labels, milliseconds / 1000)
    return summary


# As text --------------------------------------------------------------------------------------------------------------


class _These(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _registry(metrics: Sequence[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_These(metrics))
    return registry


def openmetrics_text(metrics: Sequence[Metric]) -> str:
    """The metrics as OpenMetrics 1.0."""
    text: bytes = openmetrics.generate_latest(_registry(metrics))  # type: ignore[no-untyped-call]  # it has no annotations
    return text.decode()


def classic_text(metrics: Sequence[Metric]) -> str:
    """The metrics in Prometheus' text format 0.0.4."""
    return exposition.generate_latest(_registry(metrics)).decode()


def replace(path: str, text: str) -> None:
    """Let `path` hold `text` for everybody to read, in one step: a reader sees the old content or the new, never half of it.

    Raises `ControlError`. The name of the file in the making does not end in `.prom`, so node_exporter passes it over.
    """
    making = f"{path}.{os.getpid()}"
    try:
        with contextlib.ExitStack() as on_fault:
            descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            on_fault.callback(os.unlink, making)
            with open(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)  # whatever the umask
                file.write(text)
            os.rename(making, path)
            on_fault.pop_all()
    except OSError as fault:
        raise ControlError(ExitStatus.ERROR, f"cannot write {path}: {fault.strerror}") from None
