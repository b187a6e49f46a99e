"""The manual pages and the example configuration of zqd-worker say what the program knows."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from zqd.config.settings import Setting
from zqd.worker.program import _parser
from zqd.worker.settings import SETTINGS, WorkerSettings, load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "man/zqd-worker.8", ROOT / "man/zqd-worker.toml.5"]
EXAMPLE = ROOT / "packaging/worker.toml"
UNSET = {"command", "python_path", "server_key"}  # their defaults are not written


def flowing(page: Path) -> str:
    """A page's source as one line."""
    return " ".join(page.read_text().split())


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="there is no mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lint(page: Path) -> None:
    """Mandoc has nothing to say against it."""
    # A page that another one names may not be installed here.
    done = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if "referenced manual not found" not in line] == []


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)
def test_setting(row: Setting) -> None:
    """Every setting is in the manual, with its default, its help and whether a reload takes it."""
    page = flowing(PAGES[1])
    value = "" if row.key in UNSET else " No = Li " + row.to_toml(row.default).replace('"', r"\(dq")
    found = re.search(
        rf"\.It Ic {row.key}{re.escape(value)} \.Em ([^.]*) \.br (.*?)(?= \.It Ic | \.El)", page
    )
    assert found is not None
    assert ("needs a restart" in found[1]) == (not row.reloadable)
    assert found[2].startswith(row.help)
    assert all(choice in found[1] for choice in row.choices)


def test_no_other_setting() -> None:
    """In the order of the table, and nothing else."""
    keys = re.findall(r"^\.It Ic (\w+)", PAGES[1].read_text(), re.MULTILINE)
    assert keys == [row.key for row in SETTINGS]


def test_options() -> None:
    """Every option of the command line is in the manual, and no other."""
    known = {name[1:] for action in _parser()._actions for name in action.option_strings}
    listed = PAGES[0].read_text().partition("The options:")[2].partition(".Sh HANDLERS")[0]
    described = {
        name
        for line in re.findall(r"^\.It (Fl .*)", listed, re.MULTILINE)
        for name in re.findall(r"Fl (\S+)", line)
    }
    assert described == known


def test_example() -> None:
    """The installed file changes the broker's endpoint and nothing else; what is commented out are the defaults."""
    settings, _ = load(EXAMPLE, "none")
    assert settings == WorkerSettings(backend=("ipc:///run/zqd/backend.sock",))
    text = EXAMPLE.read_text()
    defaults = tomllib.loads("\n".join(re.findall(r"^#(\w+ = .*)", text, re.MULTILINE)))
    expected = {row.key: row for row in SETTINGS if row.key not in UNSET | {"backend"}}
    assert {key: expected[key].parse(value) for key, value in defaults.items()} == {
        key: row.default for key, row in expected.items()
    }


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)
def test_setting_in_the_example(row: Setting) -> None:
    """Each with its help, and with a mark where it needs a restart."""
    lines = EXAMPLE.read_text().splitlines()
    (at,) = [number for number, line in enumerate(lines) if re.match(rf"(# ?)?{row.key} = ", line)]
    start = max(number for number in range(at) if not lines[number]) + 1
    comment = " ".join(line.lstrip("# ") for line in lines[start:at])
    assert comment.startswith(row.help)
    assert ("[restart]" in comment) == (not row.reloadable)
