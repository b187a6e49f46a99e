from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.serving import PaperBroker, queue, worker
from zqd.control.commands import COMMANDS
from zqd.control.inquiries import REQUESTS_SHOWN
from zqd.ctl.board import PANES, SMALLEST, Look, Order, Snapshot, layout, press

BROKER = PaperBroker()
ROWS: dict[str, list[dict[str, Any]]] = {
    "workers": BROKER.worker_rows,
    "clients": BROKER.client_rows,
    "requests": BROKER.request_rows,
    "queues": BROKER.queue_rows,
}
MORE = [worker(f"w{number}", name=f"mill-{number}", replied_per_s=number % 7) for number in range(1, 41)]


def snapshot(pane: str = "workers", rows: list[dict[str, Any]] | None = None) -> Snapshot:
    """What the broker of paper says, with those rows or its own."""
    return Snapshot("12:34:56", BROKER.status(), ROWS[pane] if rows is None else rows)


def ids(lines: list[str]) -> list[str]:
    """The ids of the workers that are shown, in order."""
    return [line.split()[0] for line in lines if re.match(r"w[0-9]+ ", line)]


def pressed(keys: str, look: Look | None = None, rows: int = 40) -> Look:
    """The look after letters, one by one."""
    look = look or Look()
    for key in keys:
        look = press(look, key, rows)
    return look


# The picture


def test_the_whole_picture() -> None:
    """The daemon, its queues with what is to be said of them, the workers, the keys."""
    status = BROKER.status() | {"pid": 7}
    assert layout(Snapshot("12:34:56", status, BROKER.worker_rows), Look(), 150, 14) == [
        "zqd 0.1.0, pid 7, running, up 2 h 5 min" + " " * 103 + "12:34:56",
        "",
        "QUEUE    STATE    QUEUED  IN FLIGHT  IDLE  WORKERS  BUSY  OLDEST  REPLIED/S  RECEIVED/S  CLIENTS  WAIT P50     P99  RUN P50     P99",
        "default  running    4000       5000  2000     1000  97 %   3.2 s       0.03         123     3000   0.03 ms  1.2 ms  0.03 ms  1.2 ms",
        "and 1 more",
        "default: 4 of 4 workers busy, 97 % over the last minute, oldest wait 3.2 s: add workers",
        "",
        "1 to 2 of 2 workers",
        "ID▲  NAME          STATE  IN FLIGHT  REPLIES/S  BUSY  OLDEST  QUEUE    CONNECTED   PID  ADDRESS",
        r"w1   mill\x1b[31m  busy           1        0.7  93 %   0.2 s  default       59 s  4711  tcp://127.0.0.1:40001",
        "w2   -             idle           0          0   0 %       -  slow          59 s     -  tcp://127.0.0.1:40002",
        "",
        "",
        "q quit  Tab clients  < > sort  r reverse  p pause  h help",
    ]


def test_a_high_terminal_shows_every_queue() -> None:
    """And a sentence for each."""
    lines = layout(snapshot(), Look(), 100, 40)
    assert [line for line in lines if line.startswith("slow: ")] == ["slow: no workers"]
    assert not any(line.startswith("and ") for line in lines)


def test_without_an_answer_it_says_why() -> None:
    """With the time of the last try, and nothing that was true before."""
    trouble = "zqd is not running: nothing listens at ipc:///run/zqd/control.sock"
    lines = layout(Snapshot("12:34:56", trouble=trouble), Look(), 40, 10)
    assert [line.rstrip() for line in lines] == [
        "zqctl top                       12:34:56",
        "",
        "zqd is not running: nothing listens at",
        "ipc:///run/zqd/control.sock",
        "",
        "trying again",
        *[""] * 3,
        "q quit  Tab clients  < > sort  r revers…",
    ]


def test_nobody_is_an_answer() -> None:
    """In words."""
    assert "no workers" in layout(snapshot(rows=[]), Look(), 100, 30)


def test_the_help_names_every_key() -> None:
    """In place of the tables."""
    lines = layout(snapshot(), Look(help=True), 80, 30)
    text = " ".join(lines)
    assert all(f" {key} " in f" {text} " for key in ("Tab", "< >", "r", "PgUp", "p", "h ?", "q"))
    assert not any(line.startswith("QUEUE") for line in lines)


def test_states_are_coloured_on_request() -> None:
    """And nothing else changes."""
    plain, colored = (layout(snapshot(), Look(), 100, 30, color=color) for color in (False, True))
    assert "\x1b[32mbusy\x1b[0m" in "".join(colored)
    assert [re.sub(r"\x1b\[[0-9]+m", "", line) for line in colored] == plain


@pytest.mark.parametrize(("width", "height"), [(SMALLEST[0] - 1, 30), (100, SMALLEST[1] - 1), (1, 1), (0, 0)])
def test_a_terminal_that_is_too_small_is_told_so(width: int, height: int) -> None:
    """As far as there is room for that."""
    lines = layout(snapshot(), Look(), width, height)
    assert (
        lines
        == ["too small for zqctl top"[: max(0, width - 1)] + "…" * (0 < width < 23) + " " * (width - 23)][
            :height
        ]
    )


@given(
    st.integers(0, 200),
    st.integers(0, 60),
    st.sampled_from(list(PANES)),
    st.integers(0, 50),
    st.integers(0, 9),
    st.booleans(),
)
def test_no_size_breaks_the_picture(
    width: int, height: int, pane: str, rows: int, queues: int, paused: bool
) -> None:
    """Never more lines than there are, nor a wider one; the keys are in the last."""
    long = [worker(f"w{number}", name="n" * 300, address="a" * 300) for number in range(rows)]
    status = BROKER.status() | {"queues": [*BROKER.queue_rows, *BROKER.queue_rows * queues]}
    lines = layout(
        Snapshot("12:34:56", status, long if pane == "workers" else ROWS[pane]),
        Look(pane, paused=paused),
        width,
        height,
    )
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    if width >= SMALLEST[0] and height >= SMALLEST[1]:
        assert len(lines) == height
        assert lines[-1].startswith("q quit")


def test_a_pane_is_a_command() -> None:
    """What the lower half shows is what that command answers."""
    assert set(PANES) <= set(COMMANDS)
    for pane, columns in PANES.items():
        assert all(column.key.partition(".")[0] in ROWS[pane][0] for column in columns)


# Queues

FORTY = [queue("default", measured=False) | {"name": f"q{number}"} for number in range(1, 41)]


def queue_names(lines: list[str]) -> list[str]:
    """The names of the queues that are shown, in order."""
    return [line.split()[0] for line in lines if re.match(r"q[0-9]+ ", line)]


@pytest.mark.parametrize(
    "trouble",
    [
        {"state": "paused"},
        {"workers": 4, "saturation": "4 of 4 workers busy, oldest wait 3.2 s: add workers"},
        {"saturation": "no workers, oldest wait 3.2 s: start workers"},
        {"oldest_wait_s": 3.2},
    ],
)
def test_the_queue_in_trouble_is_seen(trouble: dict[str, Any]) -> None:
    """Of forty queues in 24 lines that one is the first; the others are as they come, and need no workers while nothing waits."""
    queues = [row | trouble if row["name"] == "q33" else row for row in FORTY]
    lines = layout(Snapshot("12:34:56", BROKER.status() | {"queues": queues}), Look(), 100, 24)
    assert queue_names(lines)[:3] == ["q33", "q1", "q2"]
    assert "and 36 more" in lines


def test_trouble_is_ordered() -> None:
    """One that needs workers or does not run before all others, the longest wait first among equals."""
    waits: dict[str, dict[str, Any]] = {
        "q5": {"oldest_wait_s": 9.0},
        "q6": {"state": "paused"},
        "q7": {"state": "paused", "oldest_wait_s": 1.0},
    }
    queues = [row | waits.get(row["name"], {}) for row in FORTY]
    lines = layout(Snapshot("12:34:56", BROKER.status() | {"queues": queues}), Look(), 100, 24)
    assert queue_names(lines) == ["q7", "q6", "q5", "q1"]


def test_queues_are_a_pane_that_is_sorted_and_scrolled() -> None:
    """It has all the room; at first the longest wait is the first row."""
    rows = [row | {"oldest_wait_s": float(at % 40), "clients": at} for at, row in enumerate(FORTY, 1)]
    shown = Snapshot("12:34:56", BROKER.status() | {"queues": rows}, rows)
    look = Look("queues")
    lines = layout(shown, look, 150, 24)
    assert lines[2] == "1 to 19 of 40 queues"
    assert any("OLDEST▼" in line for line in lines)
    assert queue_names(lines)[:2] == ["q39", "q38"]
    assert queue_names(layout(shown, press(look, "KEY_PGDOWN", 40), 150, 24))[0] == "q29"
    for key in ">>>":
        look = press(look, key, 40)
    lines = layout(shown, look, 150, 24)
    assert any("CLIENTS▼" in line for line in lines)
    assert queue_names(lines)[0] == "q40"


# Sorting


def test_ids_are_sorted_as_people_count() -> None:
    """w9 comes before w10."""
    assert ids(layout(snapshot(rows=MORE[::-1]), Look(), 100, 60)) == [
        f"w{number}" for number in range(1, 41)
    ]


def test_the_sort_column_moves_to_both_sides() -> None:
    """Past the last comes the first; quantities are sorted from the greatest."""
    assert pressed(">").orders["workers"] == Order(1)
    assert pressed(">>>").orders["workers"] == Order(3, greatest_first=True)
    assert pressed("<").orders["workers"] == Order(len(PANES["workers"]) - 1)
    assert pressed("<>").orders["workers"] == Order(0)


def test_the_busiest_are_first() -> None:
    """Those of equal rank stay in the order in which they came; the heading says what it is sorted by."""
    lines = layout(snapshot(rows=MORE), pressed(">>>>"), 100, 60)
    assert ids(lines)[:7] == ["w6", "w13", "w20", "w27", "w34", "w5", "w12"]
    assert any("REPLIES/S▼" in line for line in lines)
    lines = layout(snapshot(rows=MORE), pressed(">>>>r"), 100, 60)
    assert ids(lines)[:6] == ["w7", "w14", "w21", "w28", "w35", "w1"]
    assert any("REPLIES/S▲" in line for line in lines)


@pytest.mark.parametrize("keys", [">>>>>>", ">>>>>>r"])
def test_what_has_no_value_is_last_either_way(keys: str) -> None:
    """A dash is no least and no greatest."""
    rows = [worker("w1"), worker("w2", oldest_s=1.0), worker("w3", oldest_s=2.0)]
    assert ids(layout(snapshot(rows=rows), pressed(keys), 100, 30))[-1] == "w1"


def test_values_of_two_kinds_are_sorted_without_complaint() -> None:
    """A name that is a number to one zqd and a text to another, say."""
    rows = [worker("w1", pid="x"), worker("w2", pid=3), worker("w3", pid=[1])]
    assert len(ids(layout(snapshot(rows=rows), Look(orders={"workers": Order(9)}), 100, 30))) == 3


def test_requests_are_shown_the_oldest_first() -> None:
    """As zqd sorts them; and if there may be more, that is said."""
    lines = layout(snapshot("requests"), Look("requests"), 100, 30)
    assert any("AGE▼" in line for line in lines)
    assert "1 to 3 of 3 requests" in lines
    lines = layout(snapshot("requests", BROKER.request_rows[:1] * REQUESTS_SHOWN), Look("requests"), 100, 120)
    assert f"1 to {REQUESTS_SHOWN} of the oldest {REQUESTS_SHOWN} requests" in lines


# Keys


def test_tab_goes_round_the_panes() -> None:
    """Each keeps its own order."""
    look = press(pressed(">"), "KEY_TAB", 40)
    assert (look.pane, look.orders["clients"]) == ("clients", Order())
    look = press(press(look, "KEY_TAB", 3), "KEY_TAB", 3)
    assert look.pane == "queues"
    look = press(look, "KEY_TAB", 3)
    assert (look.pane, look.orders["workers"]) == ("workers", Order(1))


def test_scrolling_ends_with_the_rows() -> None:
    """Neither above the first nor so far that the last page is not full."""
    assert pressed("kkk").scrolled == 0
    look = press(pressed("jjj"), "KEY_PGDOWN", 40)
    assert look.scrolled == 13
    assert ids(layout(snapshot(rows=MORE), look, 100, 30))[0] == "w14"
    look = pressed("j" * 100)
    assert ids(layout(snapshot(rows=MORE), look, 100, 30))[-1] == "w40"
    assert press(look, "KEY_HOME", 40).scrolled == 0
    assert press(look, "x", 3).scrolled == 2
    assert press(look, "x", 0).scrolled == 0


def test_pause_and_help_are_switched_on_and_off() -> None:
    """By the same key; a paused picture says since when."""
    assert pressed("p").paused
    assert not pressed("pp").paused
    assert pressed("h").help
    assert not pressed("h?").help
    lines = layout(snapshot(), pressed("p"), 100, 30)
    assert lines[0].endswith("paused at 12:34:56")
    assert "p go on" in lines[-1]


def test_other_keys_do_nothing() -> None:
    """Whatever they are."""
    assert pressed("xQ1é") == Look()
    assert press(Look(), "KEY_F1", 0) == Look()
