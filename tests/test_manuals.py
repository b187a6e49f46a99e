"""The manual pages read as they are written: mdoc(7) takes no word for a macro of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[1] / "man").glob("*.[1-8]"))
WORDS = {"An", "At", "Do", "In", "So"}
"""English words that are macros of mdoc(7) wherever they stand in a line of macros. So is `No`, which ends another one."""


def swallowed(line: str) -> list[str]:
    """The words of a line that mdoc takes for macros though they are prose."""
    if not line.startswith("."):
        return []
    _, *words = line.split()
    return [word for at, word in enumerate(words) if word in WORDS or (word == "No" and at == 0)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (".It No worker is there", ["No"]),
        (r".It \&No worker is there", []),
        (".It Nm No is killed", []),
        (".Ss At a stop", ["At"]),
        (".Dq No worker", ["No"]),
        (".Pq Li ipc:// No only", []),
        (".It A worker dies", []),
        ("No worker is there", []),
    ],
)
def test_what_is_swallowed(line: str, words: list[str]) -> None:
    """A line of text is no line of macros, and an escape helps."""
    assert swallowed(line) == words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_word_is_swallowed(page: Path) -> None:
    r"""It would be missing from what people read; `\&` before it keeps it."""
    lines = page.read_text().splitlines()
    assert [f"{page.name}:{at}: {line}" for at, line in enumerate(lines, 1) if swallowed(line)] == []
