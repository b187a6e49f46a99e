from __future__ import annotations

from typing import Any

import pytest

from zqd.ctl.tables import COLORS, Column, duration, fit, latency, percent, plain, rate, size, table

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


@pytest.mark.parametrize("width", range(6))
@pytest.mark.parametrize("text", ["", "abc", "漢字", "abcdefg"])
def test_a_fitted_text_takes_exactly_the_columns_that_it_is_given(text: str, width: int) -> None:
    """Be it none: clipped to what there is, filled up to it."""
    (line,) = lines(table([Column("", "t"), Column("", "e")], [{"t": fit(text, width), "e": "|"}]))[1:]
    assert fit(text, width, right=True).strip() == fit(text, width).strip()
    assert sum(2 if char in "漢字" else 1 for char in fit(text, width)) == width
    assert line.endswith("|")


# Colours


def test_a_state_has_its_colour_and_its_place() -> None:
    """The escape sequences take no columns: without them the lines are those of a table without colour."""
    columns = [Column("NAME", "name"), Column("STATE", "state"), Column("N", "n")]
    rows: Rows = [
        {"name": "a", "state": "running", "n": 1},
        {"name": "b", "state": "quarantined", "n": 2},
        {"name": "paused", "state": "of no colour", "n": 3},
    ]
    shown = table(columns, rows, color=True)
    assert lines(shown)[1:] == [
        "a       \x1b[32mrunning\x1b[0m       1",
        "b       \x1b[31mquarantined\x1b[0m   2",
        "paused  of no colour  3",
    ]
    assert shown.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") == table(
        columns, rows
    )


def test_a_clipped_state_keeps_its_colour() -> None:
    """The colour is the word's, not what is left of it."""
    (row,) = lines(
        table([Column("STATE", "state"), Column("N", "n")], [{"state": "quarantined", "n": 1}], 11, True)
    )[1:]
    assert row == "\x1b[31mquarant…\x1b[0m  1"


def test_a_last_column_ends_no_line_with_blanks_when_it_is_coloured() -> None:
    """As without colour."""
    rows: Rows = [{"state": "idle"}, {"state": "quarantined"}]
    assert (
        lines(table([Column("STATE", "state")], rows, color=True))[1] == f"\x1b[{COLORS['idle']}midle\x1b[0m"
    )
