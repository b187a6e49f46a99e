from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import zqd
from zqd.events import EVENTS, message, shown
from zqd.events.broker import BROKER
from zqd.events.event import Event

ROOT = Path(zqd.__file__).parent
LEVELS = ("debug", "info", "warning", "error")


def tell(template: str, **fields: object) -> str:
    """The line of an event with this template."""
    return Event("info", "", template, "").tell(fields)


# The table


@pytest.mark.parametrize("name", EVENTS)
def test_row(name: str) -> None:
    """An event has a level that exists, a sentence on what it means, a line for people, and an id as systemd has them."""
    event = EVENTS[name]
    assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
    assert event.level in LEVELS
    assert event.meaning.endswith(".")
    assert event.message.count("[") == event.message.count("]")
    assert re.fullmatch(r"[0-9a-f]{32}", event.id)


@pytest.mark.parametrize("name", EVENTS)
def test_line_without_fields(name: str) -> None:
    """No event needs any of its fields to be told."""
    line = message(name, {})
    assert line
    assert not set("[]{}") & set(line)


def test_ids_are_unique() -> None:
    """An id leads to one explanation."""
    assert len({event.id for event in EVENTS.values()}) == len(EVENTS)


# The template


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"worker": "w1", "name": "mill", "in_flight": 2}, "w1 (mill) holds 2"),
        ({"worker": "w1", "in_flight": 0}, "w1 holds 0"),
        ({"worker": "w1", "name": "", "in_flight": 2}, "w1 holds 2"),
        ({"worker": "w1", "name": None, "in_flight": None}, "w1 holds -"),
        ({}, "- holds -"),
        ({"worker": "w1", "in_flight": 1, "now": True}, "w1 holds 1, at once"),
        ({"worker": "w1", "in_flight": 1, "now": False}, "w1 holds 1"),
        ({"worker": "a\nb", "name": "\x1b", "in_flight": "ä…"}, "a\\nb (\\x1b) holds ä…"),
        ({"worker": "{name}", "in_flight": "[x]"}, "{name} holds [x]"),
    ],
)
def test_template(fields: dict[str, object], line: str) -> None:
    """A clause goes with its field, a field without a clause reads `-`, and no value changes the line's form."""
    assert tell("{worker}[ ({name})] holds {in_flight}[now?, at once]", **fields) == line


def test_number_in_a_clause() -> None:
    """Zero is something to tell."""
    assert tell("x[ {n}]", n=0) == "x 0"
    assert tell("x[ {n}]", n=0.0) == "x 0.0"
    assert tell("x[ {n}]", n=[]) == "x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1.5, "1.5"),
        ("", ""),
        (["a", 1, None], "a, 1, -"),
        (("a",), "a"),
        ([["a"]], '[["a"]]'),
        ({"a": b"x"}, '{"a": "b\'x\'"}'),
    ],
)
def test_shown(value: object, text: str) -> None:
    """What a value reads like."""
    assert shown(value) == text


def test_event_that_is_not_in_the_table() -> None:
    """It is told by its name."""
    assert message("something.new", {"worker": "w1"}) == "something.new"


def test_fields_of_a_message() -> None:
    """A message knows what it names, and what it cannot do without."""
    event = Event("info", "", "{worker}[ ({name})][now?!]", "")
    assert event.fields() == {"worker", "name", "now"}
    assert event.fields(optional=False) == {"worker"}


# The table and the places where events are made


class Note(NamedTuple):
    """A place that names an event, and the fields that it gives; `open` where it gives more than can be read there."""

    place: str
    event: str
    fields: set[str]
    open: bool


SPEAKERS = {"note", "_note", "_notify", "_tell", "_rest", "log", "publisher", "_message"}
GIVEN = {"_rest": {"side", "endpoint"}}
PEERS = {"client", "worker", "peer", "link"}  # who comes with an address
OF_EVERY_LINE = {"event", "level", "timestamp", "exception"}


def notes() -> Iterator[Note]:
    """Every call in zqd/ that names an event literally."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                function = node.func
                called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                if called in SPEAKERS:
                    yield from _notes_of(f"{path.relative_to(ROOT)}:{node.lineno}", called, node)


def _notes_of(place: str, called: str, node: ast.Call) -> Iterator[Note]:
    fields = {"queue", *GIVEN.get(called, ())}  # every device puts its queue's name to what is said in it
    names: list[str] = []
    is_open = False
    for argument in node.args:
        parts = ast.walk(argument) if isinstance(argument, ast.IfExp) else [argument]
        texts = [
            part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        names += [text for text in texts if "." in text]
        if isinstance(argument, ast.Dict):
            fields |= {key.value for key in argument.keys if isinstance(key, ast.Constant)}
            is_open |= None in argument.keys
        else:
            is_open |= isinstance(argument, ast.Call | ast.Name) and bool(names)
    for keyword in node.keywords:
        is_open |= keyword.arg is None
        fields |= {keyword.arg or ""} | ({"address"} if keyword.arg in PEERS else set())
    for name in names:
        yield Note(place, name, fields, is_open)


NOTES = list(notes())


def test_every_event_that_is_made_is_in_the_table() -> None:
    """Else it would have no level, no line for people and no explanation."""
    assert len({note.event for note in NOTES}) > 25
    assert [f"{note.place}: {note.event}" for note in NOTES if note.event not in EVENTS] == []


def test_every_event_has_the_fields_that_its_line_needs() -> None:
    """A line for people that reads `-` where the event is made would be a slip in the table."""
    assert [
        f"{note.place}: {note.event} lacks {', '.join(sorted(lacking))}"
        for note in NOTES
        if not note.open and (lacking := EVENTS[note.event].fields(optional=False) - note.fields)
    ] == []


def test_no_field_is_named_as_one_of_every_line() -> None:
    """It would take the place of the line's own."""
    assert [f"{note.place}: {note.event}" for note in NOTES if note.fields & OF_EVERY_LINE] == []


# The table and the manual

PAGE = (ROOT.parent / "man" / "zqd.7").read_text()
OF_ALL = {"queue", "client", "worker", "address", "name", "key"}
"""Fields that zqd(7) explains once for all events."""
OF_A_LINK = {"net/device.py": {"peer"}, "net/link.py": {"peer"}, "net/server.py": {"side"}}
"""What a link's owner puts to a note about it, instead of the link."""


def documented(name: str) -> set[str]:
    """The fields that zqd(7) names at an event."""
    (entry,) = re.findall(rf"^\.It Li {re.escape(name)} Pq \w+\n((?:(?!\.It|\.El).*\n)*)", PAGE, re.MULTILINE)
    fields = re.search(r"^Fields: ([\w, \n]+)", entry, re.MULTILINE)
    return set(re.findall(r"\w+", fields[1])) if fields else set()


def given(note: Note) -> set[str]:
    """The fields of an event as its subscribers see them, less those of all events."""
    link = OF_A_LINK[note.place.partition(":")[0]] if "link" in note.fields else set()
    return (note.fields | link) - {"link", ""} - OF_ALL


@pytest.mark.parametrize("name", BROKER)
def test_the_page_names_every_field(name: str) -> None:
    """Those that the code gives; of an event that no place names literally, those that its line shows."""
    found = [given(note) for note in NOTES if note.event == name and not note.place.startswith("worker/")]
    fields = set[str]().union(*found) if found else EVENTS[name].fields() - OF_ALL
    assert fields - documented(name) == set()


@pytest.mark.parametrize("name", BROKER)
def test_the_page_names_no_other_field(name: str) -> None:
    """But where fields are given that cannot be read there."""
    found = [note for note in NOTES if note.event == name and not note.place.startswith("worker/")]
    if not any(note.open for note in found):
        either = {"side"} if any("net/link.py" in note.place for note in found) else set()
        known = EVENTS[name].fields().union(either, *map(given, found))
        assert documented(name) - known == set()
