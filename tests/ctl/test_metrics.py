from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from tests.control.serving import PaperBroker, queue, worker
from tests.ctl.sessions import PaperSession, refused
from zqd.core.regime import State
from zqd.ctl import metrics
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.stats import Counters

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def answers() -> dict[str, Any]:
    """What a zqd with two queues says."""
    broker = PaperBroker()
    status = broker.status() | {"descriptors": {"limit": 1024, "reserve": 64, "used": 17}}
    return {"status": status, "workers": broker.workers()}


def samples(text: str, *, classic: bool = False) -> Samples:
    """What a reader of the text understands: name and labels, and the value."""
    families = (parse_classic if classic else parse_openmetrics)(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def printed(answers: dict[str, Any]) -> Samples:
    """What `zqctl metrics` prints."""
    session = PaperSession(answers)
    assert metrics.run(session, {"textfile": None}) == 0
    return samples(session.printed)


def of(queue: str, **labels: str) -> frozenset[tuple[str, str]]:
    """The labels of a queue's sample."""
    return frozenset({"queue": queue, **labels}.items())


NONE: frozenset[tuple[str, str]] = frozenset()


def test_it_says_which_zqd_answered(answers: dict[str, Any]) -> None:
    """It is up, which version it is, since when, and its descriptors."""
    found = printed(answers)
    assert found["zqd_up", NONE] == 1
    assert found["zqd_build_info", frozenset({("version", "0.1.0")})] == 1
    assert found["zqd_uptime_seconds", NONE] == 7500.4
    descriptors = [found[f"zqd_descriptors_{key}", NONE] for key in ("limit", "reserve", "used")]
    assert descriptors == [1024, 64, 17]


@pytest.mark.parametrize("key", Counters().as_dict())
def test_every_count_of_a_queue_is_a_counter(key: str, answers: dict[str, Any]) -> None:
    """Each of zqd's counters is there, under a name that ends in what it counts and `_total`."""
    found = printed(answers)
    (name,) = [name for name, labels in found if name.endswith(f"_{key}_total") and labels == of("default")]
    assert found[name, of("default")] == answers["status"]["queues"][0][key]
    assert found[name, of("slow")] == 0


def test_what_is_now_is_a_gauge(answers: dict[str, Any]) -> None:
    """Peers, requests, the oldest wait in seconds, the busy share."""
    found, row = printed(answers), answers["status"]["queues"][0]
    expected = {
        "zqd_workers": row["workers"],
        "zqd_workers_idle": row["idle_workers"],
        "zqd_clients": row["clients"],
        "zqd_requests_queued": row["queued"],
        "zqd_requests_in_flight": row["in_flight"],
        "zqd_oldest_wait_seconds": 3.2,
        "zqd_workers_busy_ratio": 0.97,
    }
    assert {name: found[name, of("default")] for name in expected} == expected
    assert found["zqd_oldest_wait_seconds", of("slow")] == 0


def test_workers_that_are_set_aside_are_counted(answers: dict[str, Any]) -> None:
    """By their queue; a queue without one has a 0, for an alert that wants to see a number."""
    answers["workers"] = [worker("w1", state="quarantined"), worker("w2", state="draining"), worker("w3")]
    found = printed(answers)
    assert found["zqd_workers_quarantined", of("default")] == 1
    assert found["zqd_workers_draining", of("default")] == 1
    assert found["zqd_workers_quarantined", of("slow")] == 0


def test_latencies_are_summaries_in_seconds(answers: dict[str, Any]) -> None:
    """Quantiles of the last minute, the longest as quantile 1; without a request there are none."""
    found = printed(answers)
    for name in ("zqd_request_wait_seconds", "zqd_request_run_seconds"):
        values = [found[name, of("default", quantile=quantile)] for quantile in ("0.5", "0.9", "0.99")]
        assert values == pytest.approx([34e-6, 250e-6, 1.23e-3])
        assert not [labels for sample, labels in found if sample == name and ("queue", "slow") in labels]
    assert found["zqd_request_wait_seconds", of("default", quantile="1")] == pytest.approx(2.5)


def test_one_queue_of_a_name_is_told(answers: dict[str, Any]) -> None:
    """The one that lives: a series has one value, and with the sum of both a counter would fall when the old one ends."""
    before = printed(answers)
    answers["status"]["queues"].append(queue("default", measured=True) | {"state": "stopping", "received": 1})
    assert printed(answers) == before


def test_exactly_one_state_is_set(answers: dict[str, Any]) -> None:
    """The states are those of the core; the one that a queue is in has 1."""
    answers["status"]["queues"][1]["state"] = "paused"
    found = printed(answers)
    states = {
        state.value: found["zqd_queue_state", of("slow", zqd_queue_state=state.value)] for state in State
    }
    assert states == {state.value: float(state is State.PAUSED) for state in State}


def test_a_state_of_a_newer_zqd_is_shown_as_well(answers: dict[str, Any]) -> None:
    """What this zqctl has never heard of is one more state."""
    answers["status"]["queues"][0]["state"] = "dreaming"
    assert printed(answers)["zqd_queue_state", of("default", zqd_queue_state="dreaming")] == 1


def test_what_an_older_zqd_does_not_say_is_left_out(answers: dict[str, Any]) -> None:
    """A missing key costs its own metric, and no other."""
    before = printed(answers)
    del answers["status"]["descriptors"]
    for row in answers["status"]["queues"]:
        del row["late"], row["run_ms"]
    gone = {name for name, _ in before.keys() - printed(answers).keys()}
    assert gone == {
        "zqd_descriptors_limit",
        "zqd_descriptors_reserve",
        "zqd_descriptors_used",
        "zqd_replies_late_total",
        "zqd_request_run_seconds",
    }


def test_the_textfile_says_the_same_in_the_classic_format(answers: dict[str, Any], tmp_path: Path) -> None:
    """node_exporter takes neither OpenMetrics' types nor its end."""
    path = tmp_path / "zqd.prom"
    session = PaperSession(answers)
    assert metrics.run(session, {"textfile": str(path)}) == 0
    text = path.read_text()
    assert samples(text, classic=True) == printed(answers)
    types = {line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert types == {"counter", "gauge", "summary"}
    assert "# EOF" not in text
    assert "# UNIT" not in text
    assert session.printed == ""


def test_the_textfile_is_replaced_whole_and_for_everybody_to_read(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever the umask, mode 0644; who has the old file open goes on reading the old; nothing else is left behind."""
    path = tmp_path / "zqd.prom"
    path.write_text("old")
    path.chmod(0o600)
    umask = os.umask(0o077)
    try:
        with path.open() as before:
            metrics.run(PaperSession(answers), {"textfile": str(path)})
            assert before.read() == "old"
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["zqd.prom"]


@pytest.mark.parametrize("status", [ExitStatus.NOT_RUNNING, ExitStatus.ERROR, ExitStatus.NO_PERMISSION])
def test_no_answer_is_up_0(status: ExitStatus, tmp_path: Path) -> None:
    """It is written, and nothing else, to either place; then the reason is raised with its status."""
    path, session = tmp_path / "zqd.prom", PaperSession(refused(status))
    for textfile in (None, str(path)):
        with pytest.raises(ControlError) as raised:
            metrics.run(session, {"textfile": textfile})
        assert raised.value.status == status
    assert samples(session.printed) == samples(path.read_text(), classic=True) == {("zqd_up", NONE): 0}


def test_a_command_line_without_sense_writes_nothing(tmp_path: Path) -> None:
    """Where zqd was not even asked, nothing is known of it."""
    session = PaperSession(refused(ExitStatus.USAGE))
    with pytest.raises(ControlError):
        metrics.run(session, {"textfile": str(tmp_path / "zqd.prom")})
    assert not os.listdir(tmp_path)


def test_a_file_that_cannot_be_written_is_an_error(answers: dict[str, Any], tmp_path: Path) -> None:
    """With the path and the system's reason; nothing half-made stays."""
    (tmp_path / "zqd.prom").mkdir()
    for path in (tmp_path / "none" / "zqd.prom", tmp_path / "zqd.prom"):
        with pytest.raises(ControlError, match=rf"^cannot write {path}: ") as raised:
            metrics.run(PaperSession(answers), {"textfile": str(path)})
        assert raised.value.status == ExitStatus.ERROR
    assert os.listdir(tmp_path) == ["zqd.prom"]


def test_without_prometheus_client_the_package_is_named() -> None:
    """Only this command needs it, so that zqctl may be installed without."""
    script = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from zqd.ctl.program import main; sys.exit(main(['metrics']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "zqctl: metrics need the Python package prometheus_client (python3-prometheus-client)\n"
    )
