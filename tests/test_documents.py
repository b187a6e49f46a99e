"""What is written down for people says the same as the tables that zqd works by."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from zqd.config import DAEMON_SETTINGS, QUEUE_SETTINGS, SETTINGS, Setting, files, load
from zqd.events.broker import BROKER

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "man").glob("*.[1-8]"))
PAGE = (ROOT / "man" / "zqd.toml.5").read_text()
EXAMPLE = (ROOT / "packaging" / "zqd.toml").read_text()
TABLE = "#[queues.default]"

every_setting = pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)


@pytest.fixture(autouse=True)
def no_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a configuration."""
    monkeypatch.setattr(files, "DEFAULT_PATH", tmp_path / "none.toml")


# The manual pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_page_is_well_formed(page: Path) -> None:
    """A manual page gives mandoc nothing to complain of, but that a page of others is not installed here."""
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc (apt-get install mandoc)")
    lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
    complaints = [line for line in lint.stdout.splitlines() if "referenced manual not found" not in line]
    assert complaints == []


# The page of the configuration


def item_of(key: str) -> tuple[str | None, str, str]:
    """The default, the facts, and the text of a key's entry, as plain text."""
    entry = rf"^\.It Ic {key}( No = Li .*)?\n\.Em (.*)\n\.br\n((?:(?!\.It|\.El).*\n)*)"
    ((default, facts, text),) = re.findall(entry, PAGE, re.MULTILINE)
    return plain(default.removeprefix(" No = Li ")) if default else None, facts, " ".join(text.split())


def plain(roff: str) -> str:
    """Text without the escapes of roff."""
    return roff.replace(r"\(dq", '"').replace(r"\e", "\\")


def facts_of(row: Setting) -> str:
    """How an entry names the values that a key can have, and whether it needs a restart."""
    bounds = re.search(r" from \S+ to \S+$", row.expected())
    values = (
        f"one of {', '.join(row.choices)}" if row.choices else row.kind.name + (bounds[0] if bounds else "")
    )
    return values[0].upper() + values[1:] + ("" if row.reloadable else "; needs a restart")


@every_setting
def test_page_tells_the_default(row: Setting) -> None:
    """zqd.toml(5) has every key with its default, or none where there is none to write."""
    default, _, _ = item_of(row.key)
    assert default == (None if row.default is None else row.to_toml(row.default))


@every_setting
def test_page_tells_the_facts(row: Setting) -> None:
    """zqd.toml(5) tells a key's kind, bounds or choices, and whether a reload takes it."""
    _, facts, _ = item_of(row.key)
    assert facts == facts_of(row)


@every_setting
def test_page_tells_the_purpose(row: Setting) -> None:
    """zqd.toml(5) begins its text on a key with the words of the table."""
    _, _, text = item_of(row.key)
    assert text.startswith(row.help)


def test_page_knows_no_other_key() -> None:
    """zqd.toml(5) has no key that is none, and all in the order of the table."""
    assert re.findall(r"^\.It Ic (\w+)", PAGE, re.MULTILINE) == [row.key for row in SETTINGS]


def test_examples_of_the_page_are_good(tmp_path: Path) -> None:
    """What zqd.toml(5) shows as an example can be used."""
    examples = re.findall(r"^\.Bd -literal.*\n((?:(?!\.Ed).*\n)*)", PAGE, re.MULTILINE)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(plain(example))
        assert load(path) != load()


# The example configuration


def uncommented(text: str, sign: str) -> str:
    """The example with its keys in use: those behind `sign`."""
    return re.sub(rf"^{sign}(?=\w+ = |\[)", "", text, flags=re.MULTILINE)


def comment_of(key: str) -> str:
    """The comment right above a key of the example, on one line."""
    (comment,) = re.findall(rf"((?:^# .*\n)+)^# ?{key} = ", EXAMPLE, re.MULTILINE)
    return " ".join(comment.replace("# ", "").split())


def test_example_changes_nothing(tmp_path: Path) -> None:
    """As it is installed, the example leaves every key at its default."""
    path = tmp_path / "zqd.toml"
    path.write_text(EXAMPLE)
    assert load(path) == load()
    assert set(load(path).sources.values()) == {"default"}


def test_example_is_in_nobodys_way(tmp_path: Path) -> None:
    """As it is installed, the example makes no queue beside those of the files after it."""
    (tmp_path / "zqd.toml").write_text(EXAMPLE)
    (tmp_path / "zqd.toml.d").mkdir()
    queue = '[queues.jobs]\nfrontend = ["ipc:///f"]\nbackend = ["ipc:///b"]\n'
    (tmp_path / "zqd.toml.d" / "jobs.toml").write_text(queue)
    assert [queue.name for queue in load(tmp_path / "zqd.toml").queues] == ["jobs"]


def test_example_shows_the_defaults(tmp_path: Path) -> None:
    """With every comment taken away the example sets every key that has a default, to its default."""
    path = tmp_path / "zqd.toml"
    path.write_text(uncommented(EXAMPLE, "#"))
    config = load(path)
    assert config == load()
    assert {key for key, source in config.sources.items() if source == str(path)} == {
        row.path("default") for row in SETTINGS if row.default is not None
    }


def test_example_shows_what_has_no_default(tmp_path: Path) -> None:
    """A key without a default is shown with a value that is accepted."""
    path = tmp_path / "zqd.toml"
    path.write_text(uncommented(uncommented(EXAMPLE, "#"), "# "))
    assert set(load(path).sources.values()) == {str(path)}


@every_setting
def test_example_tells_the_purpose(row: Setting) -> None:
    """Above each key the example has the words of the table, the choices, and whether it needs a restart."""
    comment = comment_of(row.key)
    assert row.help in comment
    assert ("[restart]" in comment) != row.reloadable
    assert not row.choices or f"One of {', '.join(row.choices)}." in comment


def test_example_keeps_the_order_of_the_table() -> None:
    """The example has each key once, the daemon's before the queue's."""
    daemon, queue = EXAMPLE.split(f"{TABLE}\n")
    assert re.findall(r"^# ?(\w+) = ", daemon, re.MULTILINE) == list(DAEMON_SETTINGS)
    assert re.findall(r"^# ?(\w+) = ", queue, re.MULTILINE) == list(QUEUE_SETTINGS)


def test_every_event_of_the_broker_is_in_its_page() -> None:
    """zqd(7) names each with its level, and none that does not exist."""
    page = (ROOT / "man" / "zqd.7").read_text()
    told = dict(re.findall(r"^\.It Li (\S+) Pq (\w+)$", page, re.MULTILINE))
    assert told == {name: event.level for name, event in BROKER.items()}
