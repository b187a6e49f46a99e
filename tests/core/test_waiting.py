from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from zqd.core.peers import Client
from zqd.core.request import Options, Request
from zqd.core.waiting import OLDEST_EVERY, WaitingLine


class Line:
    """A waiting line and requests that are known by name."""

    def __init__(self) -> None:
        self.line = WaitingLine()
        self.requests: dict[str, Request] = {}
        self.clients: dict[str, Client] = {}

    def add(self, *names: str, priority: int = 5, again: bool = False) -> None:
        """Requests join; the first letter of a name is that of its client."""
        for name in names:
            client = self.clients.setdefault(name[0], Client(ord(name[0]), name[0], "", 0.0))
            request = Request(len(self.requests) + 1, client, name.encode(), 0.0)
            request.options = Options(priority=priority)
            request.dispatches = int(again)
            self.requests[name] = request
            self.line.add(request)

    def take(self, count: int = 1) -> str:
        """The names of the next so many."""
        return " ".join(bytes(self.line.pick().raw).decode() for _ in range(count))

    def give_back(self, name: str) -> None:
        """A request that was picked returns from a worker."""
        self.requests[name].dispatches += 1
        self.line.add(self.requests[name])


@pytest.fixture
def line() -> Line:
    """An empty line."""
    return Line()


def test_law_6_a_clients_own_requests_are_first_come_first_served(line: Line) -> None:
    """Within a priority nobody overtakes itself."""
    line.add("a1", "a2", "a3")
    assert line.take(3) == "a1 a2 a3"


def test_law_6_clients_take_turns_one_request_each(line: Line) -> None:
    """However many one of them has waiting."""
    line.add("a1", "a2", "a3", "b1", "c1")
    assert line.take(5) == "a1 b1 c1 a2 a3"


def test_law_6_a_client_joins_at_the_rings_end(line: Line) -> None:
    """Also one that had nothing left and comes again."""
    line.add("a1", "a2", "b1")
    assert line.take(2) == "a1 b1"
    line.add("c1", "b2")
    assert line.take(3) == "a2 c1 b2"


def test_law_6_the_highest_priority_goes_first(line: Line) -> None:
    """Whoever came before."""
    line.add("a1", priority=0)
    line.add("b1")
    line.add("c1", priority=9)
    assert line.take(3) == "c1 b1 a1"


def test_law_6_turns_are_taken_within_a_priority(line: Line) -> None:
    """A client has a place in the ring of each priority."""
    line.add("a1", "a2", "b1", priority=1)
    line.add("a3", "b2", "a4", priority=2)
    assert line.take(6) == "a3 b2 a4 a1 b1 a2"


def test_law_6_every_eighth_pick_is_the_oldest_of_all(line: Line) -> None:
    """So the lowest priority does not starve."""
    line.add("z1", "z2", priority=0)
    line.add(*(f"a{number}" for number in range(1, 16)), priority=9)
    assert line.take(OLDEST_EVERY) == "a1 a2 a3 a4 a5 a6 a7 z1"
    assert line.take(OLDEST_EVERY) == "a8 a9 a10 a11 a12 a13 a14 z2"


def test_law_6_the_oldest_takes_no_turn_from_its_client(line: Line) -> None:
    """A client whose request was the oldest keeps its place in the ring."""
    line.add("a1", "a2", "b1", "b2", "b3", "b4", "a3", "a4", "a5", "a6", "a7")
    assert line.take(7) == "a1 b1 a2 b2 a3 b3 a4"
    assert line.take(3) == "b4 a5 a6"


def test_law_6_returned_requests_go_before_all_others_of_their_priority(line: Line) -> None:
    """Among themselves by arrival, whatever the order in which they came back."""
    line.add("a1", "b1", "a2", "a3")
    assert line.take(3) == "a1 b1 a2"
    line.give_back("a2")
    line.give_back("b1")
    line.give_back("a1")
    assert line.take(4) == "a1 b1 a2 a3"


def test_law_6_a_returned_request_waits_for_higher_priorities(line: Line) -> None:
    """It goes first in its own priority only."""
    line.add("a1", priority=1)
    line.take()
    line.give_back("a1")
    line.add("b1", priority=2)
    assert line.take(2) == "b1 a1"


def test_a_request_can_be_taken_out_of_the_middle(line: Line) -> None:
    """The others keep their order, and the sums are right."""
    line.add("a1", "a2", "a3", "b1")
    line.line.remove(line.requests["a2"])
    assert (line.line.size, line.line.bytes) == (3, 6)
    assert not line.requests["a2"].waiting
    assert line.clients["a"].waiting == 2
    assert line.take(3) == "a1 b1 a3"


def test_a_returned_request_can_be_taken_out(line: Line) -> None:
    """The others keep their order."""
    line.add("a1", "a2", "a3", "b1")
    line.take(3)
    for name in ("a1", "a2", "b1"):
        line.give_back(name)
    line.line.remove(line.requests["a1"])
    assert line.take(3) == "a2 b1 a3"


def test_a_client_with_nothing_left_is_out_of_the_ring(line: Line) -> None:
    """Its last request was taken out: the next one has its turn."""
    line.add("a1", "b1")
    line.line.remove(line.requests["a1"])
    assert line.take() == "b1"
    assert not line.line.ready


def test_of_client_is_all_that_it_has_waiting(line: Line) -> None:
    """Of every priority, returned ones too, oldest first."""
    line.add("a1", "b1")
    line.take(2)
    line.add("a2", priority=9)
    line.add("a3", priority=0)
    line.give_back("a1")
    assert [bytes(request.raw) for request in line.line.of_client(line.clients["a"])] == [b"a1", b"a2", b"a3"]
    assert line.line.of_client(line.clients["b"]) == []


def test_the_oldest_is_known_without_taking_it(line: Line) -> None:
    """None where nothing waits."""
    assert line.line.oldest() is None
    line.add("a1", "b1")
    line.take()
    assert line.line.oldest() is line.requests["b1"]


def test_rule_19_a_stalled_clients_requests_wait_but_are_not_picked(line: Line) -> None:
    """The line counts them, and says how many there are beside them."""
    line.add("a1", "b1", "a2")
    line.line.stall(line.clients["a"])
    assert line.line.size == 3
    assert line.take() == "b1"
    assert not line.line.ready
    assert line.line.oldest() is None
    assert {bytes(request.raw) for request in line.line} == {b"a1", b"a2"}


def test_rule_19_what_a_stalled_client_sends_or_gets_back_is_set_aside_too(line: Line) -> None:
    """A new request and a returned one."""
    line.add("a1", "b1")
    assert line.take(2) == "a1 b1"
    line.line.stall(line.clients["a"])
    line.add("a2")
    line.give_back("a1")
    assert line.line.size == 2
    assert not line.line.ready


def test_rule_19_after_a_stall_the_requests_line_up_again(line: Line) -> None:
    """At the ring's end, in their order, returned ones before all."""
    line.add("a1", "a2", "a3", "b1")
    line.take(2)
    line.give_back("a1")
    line.line.stall(line.clients["a"])
    line.add("b2", "c1")
    line.line.unstall(line.clients["a"])
    assert line.take(5) == "a1 b2 c1 a2 a3"


def test_rule_19_a_stalled_clients_request_can_be_taken_out(line: Line) -> None:
    """It times out where it is."""
    line.add("a1", "a2")
    line.line.stall(line.clients["a"])
    line.line.remove(line.requests["a1"])
    assert line.line.size == 1
    line.line.unstall(line.clients["a"])
    assert line.take() == "a2"


def test_rule_19_a_client_may_stall_with_nothing_waiting(line: Line) -> None:
    """Nothing is set aside, and nothing comes back."""
    line.add("a1")
    line.take()
    line.line.stall(line.clients["a"])
    line.line.unstall(line.clients["a"])
    assert not line.line.ready


def test_the_memory_of_arrivals_is_bounded(line: Line) -> None:
    """A long life with a short line leaves nothing behind."""
    for number in range(1000):
        line.add(f"a{number}", f"b{number}")
        line.take(2)
    assert len(line.line._arrivals) < 200


class Naive:
    """Law 6 word for word, with no thought of speed."""

    def __init__(self) -> None:
        self.waiting: list[Request] = []
        self.rings: dict[int, list[Client]] = {}
        self.picks = 0

    def pick(self) -> Request:
        """The next request."""
        self.picks += 1
        able = [request for request in self.waiting if not request.client.stalled]
        if self.picks % 8 == 0:
            return self.take(min(able, key=lambda request: request.seq))
        highest = max(request.options.priority for request in able)
        able = [request for request in able if request.options.priority == highest]
        returned = [request for request in able if request.dispatches]
        if returned:
            return self.take(min(returned, key=lambda request: request.seq))
        ring = self.rings[highest]
        client = ring.pop(0)
        ring.append(client)
        own = (request for request in able if request.client is client)
        return self.take(min(own, key=lambda request: request.seq))

    def take(self, request: Request) -> Request:
        """Take one out."""
        self.waiting.remove(request)
        self.tidy()
        return request

    def tidy(self) -> None:
        """In a ring are the clients with a request of that priority that was never dispatched."""
        for priority in range(10):
            fresh = [r.client for r in self.waiting if r.options.priority == priority and not r.dispatches]
            wanted = {client for client in fresh if not client.stalled}
            ring = [client for client in self.rings.get(priority, []) if client in wanted]
            ring += unique(client for client in fresh if client in wanted and client not in ring)
            self.rings[priority] = ring


def unique(clients: Iterable[Client]) -> list[Client]:
    """In their order, each once."""
    return list(dict.fromkeys(clients))


@pytest.mark.parametrize("seed", range(5))
def test_law_6_the_line_agrees_with_the_law_word_for_word(seed: int) -> None:
    """Whatever joins, returns, stalls or is taken out, the next is the one that a naive reading picks."""
    chance = random.Random(seed)
    line, naive = WaitingLine(), Naive()
    clients = [Client(number, f"c{number}", "", 0.0) for number in range(4)]
    out: list[Request] = []
    for seq in range(3000):
        match chance.choices(("add", "pick", "return", "remove", "stall"), (40, 40, 8, 4, 4))[0]:
            case "add":
                options = Options(priority=chance.choice((0, 5, 5, 5, 9)))
                request = Request(seq, chance.choice(clients), b"x", 0.0)
                request.options = options
                line.add(request)
                naive.waiting.append(request)
            case "pick" if line.ready:
                request = line.pick()
                assert request is naive.pick()
                request.dispatches += 1
                out.append(request)
            case "return" if out:
                request = out.pop(chance.randrange(len(out)))
                line.add(request)
                naive.waiting.append(request)
            case "remove" if naive.waiting:
                request = chance.choice(naive.waiting)
                line.remove(request)
                naive.take(request)
            case "stall":
                client = chance.choice(clients)
                (line.unstall if client.stalled else line.stall)(client)
                naive.waiting.sort(key=lambda request: request.seq)
        naive.tidy()


@pytest.mark.parametrize("seed", range(8))
def test_law_6_some_at_a_time_are_as_one_by_one(seed: int) -> None:
    """A client that is alone in the line for a while, and others that come between, of any priority and returned."""
    chance = random.Random(seed)
    single, together = Line(), Line()
    for _ in range(300):
        for _ in range(chance.randrange(12)):
            name = chance.choice("aaaaaaaaaaaaaaab" if chance.random() < 0.9 else "abc")
            name += str(len(single.requests))
            priority, again = (9 if chance.random() < 0.02 else 5), chance.random() < 0.02
            for line in (single, together):
                line.add(name, priority=priority, again=again)
        count = min(chance.randrange(20), single.line.ready)
        picked: list[str] = []
        while len(picked) < count:
            some = together.line.pick_some(count - len(picked))
            assert some
            picked += (bytes(request.raw).decode() for request in some)
        assert picked == single.take(count).split()
        for line in (single, together):
            assert line.line.size == line.line.ready == len(list(line.line))
            assert line.line.bytes == sum(len(request.raw) for request in line.line)
            assert [(c.name, c.waiting) for c in line.clients.values()] == [
                (c.name, c.waiting) for c in single.clients.values()
            ]


def test_the_memory_of_arrivals_is_bounded_when_some_are_picked(line: Line) -> None:
    """As when one is."""
    for number in range(3000):
        line.add(f"a{number}", f"a{number}+")
        assert line.line.pick_some(2)
        if line.line.size > 100:
            line.line.pick_some(100)
        assert len(line.line._arrivals) < 500
