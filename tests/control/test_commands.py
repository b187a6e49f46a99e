from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.control.serving import PaperBroker, worker
from zqd.control.answers import Code, CommandError, Later
from zqd.control.broker import Broker
from zqd.control.commands import COMMANDS, Argument, Arguments, Command, command, dispatch
from zqd.control.inquiries import REQUESTS_SHOWN


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
    """The commands of the first release change nothing; of the others only orders do."""
    first = {"status", "queues", "workers", "clients", "ping", "version"}
    assert {row.name for row in COMMANDS.values() if row.reads} == first | {"requests", "wait", "config"}


@pytest.mark.parametrize(
    ("name", "given", "late"),
    [
        ("wait", {}, True),
        ("drain", {"wait": True}, True),
        ("drain", {}, False),
        ("drain", {"wait": False}, False),
        ("pause", {}, False),
        ("status", {}, False),
    ],
)
def test_a_row_knows_whether_its_answer_is_late(name: str, given: dict[str, Any], late: bool) -> None:
    """zqctl waits for a late answer without a limit of its own."""
    assert COMMANDS[name].answers_late(given) is late


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


@pytest.mark.parametrize(
    ("name", "key"), [("queues", "name"), ("workers", "queue"), ("clients", "queue"), ("requests", "queue")]
)
@pytest.mark.parametrize("queue", ["default", "slow"])
def test_a_queue_can_be_picked(name: str, key: str, queue: str, broker: PaperBroker) -> None:
    """With a queue's name only its rows come."""
    everything, some = dispatch(broker, name, {}), dispatch(broker, name, {"queue": queue})
    assert isinstance(everything, list)
    assert some == [row for row in everything if row[key] == queue]


@pytest.mark.parametrize("name", ["queues", "workers", "clients", "requests", "pause"])
def test_an_unknown_queue_names_the_known_ones(name: str, broker: PaperBroker) -> None:
    """A queue that does not exist is an error, not an empty list."""
    error = refusal(broker, name, {"queue": "defualt"})
    assert (error.code, error.sentence) == (
        Code.BAD_ARGUMENT,
        "no queue is named 'defualt'; there is default, slow",
    )


def test_requests_are_bounded(broker: PaperBroker) -> None:
    """The oldest come first, a hundred unless asked for more or less."""
    assert dispatch(broker, "requests", {"limit": 2}) == broker.requests()[:2]
    broker.request_rows *= 50
    assert dispatch(broker, "requests", {}) == broker.requests()[:REQUESTS_SHOWN]
    assert dispatch(broker, "requests", {"limit": 1000}) == broker.requests()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_list_of_nothing_is_refused(limit: int, broker: PaperBroker) -> None:
    """It would look as if there were no requests."""
    error = refusal(broker, "requests", {"limit": limit})
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, f"a limit of {limit} shows nothing")


# Orders


@pytest.mark.parametrize(
    ("name", "state"), [("pause", "paused"), ("drain", "draining"), ("resume", "running")]
)
def test_an_order_is_about_the_queue_that_is_named(name: str, state: str, broker: PaperBroker) -> None:
    """Its state afterwards is the answer."""
    argument = COMMANDS[name].arguments[0].name
    result = {"name": "slow", "state": state, "workers": 0, "queued": 0, "in_flight": 0}
    assert dispatch(broker, name, {argument: "slow"}) == result
    assert broker.orders == [(name, "slow")]


@pytest.mark.parametrize("name", ["pause", "drain", "resume"])
def test_the_only_queue_needs_no_name(name: str, broker: PaperBroker) -> None:
    """Most daemons have one."""
    del broker.queue_rows[1]
    dispatch(broker, name, {})
    assert broker.orders == [(name, "default")]


@pytest.mark.parametrize("name", ["pause", "drain", "resume"])
def test_one_of_several_queues_needs_its_name(name: str, broker: PaperBroker) -> None:
    """Nothing is done to a queue that was not meant."""
    error = refusal(broker, name, {})
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, "which queue? there is default, slow")
    assert broker.orders == []


@pytest.mark.parametrize(
    ("name", "order", "state"), [("drain", "drain_worker", "draining"), ("resume", "resume_worker", "idle")]
)
@pytest.mark.parametrize("target", ["w1", "mill\x1b[31m"])
def test_an_order_may_be_about_a_worker(
    name: str, order: str, state: str, target: str, broker: PaperBroker
) -> None:
    """It is meant by its id or its name, and its state afterwards is the answer."""
    result = {"id": "w1", "name": "mill\x1b[31m", "state": state, "in_flight": 1}
    assert dispatch(broker, name, {"target": target}) == result
    assert broker.orders == [(order, "w1")]


@pytest.mark.parametrize("name", ["drain", "resume"])
@pytest.mark.parametrize("target", ["w9", "", "c1"])
def test_an_unknown_target_names_the_queues(name: str, target: str, broker: PaperBroker) -> None:
    """A script's empty variable is not the worker without a name."""
    broker.worker_rows[1]["name"] = ""
    error = refusal(broker, name, {"target": target})
    assert (error.code, error.sentence) == (
        Code.BAD_ARGUMENT,
        f"no queue or worker is named {target!r}; there is default, slow",
    )
    assert broker.orders == []


@pytest.mark.parametrize("name", ["drain", "resume"])
def test_a_name_of_several_workers_is_refused(name: str, broker: PaperBroker) -> None:
    """The refusal tells their ids, of which one can be given."""
    broker.worker_rows = [worker(f"w{number}", name="mill") for number in (4, 7)]
    error = refusal(broker, name, {"target": "mill"})
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, "several workers are named 'mill': w4, w7")
    assert broker.orders == []
    dispatch(broker, name, {"target": "w7"})
    assert broker.orders == [(f"{name}_worker", "w7")]


def test_a_name_of_a_thousand_workers_is_refused_in_one_line(broker: PaperBroker) -> None:
    """The first eight ids are enough."""
    broker.worker_rows = [worker(f"w{number}", name="mill") for number in range(1000)]
    assert refusal(broker, "drain", {"target": "mill"}).sentence.endswith(
        ": w0, w1, w2, w3, w4, w5, w6, w7, …"
    )


def test_a_worker_cannot_hide_a_queue(broker: PaperBroker) -> None:
    """Whatever it calls itself, the queue of that name is meant; the worker has its id."""
    broker.worker_rows = [worker("w4", name="slow")]
    dispatch(broker, "drain", {"target": "slow"})
    assert broker.orders == [("drain", "slow")]


def test_a_worker_cannot_hide_another(broker: PaperBroker) -> None:
    """An id is an id, even if a worker has taken it for its name."""
    broker.worker_rows = [worker("w4", name="w7"), worker("w7")]
    dispatch(broker, "drain", {"target": "w7"})
    assert broker.orders == [("drain_worker", "w7")]


@pytest.mark.parametrize("peer", ["w1", "c1"])
def test_a_peer_is_kicked_by_its_id(peer: str, broker: PaperBroker) -> None:
    """Worker or client."""
    assert dispatch(broker, "kick", {"peer": peer}) == {"kicked": peer}
    assert broker.orders == [("kick", peer)]


def test_a_worker_is_kicked_by_its_name_too(broker: PaperBroker) -> None:
    """As it is drained; the answer tells its id."""
    assert dispatch(broker, "kick", {"peer": "mill\x1b[31m"}) == {"kicked": "w1"}
    assert broker.orders == [("kick", "w1")]


def test_a_name_of_several_workers_kicks_none(broker: PaperBroker) -> None:
    """The refusal tells their ids; and no name hides the id of another, be it a client's."""
    broker.worker_rows = [worker(f"w{number}", name="mill") for number in (4, 7)]
    error = refusal(broker, "kick", {"peer": "mill"})
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, "several workers are named 'mill': w4, w7")
    assert broker.orders == []
    broker.worker_rows[0]["name"] = "c1"
    assert dispatch(broker, "kick", {"peer": "c1"}) == {"kicked": "c1"}


@pytest.mark.parametrize("peer", ["mill", ""])
def test_nobody_is_kicked_by_accident(peer: str, broker: PaperBroker) -> None:
    """A script's empty variable is not the worker without a name."""
    broker.worker_rows[1]["name"] = ""
    error = refusal(broker, "kick", {"peer": peer})
    assert (error.code, error.sentence) == (
        Code.BAD_ARGUMENT,
        f"nobody has the id '{peer}', and no worker that name; see zqctl workers and zqctl clients",
    )
    assert broker.orders == []


def test_a_request_is_cancelled_by_its_id(broker: PaperBroker) -> None:
    """As `zqctl requests` shows it."""
    request = broker.request_rows[0]["id"]
    assert dispatch(broker, "cancel", {"request": request}) == {"cancelled": request}
    assert broker.orders == [("cancel", request)]


def test_an_answered_request_cannot_be_cancelled(broker: PaperBroker) -> None:
    """Or one that never was."""
    error = refusal(broker, "cancel", {"request": "7a6f6f01"})
    assert (error.code, error.sentence) == (
        Code.BAD_ARGUMENT,
        "no unanswered request has the id '7a6f6f01'; see zqctl requests",
    )
    assert broker.orders == []


@pytest.mark.parametrize(("name", "argument"), [("kick", "peer"), ("cancel", "request")])
def test_kick_and_cancel_need_somebody(name: str, argument: str, broker: PaperBroker) -> None:
    """There is no default for these."""
    assert refusal(broker, name, {}).sentence == f"{name} needs the argument '{argument}'"


# Orders that are answered when they are done


def outcome(later: object) -> object:
    """What a `Later` has come to."""
    assert isinstance(later, Later)
    outcomes: list[object] = []
    later.deliver_to(outcomes.append)
    (outcome,) = outcomes
    return outcome


def looked_at(broker: PaperBroker) -> object:
    """What the condition of the one command that waits is now."""
    ((_, condition, _),) = broker.waiting
    return condition()


def test_a_queue_is_drained_when_nothing_is_left(broker: PaperBroker) -> None:
    """`drain --wait` is ordered at once and answered when the queue says `drained`."""
    later = dispatch(broker, "drain", {"target": "slow", "wait": True, "timeout": 3})
    assert broker.orders == [("drain", "slow")]
    assert [(waiting, timeout) for waiting, _, timeout in broker.waiting] == [(later, 3)]
    assert looked_at(broker) is None
    broker.queue_rows[1]["state"] = "drained"
    assert looked_at(broker) == {
        "name": "slow",
        "state": "drained",
        "workers": 0,
        "queued": 0,
        "in_flight": 0,
    }


def test_a_drain_that_was_undone_is_waited_for_no_longer(broker: PaperBroker) -> None:
    """Whoever waits for it learns that it will not come."""
    dispatch(broker, "drain", {"target": "slow", "wait": True})
    broker.resume("slow")
    with pytest.raises(CommandError, match="queue slow is running now: its drain was called off"):
        looked_at(broker)


def test_a_worker_is_drained_when_it_holds_nothing(broker: PaperBroker) -> None:
    """It stays connected."""
    dispatch(broker, "drain", {"target": "w1", "wait": True})
    assert looked_at(broker) is None
    broker.worker_rows[0]["in_flight"] = 0
    assert looked_at(broker) == {"id": "w1", "name": "mill\x1b[31m", "state": "draining", "in_flight": 0}


def test_a_worker_that_has_gone_is_drained(broker: PaperBroker) -> None:
    """It holds nothing any more."""
    dispatch(broker, "drain", {"target": "w1", "wait": True})
    del broker.worker_rows[0]
    assert looked_at(broker) == {"id": "w1", "name": "", "state": "gone", "in_flight": 0}


def test_a_worker_that_was_resumed_is_waited_for_no_longer(broker: PaperBroker) -> None:
    """It is given requests again, and might never be empty."""
    dispatch(broker, "drain", {"target": "w1", "wait": True})
    broker.resume_worker("w1")
    with pytest.raises(CommandError, match="worker w1 is idle now: its drain was called off"):
        looked_at(broker)


def test_a_wait_needs_something_to_wait_for(broker: PaperBroker) -> None:
    """It says what there is."""
    error = refusal(broker, "wait", {"queue": "slow", "timeout": 1})
    assert (error.code, error.sentence) == (Code.BAD_ARGUMENT, "wait for what: workers, idle or drained?")


def test_a_wait_for_an_unknown_queue_is_refused(broker: PaperBroker) -> None:
    """At once, not when its time is over."""
    error = refusal(broker, "wait", {"queue": "fast", "idle": True})
    assert error.sentence == "no queue is named 'fast'; there is default, slow"


@pytest.mark.parametrize(
    ("asked", "met"),
    [
        ({"workers": 2}, {"workers": 2}),
        ({"idle": True}, {"queued": 0, "in_flight": 0}),
        ({"drained": True}, {"state": "drained"}),
        ({"workers": 1, "drained": True}, {"workers": 1, "state": "drained"}),
    ],
)
def test_a_wait_is_for_every_queue(asked: dict[str, Any], met: dict[str, Any], broker: PaperBroker) -> None:
    """The answer comes when the last one is as asked, and tells the state of all."""
    for row in broker.queue_rows:
        row |= {"workers": 0, "queued": 1, "in_flight": 1, "state": "draining"}
    dispatch(broker, "wait", asked)
    assert looked_at(broker) is None
    broker.queue_rows[0] |= met
    assert looked_at(broker) is None
    broker.queue_rows[1] |= met
    keys = ("name", "state", "workers", "queued", "in_flight")
    assert looked_at(broker) == {"queues": [{key: row[key] for key in keys} for row in broker.queue_rows]}


def test_a_wait_may_be_for_one_queue(broker: PaperBroker) -> None:
    """The others do not count, and are not told."""
    result = outcome(dispatch(broker, "wait", {"queue": "slow", "idle": True}))
    assert isinstance(result, dict)
    assert [row["name"] for row in result["queues"]] == ["slow"]


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


@pytest.mark.parametrize("value", [-1.0, 1e200, 1_000_001])
def test_a_timeout_is_bounded(value: float) -> None:
    """What nobody can mean is refused: it would be a time that no clock reaches."""
    with pytest.raises(CommandError) as refused:
        dispatch(PaperBroker(), "wait", {"idle": True, "timeout": value})
    assert refused.value.code == "bad-argument"
    assert refused.value.sentence.startswith("the argument 'timeout' of wait must be from 0 to 1000000, not ")


def test_a_number_of_workers_is_bounded() -> None:
    """Fewer than none cannot be waited for."""
    with pytest.raises(CommandError) as refused:
        dispatch(PaperBroker(), "wait", {"workers": -1})
    assert refused.value.code == "bad-argument"
