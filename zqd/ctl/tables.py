"""Values and tables for people: columns that line up, times with their units, nothing that could upset a terminal.

Pure: takes what `--json` would print and returns text; knows no command. Called by `zqd.ctl.views`, and by the commands that
run in zqctl itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]

GAP = 2
NARROWEST = 8
"""A column of text is never clipped to less than this, however narrow the terminal is."""

GREEN, YELLOW, RED = "32", "33", "31"
COLORS = {
    **dict.fromkeys(("running", "active", "idle", "busy", "in flight"), GREEN),
    **dict.fromkeys(("paused", "draining", "drained", "stopping", "warning"), YELLOW),
    **dict.fromkeys(("quarantined", "stalled", "lost", "failed", "error", "critical"), RED),
}
"""The words that are coloured, with their code of ECMA-48 (SGR)."""


class Paper(NamedTuple):
    """What is written on."""

    width: int | None = None
    """The columns of the terminal; None where there is none, and nothing is clipped."""
    color: bool = False


# Values ---------------------------------------------------------------------------------------------------------------


def plain(value: object) -> str:
    """Return `value` as text of one line. Names come from peers: whatever does not print is escaped, and None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(plain, value)) or "-"
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def paint(text: str, word: object) -> str:
    """Return `text` in the colour that `word` has, as it is if that has none."""
    code = COLORS.get(word) if isinstance(word, str) else None
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def duration(seconds: Any) -> str:
    """Seconds in the two units that matter: `1.2 s`, `42 s`, `2 h 5 min`."""
    if not _is_number(seconds):
        return plain(seconds)
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _two_units(minutes, "min", rest, "s")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _two_units(hours, "h", minutes, "min")
    return _two_units(hours // 24, "d", hours % 24, "h")


def latency(milliseconds: Any) -> str:
    """Milliseconds to about two digits: `0.03 ms`, `1.2 ms`, `250 ms`; from a second on as a duration."""
    if not _is_number(milliseconds):
        return plain(milliseconds)
    if milliseconds >= 999.5:
        return duration(milliseconds / 1000)
    if milliseconds >= 9.95:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 0.095 else f"{milliseconds:.2f} ms"


def rate(per_second: Any) -> str:
    """How often a second, to about two digits: `0`, `0.02`, `1.2`, `250`."""
    if not _is_number(per_second):
        return plain(per_second)
    if per_second >= 9.95 or not per_second:
        return f"{per_second:.0f}"
    return f"{per_second:.1f}" if per_second >= 0.095 else f"{per_second:.2f}"


def percent(share: Any) -> str:
    """A share of 0 to 1: `97 %`."""
    return f"{share * 100:.0f} %" if _is_number(share) else plain(share)


def size(octets: Any) -> str:
    """Bytes in the unit that fits: `0 B`, `1023 B`, `1.5 KiB`, `64 KiB`, `100 MiB`."""
    if not _is_number(octets) or octets < 1024:
        return f"{octets} B" if _is_number(octets) else plain(octets)
    number, unit = octets / 1024, "KiB"
    if number >= 999.5:
        number, unit = number / 1024, "MiB"
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _two_units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


# Tables ---------------------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column: its heading, and the row's key (`wait_ms.p50` for a nested one) with how to show what stands there."""

    heading: str
    key: str
    show: Callable[[Any], str] = plain
    optional: bool = False
    """It is left out where the line would not fit the terminal."""

    def value(self, row: Row) -> Any:
        """What stands in the row; a key that it lacks is a None."""
        value: Any = row
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def is_quantity(self, values: Sequence[Any]) -> bool:
        """Whether a column of `values` is aligned to the right and never clipped."""
        known = [value for value in values if value is not None]
        return all(map(_is_number, known)) if known else self.show is not plain


def table(
    columns: Sequence[Column], rows: Sequence[Row], width: int | None = None, color: bool = False
) -> str:
    """Lay `rows` out under the headings; with `color` the words of COLORS that are a row's state have theirs.

    To fit a terminal of `width` columns first the optional columns go, from the last one on, then the longest texts are
    clipped, never the numbers.
    """
    columns = list(columns)
    columns_of_values = [[column.value(row) for row in rows] for column in columns]
    texts = [
        [column.heading, *map(column.show, values)]
        for column, values in zip(columns, columns_of_values, strict=True)
    ]
    widths = [max(map(_width, column)) for column in texts]
    if width is not None:
        for at in reversed([at for at, column in enumerate(columns) if column.optional]):
            if _excess(widths, width) > 0:
                del columns[at], columns_of_values[at], texts[at], widths[at]
    right = [column.is_quantity(values) for column, values in zip(columns, columns_of_values, strict=True)]
    if width is not None:
        _shrink(widths, [at for at, is_right in enumerate(right) if not is_right], width)
    states = [at for at, column in enumerate(columns) if column.key == "state"] if color else []
    return "".join(_line(line, widths, right, states) for line in zip(*texts, strict=True))


def _line(texts: Sequence[str], widths: Sequence[int], right: Sequence[bool], states: Sequence[int]) -> str:
    cells = list(map(fit, texts, widths, right))
    for at in states:
        word = cells[at].rstrip()
        cells[at] = paint(word, texts[at]) + cells[at][len(word) :]
    return (" " * GAP).join(cells).rstrip() + "\n"


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + GAP * (len(widths) - 1) - width


def _shrink(widths: list[int], texts: list[int], width: int) -> None:
    """Take from the widest columns of text until the line fits, or none has anything left to give."""
    excess = _excess(widths, width)
    while excess > 0 and texts:
        widest = max(texts, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1
        excess -= 1


def fit(text: str, width: int, right: bool = False) -> str:
    """Return `text` in exactly `width` columns, filled up on the right or on the left, or clipped."""
    if _width(text) > width:
        while text and _width(text) > width - 1:
            text = text[:-1]
        text += "…" if width > 0 else ""
    padding = " " * (width - _width(text))
    return padding + text if right else text + padding


def _width(text: str) -> int:
    """How many columns of a terminal `text` takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
