from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.core.scenario import play, scenarios

REWRITE = "ZQD_REWRITE_SCENARIOS"  # set it to write what happens now into the files; then read the diff


@pytest.mark.parametrize("path", scenarios(), ids=lambda path: path.stem)
def test_a_scenario_goes_as_it_is_written(path: Path) -> None:
    """Each line of a scenario has exactly the outcome that stands beneath it, and the laws hold after it."""
    text = path.read_text()
    played = play(text)
    if os.environ.get(REWRITE):
        path.write_text(played)
    else:
        assert played == text


@pytest.mark.parametrize("path", scenarios(), ids=lambda path: path.stem)
def test_a_scenario_says_what_it_tells_and_by_which_rules(path: Path) -> None:
    """A scenario begins with its story and the numbers of its laws and rules."""
    header = path.read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert re.search(r"\b([Ll]aws?|[Rr]ules?) \d", header), "which laws and rules does it show?"
