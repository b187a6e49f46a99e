from __future__ import annotations

from typing import Any

import pytest

from tests.control.serving import PaperBroker, worker
from zqd.control.commands import COMMANDS
from zqd.control.inquiries import REQUESTS_SHOWN
from zqd.ctl.tables import table
from zqd.ctl.views import NOW, VIEWS, WORKERS, render


def lines(text: str) -> list[str]:
    """The lines of a text that ends its last one."""
    assert text.endswith("\n")
    return text.splitlines()


def test_the_status_is_headed_by_the_daemon() -> None:
    """The first line says version, pid, state and age."""
    status = PaperBroker().status()
    assert lines(render("status", {}, status))[0] == f"zqd 0.1.0, pid {status['pid']}, running, up 2 h 5 min"


def test_the_status_tells_where_zqd_stands() -> None:
    """What a zqd of today says more of itself: log level, files read, descriptors."""
    more: dict[str, Any] = {
        "log_level": "info",
        "config": [],
        "descriptors": {"limit": 1024, "used": 12, "reserve": 32},
    }
    shown = lines(render("status", {}, PaperBroker().status() | more))
    assert shown[0].endswith(", up 2 h 5 min, log level info")
    assert shown[1:4] == [
        "configuration: all defaults",
        "descriptors: 12 of 1024 used by clients and workers, 32 kept for the rest",
        "",
    ]
    more["config"] = ["/etc/zqd/zqd.toml", "/etc/zqd/zqd.toml.d/a.toml"]
    assert (
        lines(render("status", {}, PaperBroker().status() | more))[1]
        == "configuration: /etc/zqd/zqd.toml /etc/zqd/zqd.toml.d/a.toml"
    )


def test_the_status_shows_what_each_queue_does() -> None:
    """Three tables: now, since the start, the latencies; a dash for what was not measured; and a sentence for each."""
    assert lines(render("status", {}, PaperBroker().status()))[1:] == [
        "",
        "QUEUE    STATE    WORKERS  IDLE  CLIENTS  QUEUED  IN FLIGHT  OLDEST WAIT  RECEIVED/S  REPLIED/S",
        "default  running     1000  2000     3000    4000       5000        3.2 s         123       0.03",
        "slow     running        0     0        0       0          0            -           0          0",
        "",
        "QUEUE    RECEIVED  REPLIED  FAILED  DROPPED  RETRIED  ORPHANED   LATE  MALFORMED  REFUSED",
        "default      6000     7000    8000     9000    10000     11000  12000      13000    14000",
        "slow            0        0       0        0        0         0      0          0        0",
        "",
        "QUEUE    WAIT P50  WAIT P90  WAIT P99  WAIT MAX  RUN P50  RUN P90  RUN P99  RUN MAX",
        "default   0.03 ms    0.2 ms    1.2 ms     2.5 s  0.03 ms   0.2 ms   1.2 ms    2.5 s",
        "slow            -         -         -         -        -        -        -        -",
        "",
        "default: 4 of 4 workers busy, 97 % over the last minute, oldest wait 3.2 s: add workers",
        "slow: no workers",
    ]


def test_the_status_of_an_older_zqd_is_shown_as_well() -> None:
    """One that tells neither rates nor a sentence yet, as the contract of the first release has it."""
    new = {"received_per_s", "replied_per_s", "busy", "saturation", "since_start"}
    queues = [{key: row[key] for key in row if key not in new} for row in PaperBroker().status()["queues"]]
    shown = lines(render("status", {}, PaperBroker().status() | {"queues": queues}))
    assert shown[-1].split() == ["slow", *"--------"]


def test_the_status_fits_a_hundred_columns() -> None:
    """With all that it can show, rates and p90."""
    text = render("status", {}, PaperBroker().status())
    assert render("status", {}, PaperBroker().status(), 100) == text
    assert max(map(len, lines(text))) <= 100


def test_a_narrower_status_goes_without_rates() -> None:
    """In 80 columns everything else of what a queue does now is whole."""
    shown = lines(table(NOW, PaperBroker().status()["queues"], 80))
    assert shown[0].endswith("OLDEST WAIT")
    assert shown[1].endswith("3.2 s")


def test_a_status_of_eighty_columns_fits() -> None:
    """Of what went wrong the last that there is no room for is left out, never the law's numbers."""
    shown = lines(render("status", {}, PaperBroker().status(), 80))
    assert max(map(len, shown[:-2])) <= 80  # the sentences are as long as they are
    (heading,) = [line.split() for line in shown if "RECEIVED" in line.split()]
    counts = ["RECEIVED", "REPLIED", "FAILED", "DROPPED", "RETRIED", "ORPHANED", "LATE", "MALFORMED"]
    assert heading == ["QUEUE", *counts]


def test_what_never_went_wrong_has_no_column() -> None:
    """However wide the terminal is."""
    status = PaperBroker().status()
    for row in status["queues"]:
        row.update(dict.fromkeys(("retried", "orphaned", "malformed", "refused"), 0))
    (heading,) = [line for line in lines(render("status", {}, status)) if " RECEIVED " in line]
    assert heading.split() == ["QUEUE", "RECEIVED", "REPLIED", "FAILED", "DROPPED", "LATE"]


def test_a_queue_that_ends_is_told_from_its_successor() -> None:
    """They may have one name."""
    status = PaperBroker().status()
    status["queues"][1] |= {"name": "default", "state": "stopping"}
    shown = lines(render("status", {}, status))
    assert shown[-2].startswith("default: 4 of 4")
    assert shown[-1] == "default (stopping): no workers"


def test_queues_show_their_endpoints_first() -> None:
    """Where a queue listens is what its own command adds."""
    assert lines(render("queues", {"queue": "slow"}, PaperBroker().status()["queues"][1:]))[:2] == [
        "QUEUE  FRONTEND              BACKEND",
        "slow   tcp://127.0.0.1:5559  tcp://127.0.0.1:5560 ipc:///run/zqd/slow.sock",
    ]


def test_workers_are_rows() -> None:
    """One line a worker, with a name that cannot colour the terminal."""
    assert lines(render("workers", {}, PaperBroker().workers())) == [
        "ID  NAME          QUEUE    ADDRESS                 PID  STATE  IN FLIGHT  OLDEST  REPLIED  REPLIES/S  BUSY  CONNECTED",
        r"w1  mill\x1b[31m  default  tcp://127.0.0.1:40001  4711  busy           1   0.2 s       42        0.7  93 %       59 s",
        "w2  -             slow     tcp://127.0.0.1:40002     -  idle           0       -        0          0   0 %       59 s",
    ]


def test_workers_show_what_they_have_said_of_themselves() -> None:
    """Columns for it there are only if one of them has said it."""
    rows = [worker("w1", capacity=8, handler="shop:price", unit=None), worker("w2")]
    shown = lines(render("workers", {}, rows))
    assert shown[0].endswith("CONNECTED  CAPACITY  HANDLER")
    assert shown[1].endswith("59 s         8  shop:price")


def test_workers_of_a_hundred_columns_are_whole() -> None:
    """Where their rates do not fit, names and addresses are not clipped for them."""
    shown = lines(table(WORKERS, PaperBroker().workers(), 100))
    assert [r"mill\x1b[31m" in shown[1], "tcp://127.0.0.1:40001" in shown[1]] == [True, True]
    assert "REPLIES/S" not in shown[0]
    assert max(map(len, shown)) <= 100


def test_requests_are_rows() -> None:
    """One line a request, oldest first, as zqd has sorted them."""
    assert lines(render("requests", {}, PaperBroker().requests())) == [
        "ID                            QUEUE    STATE             AGE  ATTEMPTS  CLIENT  WORKER     SIZE",
        "7a6f6f0000000000000000000001  default  in flight  1 min 15 s         0  c1      w1      1.5 KiB",
        "7a6f6f0000000000000000000002  default  queued          1.2 s         0  c1      -          12 B",
        "7a6f6f0000000000000000000003  slow     queued          0.0 s         1  c1      -       3.0 MiB",
    ]


@pytest.mark.parametrize(("shown", "limit"), [(3, 3), (REQUESTS_SHOWN, None)])
def test_a_list_of_requests_that_was_cut_says_so(shown: int, limit: int | None) -> None:
    """A person must not take the first hundred for all."""
    rows = PaperBroker().requests()[:1] * shown
    args = {} if limit is None else {"limit": limit}
    assert lines(render("requests", args, rows))[-1] == f"the oldest {shown}, there may be more: --limit N"
    assert "--limit" not in render("requests", args, rows[:-1])


def test_clients_are_rows() -> None:
    """One line a client."""
    assert lines(render("clients", {}, PaperBroker().clients())) == [
        "ID  NAME  QUEUE    ADDRESS                STATE   QUEUED  IN FLIGHT  OLDEST  RECEIVED  REPLIED  CONNECTED",
        "c1  -     default  tcp://127.0.0.1:50001  active       2          1   1.2 s        12        9  2 h 5 min",
    ]


@pytest.mark.parametrize(
    ("command", "args", "text"),
    [
        ("workers", {"queue": "default"}, "no workers connected to queue default\n"),
        ("clients", {"queue": "default"}, "no clients connected to queue default\n"),
        ("workers", {}, "no workers connected\n"),
        ("requests", {}, "no requests wait or are in flight\n"),
        ("requests", {"queue": "slow"}, "no requests wait or are in flight in queue slow\n"),
    ],
)
def test_an_empty_table_says_so(command: str, args: dict[str, Any], text: str) -> None:
    """Nobody there is an answer in words, not a lone heading."""
    assert render(command, args, []) == text


def test_ping_and_version_are_a_line() -> None:
    """The small answers are one sentence each."""
    assert render("ping", {}, {"pid": 7}) == "zqd answers, pid 7\n"
    assert render("version", {}, {"version": "0.1.0", "protocol": 1}) == "zqd 0.1.0, control protocol 1\n"


QUEUE = {"name": "default", "state": "paused", "workers": 1, "queued": 12, "in_flight": 3}
WORKER = {"id": "w3", "name": "mi\x1bll", "state": "draining", "in_flight": 1}


@pytest.mark.parametrize(
    ("command", "result", "text"),
    [
        ("pause", QUEUE, "queue default: paused, 12 queued, 3 in flight\n"),
        ("resume", QUEUE | {"state": "running"}, "queue default: running, 12 queued, 3 in flight\n"),
        ("drain", QUEUE | {"state": "draining"}, "queue default: draining, 12 queued, 3 in flight\n"),
        ("drain", WORKER, "worker w3 (mi\\x1bll): draining, holds 1\n"),
        ("drain", WORKER | {"name": "", "in_flight": 0}, "worker w3: draining, holds nothing\n"),
        ("drain", WORKER | {"name": "", "state": "gone", "in_flight": 0}, "worker w3: gone\n"),
        ("resume", WORKER | {"state": "busy"}, "worker w3 (mi\\x1bll): busy, holds 1\n"),
        ("kick", {"kicked": "w3"}, "kicked w3\n"),
        ("log-level", {"log_level": "debug"}, "log level debug\n"),
        ("stop", {"state": "stopping"}, "zqd is stopping\n"),
        ("cancel", {"cancelled": "7a6f6f01"}, "cancelled 7a6f6f01\n"),
        (
            "wait",
            {"queues": [QUEUE, QUEUE | {"name": "slow", "workers": 2, "queued": 0}]},
            (
                "queue default: paused, 1 worker, 12 queued, 3 in flight\n"
                "queue slow: paused, 2 workers, 0 queued, 3 in flight\n"
            ),
        ),
    ],
)
def test_an_order_is_answered_by_a_line(command: str, result: object, text: str) -> None:
    """It says who was meant and what has become of it; `wait` has a line for each queue."""
    assert render(command, {}, result) == text


def test_every_command_has_a_view() -> None:
    """To be laid out by its shape is for commands that are newer than this zqctl."""
    assert set(VIEWS) >= set(COMMANDS)


def test_the_configuration_is_a_table() -> None:
    """Each key with its value, its default, and where the value comes from."""
    rows = [
        {
            "key": "log_level",
            "value": "info",
            "text": "info",
            "default": "info",
            "source": "default",
            "reloadable": True,
        },
        {
            "key": "queues.q.prefetch",
            "value": 2,
            "text": "2",
            "default": "1",
            "source": "--set",
            "reloadable": False,
        },
    ]
    assert lines(render("config", {}, rows)) == [
        "KEY                VALUE  DEFAULT  SOURCE   RELOADABLE",
        "log_level          info   info     default  yes",
        "queues.q.prefetch  2      1        --set    no",
    ]


def test_a_reload_tells_what_it_has_changed() -> None:
    """A line for each change, with what must wait for a restart; or that there was nothing to do."""
    result = {
        "changes": [
            {"key": "queues.q.prefetch", "old": "1", "new": "2", "applied": True},
            {"key": "control", "old": "ipc:///a", "new": "ipc:///b", "applied": False},
        ],
        "added": ["new"],
        "removed": ["old"],
    }
    assert lines(render("reload", {}, result)) == [
        "queues.q.prefetch: 1 -> 2",
        "control: ipc:///a -> ipc:///b (after a restart)",
        "queue new: added",
        "queue old: removed, it ends when its requests are answered",
    ]
    assert render("reload", {}, {"changes": [], "added": [], "removed": []}) == "nothing has changed\n"


def test_a_reload_tells_of_keys_too() -> None:
    """The setting is what it was, and its file is not; both may have changed."""
    key = "queues.q.frontend_authorized_keys"
    changes = [
        {"key": key, "old": '"/etc/a"', "new": '"/etc/b"', "applied": True},
        {"key": key, "old": "1 key", "new": "2 keys (1 added)", "applied": True},
    ]
    assert lines(render("reload", {}, {"changes": changes, "added": [], "removed": []})) == [
        f'{key}: "/etc/a" -> "/etc/b"',
        f"{key}: 1 key -> 2 keys (1 added)",
    ]


def test_states_are_coloured_where_that_is_wanted() -> None:
    """Each table that has a state has it in its colour."""
    broker = PaperBroker()
    results = {"status": broker.status(), "queues": broker.queue_rows, "workers": broker.worker_rows}
    results |= {"clients": broker.client_rows, "requests": broker.request_rows}
    for command, result in results.items():
        assert "\x1b[32m" in render(command, {}, result, color=True)
        assert "\x1b" not in render(command, {}, result)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            [{"id": "a", "age_s": 1}, {"id": "b", "size": 3}],
            "ID  AGE S  SIZE\na       1     -\nb       -     3\n",
        ),
        ({"moved": 3, "to": "\x07"}, "moved: 3\nto: \\x07\n"),
        (["one", "two"], "one\ntwo\n"),
        ([], "none\n"),
        ("told", "told\n"),
        (None, ""),
    ],
)
def test_a_command_without_a_view_is_laid_out_by_shape(result: object, text: str) -> None:
    """A new row of the COMMANDS table can be used before it has a view."""
    assert render("a-new-command", {}, result) == text


def test_a_workers_name_may_be_anything() -> None:
    """A worker that calls itself a line break stays one line."""
    assert len(lines(render("workers", {}, [worker("w1", name="a\nb")]))) == 2
