"""man/zqctl.1 against the tables from which zqctl is made: what is there is in the page, and nothing else is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.control.serving import PaperBroker
from zqd.control.commands import COMMANDS
from zqd.ctl import completion, metrics
from zqd.ctl.connection import ExitStatus
from zqd.ctl.program import build_parser

PAGE = Path(__file__).parents[2] / "man" / "zqctl.1"
BEFORE, *ROWS = completion.commands(build_parser())


def section(name: str) -> str:
    """The source of one section."""
    text = PAGE.read_text()
    start = text.index(f"\n.Sh {name}\n")
    return text[start : text.find("\n.Sh ", start + 1)]


def entries(name: str, macro: str) -> dict[str, tuple[str, str]]:
    """The entries of a section that begin with this macro: what the macro names, its line, and what follows."""
    found = re.findall(
        rf"^\.It {macro} (\S+)(.*)\n((?:.*\n)*?)(?=\.It |\.El)", section(name) + "\n", re.MULTILINE
    )
    return {word: (line, text) for word, line, text in found}


COMMON = {flag.lstrip("-") for option in BEFORE.options for flag in option.flags}
DESCRIBED = entries("COMMANDS", "Ic")


def test_every_command_is_described_and_no_other() -> None:
    """By name, each once."""
    assert sorted(DESCRIBED) == sorted(row.name for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_commands_options_are_described_and_no_others(row: completion.Command) -> None:
    """In its heading, those that take a value with a word for it."""
    heading, _ = DESCRIBED[row.name]
    own = [option for option in row.options if option.flags[-1].lstrip("-") not in COMMON]
    assert sorted(re.findall(r"Fl -(\S+)", heading)) == sorted(option.flags[0][2:] for option in own)
    takes = set(re.findall(r"Fl -(\S+) Ar ", heading))
    assert takes == {option.flags[0][2:] for option in own if option.value is not None}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_whoever_may_ask_is_told(row: completion.Command) -> None:
    """R marks the commands of zqd's that only read."""
    _, text = DESCRIBED[row.name]
    assert text.startswith("R.\n") == (row.name in COMMANDS and COMMANDS[row.name].reads)


def test_common_options_are_described_and_no_others() -> None:
    """At the beginning, for all commands together."""
    headings = re.findall(r"^\.It (Fl .*)$", section("DESCRIPTION"), re.MULTILINE)
    assert {flag.lstrip("-") for line in headings for flag in re.findall(r"Fl (\S+)", line)} == COMMON


def test_options_that_the_text_names_exist() -> None:
    """Wherever they stand."""
    known = COMMON | {flag.lstrip("-") for row in ROWS for option in row.options for flag in option.flags}
    assert {flag.lstrip("-") for flag in re.findall(r"Fl (\S+)", PAGE.read_text())} <= known
    assert set(re.findall(r" --(\S+)", section("EXAMPLES"))) <= known


def test_examples_call_commands_that_exist() -> None:
    """With options of theirs."""
    parser = build_parser()
    calls = re.findall(r"zqctl ((?:--json )?[a-z-]+(?: [^|>&\n]*)?)", section("EXAMPLES"))
    assert len(calls) >= 8
    for call in calls:
        parser.parse_args(call.split())


def test_every_metric_is_described_and_no_other() -> None:
    """By the names that Prometheus sees."""
    broker = PaperBroker()
    status = broker.status() | {"descriptors": {"limit": 3, "reserve": 1, "used": 1}}
    families = metrics.families(status, broker.workers())
    names = {sample.name for family in families for sample in family.samples} | {"zqd_up"}
    assert set(re.findall(r"zqd_\w+", section("METRICS").replace("{zqd_queue_state}", ""))) == names


def test_every_exit_status_is_described_and_no_other() -> None:
    """By its number; check has its own."""
    assert {int(status) for status in re.findall(r"^\.It (\d+)$", section("EXIT STATUS"), re.MULTILINE)} == {
        *ExitStatus
    }


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="there is no mandoc here")
def test_the_page_is_well_formed() -> None:
    """No complaint of mandoc's but about pages that are not installed."""
    done = subprocess.run(
        ["mandoc", "-T", "lint", PAGE], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if PAGE.name in line]
    assert [line for line in complaints if "referenced manual not found" not in line] == []
