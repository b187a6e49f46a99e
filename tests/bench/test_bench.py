"""A smoke test of the benchmark: that it runs, not what it measures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.cases import CASES
from tests.bench.contestants import CONTESTANTS


@pytest.mark.skipif(shutil.which("cc") is None, reason="the benchmark's load needs a C compiler")
def test_every_contestant_is_measured(tmp_path: Path) -> None:
    """A short run gives each contestant's figures, their ratios and a chart."""
    report, picture = tmp_path / "report.json", tmp_path / "chart.svg"
    command = [
        sys.executable,
        "-m",
        "tests.bench",
        "--smoke",
        "--rounds=1",
        "--seconds=0.2",
        f"--json={report}",
        f"--svg={picture}",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    (case,) = json.loads(report.read_text())["cases"].values()
    assert set(case) == set(CONTESTANTS)
    assert all(figures["absolute"]["rate"]["median"] > 0 for figures in case.values())
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")  # noqa: S314 - written by ourselves


def test_the_cases_have_names_of_their_own() -> None:
    """No two rows of the table look the same."""
    assert len({case.name for case in CASES}) == len(CASES)
