from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from zqd.events import EVENTS
from zqd.logs.journal import NAMES

CATALOG = Path(__file__).parents[2] / "systemd" / "zqd.catalog"
ENTRIES = {
    found[2]: found
    for found in re.finditer(
        r"^# (\S+)\n-- (\w+)\n(.+?)\n\n(.+?)(?=\n\n# \S+\n-- |\Z)",
        CATALOG.read_text(),
        re.MULTILINE | re.DOTALL,
    )
}
EXPLAINED = {name: event for name, event in EVENTS.items() if event.level != "debug"}


def test_catalog_and_events_agree() -> None:
    """Every event from info upwards is explained, under its id and with its name beside it, and nothing else is."""
    assert {key: found[1] for key, found in ENTRIES.items()} == {
        event.id: name for name, event in EXPLAINED.items()
    }
    assert CATALOG.read_text().count("\n-- ") == len(ENTRIES)


@pytest.mark.parametrize("name", EXPLAINED)
def test_entry(name: str) -> None:
    """It has the headers that journalctl shows, a body, and names only fields that the event has."""
    event = EXPLAINED[name]
    _, _, _, headers, body = (ENTRIES[event.id][group] for group in range(5))
    assert [line.partition(": ")[0] for line in headers.splitlines()] == [
        "Subject",
        "Defined-By",
        "Support",
        "Documentation",
    ]
    assert body.strip()
    # A device puts its queue's name to what is said in it; a message names it only where it comes from a device.
    sure = event.fields(optional=False) | ({"queue"} & event.fields())
    has = {NAMES.get(field, f"ZQD_{field.upper()}") for field in sure}
    assert set(re.findall(r"@(\w+)@", headers + body)) <= has


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="no journalctl")
def test_systemd_takes_the_catalog(tmp_path: Path) -> None:
    """`journalctl --update-catalog` reads it without a complaint, and finds every id in it."""
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    shutil.copy(CATALOG, place)
    update = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--update-catalog"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (update.returncode, update.stderr) == (0, "")
    listed = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--list-catalog"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert {line.split()[0] for line in listed.stdout.splitlines()} == set(ENTRIES)
