"""The README is true where a program can see it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_path_in_the_readme_exists() -> None:
    """What it sends a newcomer to is there."""
    paths = re.findall(r"`((?:zqd|tests|packaging|man|systemd)/[\w/.*-]+)`", README)
    assert paths
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def test_every_module_of_the_table_exists() -> None:
    """The layers' table names modules and folders of zqd/."""
    table = README[README.index("| layer | modules |") :]
    rows = [row for row in table.splitlines() if re.match(r"\| (\d|programs)", row)]
    assert len(rows) == 6
    for row in rows:
        for name in re.findall(r"`([\w/]+)`", row.split("|")[2]):
            found = [
                *(ROOT / "zqd").glob(f"**/{name.rstrip('/')}.py"),
                *(ROOT / "zqd").glob(f"**/{name.rstrip('/')}"),
            ]
            assert found or name in {"zqd", "zqctl"}, f"{name} in {row}"
