from __future__ import annotations

from typing import Any

import pytest

from tests.control.serving import PaperBroker, worker
from zqd.control.commands import COMMANDS
from zqd.ctl.tables import VIEWS, Column, duration, latency, plain, render, table

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
    """Without a terminal nothing is clipped."""
    assert "n" * 400 in table([Column("NAME", "name")], [{"name": "n" * 400}])


# Views


def test_every_view_is_of_a_command() -> None:
    """A view without its command would be dead."""
    assert set(VIEWS) <= set(COMMANDS)


def test_the_status_is_headed_by_the_daemon() -> None:
    """The first line says version, pid, state and age."""
    status = PaperBroker().status()
    assert lines(render("status", {}, status))[0] == f"zqd 0.1.0, pid {status['pid']}, running, up 2 h 5 min"


def test_the_status_shows_what_each_queue_does() -> None:
    """Three tables: now, since the start, and the latencies; a dash for what was not measured."""
    assert lines(render("status", {}, PaperBroker().status()))[1:] == [
        "",
        "QUEUE    STATE    WORKERS  IDLE  CLIENTS  QUEUED  IN FLIGHT  OLDEST WAIT",
        "default  running     1000  2000     3000    4000       5000        3.2 s",
        "slow     running        0     0        0       0          0            -",
        "",
        "QUEUE    RECEIVED  REPLIED  FAILED  DROPPED  RETRIED  ORPHANED   LATE  MALFORMED",
        "default      6000     7000    8000     9000    10000     11000  12000      13000",
        "slow            0        0       0        0        0         0      0          0",
        "",
        "QUEUE    WAIT P50  WAIT P99  WAIT MAX  RUN P50  RUN P99  RUN MAX",
        "default   0.03 ms    1.2 ms     2.5 s  0.03 ms   1.2 ms    2.5 s",
        "slow            -         -         -        -        -        -",
    ]


def test_queues_show_their_endpoints_first() -> None:
    """Where a queue listens is what its own command adds."""
    assert lines(render("queues", {"queue": "slow"}, PaperBroker().status()["queues"][1:]))[:2] == [
        "QUEUE  FRONTEND              BACKEND",
        "slow   tcp://127.0.0.1:5559  tcp://127.0.0.1:5560 ipc:///run/zqd/slow.sock",
    ]


def test_workers_are_rows() -> None:
    """One line a worker, with a name that cannot colour the terminal."""
    assert lines(render("workers", {}, PaperBroker().workers())) == [
        "ID  NAME          QUEUE    ADDRESS                 PID  STATE  IN FLIGHT  OLDEST  REPLIED  CONNECTED",
        r"w1  mill\x1b[31m  default  tcp://127.0.0.1:40001  4711  busy           1   0.2 s        0       59 s",
        "w2  -             slow     tcp://127.0.0.1:40002     -  idle           0       -        0       59 s",
    ]


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
    ],
)
def test_an_empty_table_says_so(command: str, args: dict[str, Any], text: str) -> None:
    """Nobody there is an answer in words, not a lone heading."""
    assert render(command, args, []) == text


def test_ping_and_version_are_a_line() -> None:
    """The small answers are one sentence each."""
    assert render("ping", {}, {"pid": 7}) == "zqd answers, pid 7\n"
    assert render("version", {}, {"version": "0.1.0", "protocol": 1}) == "zqd 0.1.0, control protocol 1\n"


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
