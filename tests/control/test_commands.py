from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.control.serving import PaperBroker
from zqd.control.commands import (
    COMMANDS,
    Argument,
    Arguments,
    Broker,
    Code,
    Command,
    CommandError,
    Later,
    command,
    dispatch,
)


@pytest.fixture
def broker() -> PaperBroker:
    """A broker of paper."""
    return PaperBroker()


@pytest.fixture
def table() -> dict[str, Command]:
    """A table with one command that takes every kind of argument and returns what it was given."""
    rows: dict[str, Command] = {}
    arguments = (
        Argument("target", "what to move", required=True, positional=True),
        Argument("count", "how many", int, default=1),
        Argument("rate", "how fast", float),
        Argument("wait", "wait for it", bool, default=False),
    )

    @command(*arguments, reads=False, table=rows)
    def move_it(broker: Broker, args: Arguments) -> object:
        """Move it.

        And more.
        """
        return dict(args)

    return rows


def refusal(
    broker: PaperBroker, name: str, given: dict[str, Any], *table: dict[str, Command]
) -> CommandError:
    """The error that the dispatch is refused with."""
    with pytest.raises(CommandError) as error:
        dispatch(broker, name, given, *table)
    assert "\n" not in error.value.sentence
    return error.value


# The table


def test_a_row_follows_from_its_function(table: dict[str, Command]) -> None:
    """Name and help are the function's name, with dashes, and its docstring's first line."""
    row = table["move-it"]
    assert (row.name, row.help, row.reads) == ("move-it", "Move it.", False)
    assert [argument.name for argument in row.arguments] == ["target", "count", "rate", "wait"]


def test_a_name_is_entered_once(table: dict[str, Command]) -> None:
    """Two commands of one name are a mistake of ours, seen at import."""

    def move_it(broker: Broker, args: Arguments) -> object:
        """Move it again."""

    with pytest.raises(ValueError, match="in the table already"):
        command(reads=True, table=table)(move_it)


def test_the_table_is_fit_for_help() -> None:
    """Every row and every argument has one sentence that says what it does."""
    for row in COMMANDS.values():
        assert row.help.endswith(".")
        assert all(argument.help for argument in row.arguments)


def test_the_first_commands_only_read() -> None:
    """The commands of the first release change nothing."""
    first = {"status", "queues", "workers", "clients", "ping", "version"}
    assert first <= {row.name for row in COMMANDS.values() if row.reads}


def test_the_commands_need_no_zmq() -> None:
    """The table and zqctl's own modules load without zmq, of which half of zqctl's start-up time would be."""
    code = "import sys, zqd.ctl; print([m for m in ('zmq', 'structlog', 'dataclasses', 'shutil') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Dispatch


def test_arguments_arrive_with_their_defaults(broker: PaperBroker, table: dict[str, Command]) -> None:
    """A command gets all arguments of its row."""
    given = {"target": "w1", "rate": 3}
    assert dispatch(broker, "move-it", given, table) == {"target": "w1", "count": 1, "rate": 3, "wait": False}


def test_a_null_counts_as_not_given(broker: PaperBroker, table: dict[str, Command]) -> None:
    """JSON's null is the default's place."""
    result = dispatch(broker, "move-it", {"target": "w1", "count": None}, table)
    assert isinstance(result, dict)
    assert result["count"] == 1


def test_an_unknown_command_names_the_known_ones(broker: PaperBroker) -> None:
    """The refusal says what there is, and which version says so."""
    error = refusal(broker, "statsu", {})
    assert error.code == Code.UNKNOWN_COMMAND
    assert error.sentence.startswith("unknown command 'statsu'; zqd ")
    assert error.sentence.endswith(" knows " + ", ".join(sorted(COMMANDS)))


def test_an_argument_that_the_row_lacks_is_refused(broker: PaperBroker) -> None:
    """A misspelt filter must not be taken for no filter."""
    error = refusal(broker, "workers", {"qeueu": "default"})
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, "workers takes no argument 'qeueu'")


def test_a_missing_argument_is_refused(broker: PaperBroker, table: dict[str, Command]) -> None:
    """A required argument is required by zqd too, not only by zqctl."""
    error = refusal(broker, "move-it", {}, table)
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, "move-it needs the argument 'target'")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("target", 3, "text"),
        ("target", ["w1"], "text"),
        ("count", 1.5, "a whole number"),
        ("count", True, "a whole number"),
        ("count", "1", "a whole number"),
        ("rate", "fast", "a number"),
        ("rate", float("nan"), "a number"),
        ("rate", float("inf"), "a number"),
        ("rate", 10**400, "a number"),
        ("rate", False, "a number"),
        ("wait", 1, "true or false"),
    ],
)
def test_an_argument_of_another_type_is_refused(
    name: str, value: object, wanted: str, broker: PaperBroker, table: dict[str, Command]
) -> None:
    """The refusal names the argument, its type, and what came."""
    error = refusal(broker, "move-it", {"target": "w1", name: value}, table)
    assert error.code == Code.BAD_ARGUMENT
    assert error.sentence.startswith(f"the argument {name!r} of move-it must be {wanted}, not ")


@pytest.mark.parametrize("value", ["x" * 60_000, json.loads("[" * 500 + "]" * 500)])
def test_what_came_is_not_repeated_at_length(
    value: object, broker: PaperBroker, table: dict[str, Command]
) -> None:
    """A sentence stays a sentence, whatever a peer has sent."""
    assert len(refusal(broker, "move-it", {"target": "w1", "count": value}, table).sentence) < 200


# The commands


def test_status_is_the_brokers(broker: PaperBroker) -> None:
    """The status comes through as the broker says it."""
    assert dispatch(broker, "status", {}) == broker.status()


def test_queues_are_those_of_the_status(broker: PaperBroker) -> None:
    """The queues alone are the status's list."""
    assert dispatch(broker, "queues", {}) == broker.status()["queues"]


@pytest.mark.parametrize(("name", "key"), [("queues", "name"), ("workers", "queue"), ("clients", "queue")])
@pytest.mark.parametrize("queue", ["default", "slow"])
def test_a_queue_can_be_picked(name: str, key: str, queue: str, broker: PaperBroker) -> None:
    """With a queue's name only its rows come."""
    everything, some = dispatch(broker, name, {}), dispatch(broker, name, {"queue": queue})
    assert isinstance(everything, list)
    assert some == [row for row in everything if row[key] == queue]


@pytest.mark.parametrize("name", ["queues", "workers", "clients"])
def test_an_unknown_queue_names_the_known_ones(name: str, broker: PaperBroker) -> None:
    """A queue that does not exist is an error, not an empty list."""
    error = refusal(broker, name, {"queue": "defualt"})
    assert (error.code, error.sentence) == (
        Code.BAD_ARGUMENT,
        "no queue is named 'defualt'; there is default, slow",
    )


# Later


def test_an_answer_that_comes_is_delivered() -> None:
    """The outcome goes to who waits, when it comes."""
    later, outcomes = Later(), list[object]()
    later.deliver_to(outcomes.append)
    assert outcomes == []
    later.finish({"moved": 3})
    assert outcomes == [{"moved": 3}]


def test_an_answer_that_was_there_first_is_delivered_too() -> None:
    """A command may finish its work, and its Later, before it returns it."""
    later, outcomes = Later(), list[object]()
    later.finish("done")
    later.deliver_to(outcomes.append)
    assert outcomes == ["done"]


def test_only_the_first_outcome_counts() -> None:
    """Whoever gave up must not hear a second answer."""
    later, outcomes = Later(), list[object]()
    later.deliver_to(outcomes.append)
    later.fail("gave up")
    later.finish("done")
    assert [str(outcome) for outcome in outcomes] == ["gave up"]
    assert later.done
