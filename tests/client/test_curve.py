"""Both clients at brokers with CURVE, with the right keys and with wrong ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zqd as public
from tests.client.askers import Asker, InBackground
from tests.client.serving import Sockets
from tests.daemon.configured import ConfiguredZqd
from tests.daemon.keyring import Keyring
from zqd.client import carrier, session

UNAUTHORIZED = "this key is not authorized there"
WRONG_SERVER = "the server key is not its key, or it does not use CURVE"
NEED_KEY = "it may use CURVE: give server_key"
NO_CURVE = "it does not use CURVE, and server_key is given"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob, who may enter, and of two who may not."""
    return Keyring(tmp_path, "carol", "other")


@pytest.fixture
def zqd(tmp_path: Path, keyring: Keyring, sockets: Sockets) -> Iterator[ConfiguredZqd]:
    """A zqd with CURVE for clients, and a worker that echoes."""
    with ConfiguredZqd(tmp_path, keyring.settings("frontend")) as zqd:
        sockets.worker(zqd.backend)
        zqd.wait_until("its worker", lambda queue: queue["workers"] == 1)
        yield zqd


def keys(keyring: Keyring, name: str = "alice", server: str = "zqd") -> dict[str, Any]:
    """A client's arguments with this pair and that server's key."""
    return {"server_key": keyring.public(server), "curve_secret": keyring.secret_path(name)}


def assert_refused(outcomes: list[Any], endpoint: str, reason: str) -> None:
    """Each at once: none of them waits ten minutes."""
    for error in outcomes:
        assert type(error) is public.Unreachable
        assert error.reason == f"no connection to {endpoint} ({reason})"


def test_the_right_key(zqd: ConfiguredZqd, keyring: Keyring, asker: Asker) -> None:
    """Gets answers, under its name."""
    answers = asker.ask(zqd.frontend, b"1", [b"2", b"", b"3"], **keys(keyring))
    assert answers == [b"1", [b"2", b"", b"3"]]
    assert [line["key"] for line in zqd.log("client.joined")] == ["alice"]


def test_its_name_in_zqctl(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """While it is connected."""
    with public.Client(zqd.frontend, **keys(keyring)) as client:
        assert client.request(b"x") == b"x"
        assert [row["key"] for row in zqd.control("clients")] == ["alice"]
        assert "alice" in zqd.zqctl("clients")[1]


def test_many_at_a_time(zqd: ConfiguredZqd, keyring: Keyring, asker: Asker) -> None:
    """Everyone has the own answer."""
    outcomes = asker.crowd(zqd.frontend, 20, 50, **keys(keyring))
    assert len(outcomes) == 1000
    assert [(body, got) for body, got in outcomes if got != body] == []


def test_without_a_key_of_its_own(tmp_path: Path, keyring: Keyring, sockets: Sockets, asker: Asker) -> None:
    """It has one, which nobody knows: it gets in only where everybody does."""
    settings = keyring.settings("frontend", more="frontend_anonymous = true\n")
    server = {"server_key": keyring.public("zqd")}
    with ConfiguredZqd(tmp_path, settings) as zqd:
        sockets.worker(zqd.backend)
        assert asker.ask(zqd.frontend, b"x", **server) == [b"x"]
        zqd.reload(keyring.settings("frontend"))
        refused = InBackground(asker.ask, zqd.frontend, b"x", timeout=600, **server).result()
        assert_refused(refused, zqd.frontend, UNAUTHORIZED)


@pytest.mark.parametrize(
    ("name", "server", "reason"), [("carol", "zqd", UNAUTHORIZED), ("alice", "other", WRONG_SERVER)]
)
@pytest.mark.parametrize("timeout", [600, None])
def test_a_wrong_key(
    zqd: ConfiguredZqd,
    keyring: Keyring,
    asker: Asker,
    name: str,
    server: str,
    reason: str,
    timeout: float | None,
) -> None:
    """Is told, of the client and of the server, whatever the time-out is, as often as it is tried."""
    options = {"timeout": timeout, **keys(keyring, name, server)}
    refused = InBackground(asker.ask, zqd.frontend, b"1", b"2", **options).result()
    assert_refused(refused, zqd.frontend, reason)


def test_without_keys(zqd: ConfiguredZqd, asker: Asker) -> None:
    """At a broker that wants them."""
    refused = InBackground(asker.ask, zqd.frontend, b"x", timeout=600).result()
    assert_refused(refused, zqd.frontend, NEED_KEY)


def test_with_keys_that_nobody_wants(sockets: Sockets, keyring: Keyring, asker: Asker) -> None:
    """At a broker without CURVE."""
    place = sockets.server()
    refused = InBackground(asker.ask, place, b"x", timeout=600, **keys(keyring)).result()
    assert_refused(refused, place, NO_CURVE)


def test_a_time_out_says_what_was_seen(
    tmp_path: Path, zqd: ConfiguredZqd, keyring: Keyring, asker: Asker
) -> None:
    """Where another broker may still come."""
    endpoints = [zqd.frontend, f"ipc://{tmp_path}/nobody"]
    (error,) = asker.ask(endpoints, b"x", timeout=1, **keys(keyring, "carol"))
    assert type(error) is public.Unreachable
    assert error.reason == f"no connection to {endpoints[0]} ({UNAUTHORIZED}) or {endpoints[1]} within 1 s"


def test_authorized_later(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """The same client gets in when zqd was told of its key, and reloaded."""
    with public.Client(zqd.frontend, timeout=600, **keys(keyring, "carol")) as client:
        refused = InBackground(client.request, b"x").result()
        assert_refused([refused], zqd.frontend, UNAUTHORIZED)
        keyring.authorize("alice", "carol")
        zqd.control("reload")
        assert InBackground(client.request, b"x").result() == b"x"
        assert [row["key"] for row in zqd.control("clients")] == ["carol"]


def test_refused_no_oftener_than_once_a_second(
    zqd: ConfiguredZqd, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that tries without a pause does not keep zqd busy."""
    monkeypatch.setattr(carrier, "ASK_AGAIN", 600.0)
    with public.Client(zqd.frontend, timeout=0.3, **keys(keyring, "carol")) as client:
        outcomes = [InBackground(client.request, b"x").result() for _ in range(4)]
        assert {type(outcome) for outcome in outcomes} == {public.Unreachable}
        assert all(UNAUTHORIZED in outcome.reason for outcome in outcomes)
        assert len(zqd.log("peer.refused")) == 1


def test_revoked_with_a_request_in_flight(tmp_path: Path, keyring: Keyring) -> None:
    """It was sent, and may have been done: that is said, with what is wrong now."""
    with (
        ConfiguredZqd(tmp_path, keyring.settings("frontend")) as zqd,
        public.Client(zqd.frontend, timeout=None, **keys(keyring)) as client,
    ):
        asked = InBackground(client.request, b"x")
        zqd.wait_until("it to be there", lambda queue: queue["queued"] == 1)
        keyring.authorize("bob")
        zqd.control("reload")
        error = asked.result()
        assert type(error) is public.BrokerLost
        assert re.search(
            f"after the request was sent; now no connection to .* \\({UNAUTHORIZED}\\)", error.reason
        )


def test_a_broker_that_is_restarted(zqd: ConfiguredZqd, keyring: Keyring, asker: Asker) -> None:
    """With another list of keys, and at the same place: a client that may still enter notices nothing."""
    crowd = InBackground(asker.crowd, zqd.frontend, 10, 100, timeout=600, **keys(keyring))
    zqd.wait_until("some replies", lambda queue: queue["replied"] >= 100)
    text = zqd.config_path.read_text()
    for endpoint in (zqd.frontend, zqd.backend):
        text = text.replace("tcp://127.0.0.1:0", endpoint, 1)
    zqd.write(text)
    keyring.authorize("alice", "carol")
    assert zqd.stop() == 0
    zqd.start()
    outcomes = crowd.result()
    assert [(body, got) for body, got in outcomes if got != body] == []


# Several brokers


@pytest.fixture
def pair(tmp_path: Path, sockets: Sockets) -> Iterator[list[tuple[ConfiguredZqd, Keyring]]]:
    """Two brokers with keys of their own, the second of which knows Carol; their workers answer `a …` and `b …`."""
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    first, second = (Keyring(place, "carol") for place in places)
    second.list.write_text(f"{first.public('alice')} alice\n{first.public('carol')} carol\n")
    with (
        ConfiguredZqd(places[0], first.settings("frontend")) as a,
        ConfiguredZqd(places[1], second.settings("frontend")) as b,
    ):
        sockets.worker(a.backend, lambda frames: [b"a " + frames[0]])
        sockets.worker(b.backend, lambda frames: [b"b " + frames[0]])
        for zqd in (a, b):
            zqd.wait_until("its worker", lambda queue: queue["workers"] == 1)
        yield [(a, first), (b, second)]


def several(pair: list[tuple[ConfiguredZqd, Keyring]], name: str) -> tuple[list[str], dict[str, Any]]:
    """Endpoints and keys of both, with this pair of the first."""
    options = {
        "server_key": [keyring.public("zqd") for _, keyring in pair],
        "curve_secret": pair[0][1].secret_path(name),
        "timeout": 600,
    }
    return [zqd.frontend for zqd, _ in pair], options


def test_brokers_with_different_keys(pair: list[tuple[ConfiguredZqd, Keyring]], asker: Asker) -> None:
    """When the first dies the second takes over, with its own key."""
    endpoints, options = several(pair, "alice")
    crowd = InBackground(asker.crowd, endpoints, 10, 100, **options)
    pair[0][0].wait_until("some replies", lambda queue: queue["replied"] >= 50)
    pair[0][0].kill()
    outcomes = crowd.result()
    assert len(outcomes) == 1000
    assert [(body, got) for body, got in outcomes if got not in (b"a " + body, b"b " + body)] == []
    assert {line["key"] for zqd, _ in pair for line in zqd.log("client.joined")} == {"alice"}


def test_the_first_refuses(pair: list[tuple[ConfiguredZqd, Keyring]], asker: Asker) -> None:
    """Then the second has the requests, without any wait."""
    endpoints, options = several(pair, "carol")
    assert InBackground(asker.ask, endpoints, b"x", **options).result() == [b"b x"]


@pytest.mark.parametrize("first", ["curve", "plain"])
def test_keys_of_one_broker_only(
    zqd: ConfiguredZqd,
    keyring: Keyring,
    sockets: Sockets,
    asker: Asker,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    """The other has none, and needs none, wherever it stands in the list."""
    monkeypatch.setattr(session, "GRACE", 60.0)  # the first has as long as it needs, on a loaded machine too
    ways = {
        "curve": (zqd.frontend, keyring.public("zqd")),
        "plain": (sockets.server(lambda _: [b"plain"]), ""),
    }
    (place, key), (other, other_key) = ways[first], ways["plain" if first == "curve" else "curve"]
    options = {**keys(keyring), "server_key": [key, other_key], "timeout": 600}
    answer = InBackground(asker.ask, [place, other], b"curve", **options).result()
    assert answer == [first.encode()]
