"""What units name of ours is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted(
    path
    for path in (ROOT / "systemd").iterdir()
    if path.suffix in {".service", ".socket", ".target", ".slice"}
)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_its_documentation_exists(unit: Path) -> None:
    """Each page that `systemctl help` would show is one of man/."""
    pages = re.findall(r"man:([\w.-]+)\((\d)\)", unit.read_text())
    assert pages
    assert [
        f"{name}.{section}" for name, section in pages if not (ROOT / "man" / f"{name}.{section}").exists()
    ] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_it_is_packaged(unit: Path) -> None:
    """By name or by a pattern in a list of files of the Debian packages."""
    lists = "".join(path.read_text() for path in (ROOT / "packaging/debian").glob("*.install"))
    patterns = re.findall(r"^systemd/(\S+) ", lists, re.MULTILINE)
    assert any(unit.match(pattern) for pattern in patterns)
