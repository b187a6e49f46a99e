from __future__ import annotations

from typing import Any

import pytest

from tests.control.serving import PaperBroker, worker
from zqd.control.commands import COMMANDS
from zqd.control.inquiries import REQUESTS_SHOWN
from zqd.ctl.tables import (
    NOW,
    VIEWS,
    WORKERS,
    Column,
    duration,
    latency,
    percent,
    plain,
    rate,
    render,
    size,
    table,
)

Rows = list[dict[str, Any]]


def lines(text: str) -> list[str]:
    """The lines of a text that ends its last one."""
    assert text.endswith("\n")
    return text.splitlines()


# Values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (12, "12"),
        ("Müller 漢", "Müller 漢"),
        (["a", "b"], "a b"),
        ([], "-"),
        ("\x1b[2Jmill\r\n", r"\x1b[2Jmill\r\n"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("left\u202eright", r"left\u202eright"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_a_value_is_plain_text_of_one_line(value: object, text: str) -> None:
    """Nothing that a peer calls itself reaches the terminal as a control sequence."""
    assert plain(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (3.24, "3.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min"),
        (303, "5 min 3 s"),
        (7500, "2 h 5 min"),
        (86399, "23 h 59 min"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
        (86400, "1 d"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds: float | None, text: str) -> None:
    """Two units at most."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (0.034, "0.03 ms"),
        (0.0996, "0.1 ms"),
        (1.23, "1.2 ms"),
        (9.97, "10 ms"),
        (250.4, "250 ms"),
        (999.6, "1.0 s"),
        (2500, "2.5 s"),
    ],
)
def test_a_latency_has_about_two_digits(milliseconds: float | None, text: str) -> None:
    """Milliseconds below a second, a duration from there on."""
    assert latency(milliseconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0, "0"),
        (0.016, "0.02"),
        (0.0955, "0.1"),
        (1.23, "1.2"),
        (9.96, "10"),
        (24999.6, "25000"),
    ],
)
def test_a_rate_has_about_two_digits(per_second: float | None, text: str) -> None:
    """And nothing is a plain 0."""
    assert rate(per_second) == text


@pytest.mark.parametrize(("share", "text"), [(None, "-"), (0, "0 %"), (0.034, "3 %"), (0.996, "100 %")])
def test_a_share_is_in_percent(share: float | None, text: str) -> None:
    """Whole ones."""
    assert percent(share) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (64 << 10, "64 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (100 << 20, "100 MiB"),
        (5 << 30, "5120 MiB"),
    ],
)
def test_a_size_is_in_the_unit_that_fits(octets: int | None, text: str) -> None:
    """Bytes to themselves, larger ones to about two digits."""
    assert size(octets) == text


# Tables


def test_columns_line_up() -> None:
    """Texts stand left, numbers right, and a heading as its column."""
    columns = [Column("NAME", "name"), Column("N", "n"), Column("STATE", "state")]
    rows: Rows = [{"name": "a", "n": 1234, "state": "busy"}, {"name": "longer", "n": None, "state": "idle"}]
    assert lines(table(columns, rows)) == [
        "NAME       N  STATE",
        "a       1234  busy",
        "longer     -  idle",
    ]


def test_a_row_may_lack_what_the_table_shows() -> None:
    """An older zqd that does not know a key yet is no reason to fail."""
    rows: Rows = [{"a": "x", "b": None}, {}]
    assert lines(table([Column("A", "a"), Column("B", "b.c")], rows)) == [
        "A  B",
        "x  -",
        "-  -",
    ]


def test_wide_characters_take_their_columns() -> None:
    """What is aligned is what a terminal shows, not the count of code points."""
    shown = lines(
        table([Column("A", "a"), Column("B", "b")], [{"a": "漢字", "b": "x"}, {"a": "e\u0301", "b": "x"}])
    )
    assert shown == ["A     B", "漢字  x", "e\u0301     x"]


def test_a_narrow_terminal_clips_the_longest_texts() -> None:
    """Names give way and numbers do not, so that a row stays a line."""
    columns = [Column("NAME", "name"), Column("ADDRESS", "address"), Column("COUNT", "count")]
    rows = [{"name": "n" * 40, "address": "tcp://[::1]:5559", "count": 123_456_789}]
    shown = lines(table(columns, rows, 40))
    assert [len(line) for line in shown] == [40, 40]
    assert shown[1] == "nnnnnnnnnnnn…  tcp://[::1]:5…  123456789"


def test_a_pipe_gets_everything() -> None:
    """Without a terminal nothing is clipped or left out."""
    shown = table([Column("NAME", "name"), Column("N", "n", optional=True)], [{"name": "n" * 400, "n": 7}])
    assert lines(shown)[1] == "n" * 400 + "  7"


def test_a_narrow_terminal_goes_without_the_optional_columns() -> None:
    """The last one goes first, and none for nothing; only then are texts clipped."""
    columns = [
        Column("NAME", "name"),
        Column("FIRST", "n", optional=True),
        Column("SECOND", "n", optional=True),
        Column("LAST", "n"),
    ]
    rows = [{"name": "n" * 10, "n": 1}]
    headings = [lines(table(columns, rows, width))[0].split() for width in (31, 30, 23, 22, 15)]
    assert headings == [
        ["NAME", "FIRST", "SECOND", "LAST"],
        ["NAME", "FIRST", "LAST"],
        ["NAME", "FIRST", "LAST"],
        ["NAME", "LAST"],
        ["NAME", "LAST"],
    ]
    assert lines(table(columns, rows, 15))[1] == "nnnnnnnn…     1"


# Views


def test_the_status_is_headed_by_the_daemon() -> None:
    """The first line says version, pid, state and age."""
    status = PaperBroker().status()
    assert lines(render("status", {}, status))[0] == f"zqd 0.1.0, pid {status['pid']}, running, up 2 h 5 min"


def test_the_status_shows_what_each_queue_does() -> None:
    """Three tables: now, since the start, the latencies; a dash for what was not measured; and a sentence for each."""
    assert lines(render("status", {}, PaperBroker().status()))[1:] == [
        "",
        "QUEUE    STATE    WORKERS  IDLE  CLIENTS  QUEUED  IN FLIGHT  OLDEST WAIT  RECEIVED/S  REPLIED/S",
        "default  running     1000  2000     3000    4000       5000        3.2 s         123       0.03",
        "slow     running        0     0        0       0          0            -           0          0",
        "",
        "QUEUE    RECEIVED  REPLIED  FAILED  DROPPED  RETRIED  ORPHANED   LATE  MALFORMED",
        "default      6000     7000    8000     9000    10000     11000  12000      13000",
        "slow            0        0       0        0        0         0      0          0",
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
    """What `_by_shape` would make of a result is for commands that are newer than this zqctl."""
    assert set(VIEWS) == set(COMMANDS)


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
