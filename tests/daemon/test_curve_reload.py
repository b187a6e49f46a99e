"""Keys that change while zqd runs: expired, revoked and added ones, CURVE that comes and goes, and files that are bad."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.daemon.keyring import CurvePeer, Keyring, assert_no_fault, both_there, refusal
from tests.interop.peers import exchange
from tests.support.processes import wait_for


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob, and others that are on no list."""
    return Keyring(tmp_path, "carol", "other")


@pytest.fixture
def zqd(tmp_path: Path, keyring: Keyring) -> Iterator[ConfiguredZqd]:
    """One with CURVE on both sides; it ends without a fault."""
    with ConfiguredZqd(tmp_path, keyring.settings()) as zqd:
        yield zqd
        assert_no_fault(zqd)


def names(zqd: ConfiguredZqd, peers: str = "clients") -> dict[str, str]:
    """The keys' names of those who are connected, by their ids."""
    return {row["id"]: row["key"] for row in zqd.control(peers)}


def reasons(zqd: ConfiguredZqd) -> list[str]:
    """Of all refusals."""
    return [line["reason"] for line in zqd.log("peer.refused")]


# Keys


def test_a_key_that_expires(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """At that time its open connection is closed, and it may not come back; others stay."""
    with (
        ConfiguredZqd(tmp_path, keyring.settings("frontend", more="frontend_anonymous = true\n")) as zqd,
        CurvePeer(zqd.frontend, keyring.client("alice")) as alice,
    ):
        alice.establish()
        worker = connect(zmq.REP, zqd.backend)
        client = connect(zmq.REQ, zqd.frontend, **keyring.options("carol"))
        exchange(client, worker)
        assert sorted(names(zqd).values()) == ["alice", "anonymous"]
        expiry = time.time() + 2
        keyring.authorize("alice", until=expiry)
        zqd.control("reload")
        alice.read_to_end()
        assert time.time() >= expiry
        key = keyring.public("alice")
        assert refusal(zqd, alice.address).startswith(f"key {key} (alice) has expired at ")
        with CurvePeer(zqd.frontend, keyring.client("alice")) as again:
            again.welcome()
            again.tell(again.client.initiate())
            assert refusal(zqd, again.address).startswith(f"key {key} (alice) has expired at ")
        exchange(client, worker)
        assert list(names(zqd).values()) == ["anonymous"]


def test_two_keys_that_expire_one_after_the_other(tmp_path: Path, keyring: Keyring) -> None:
    """The second one is not forgotten over the first."""
    with (
        ConfiguredZqd(tmp_path, keyring.settings("frontend")) as zqd,
        CurvePeer(zqd.frontend, keyring.client("alice")) as alice,
        CurvePeer(zqd.frontend, keyring.client("bob")) as bob,
    ):
        for peer in (alice, bob):
            peer.establish()
        now = time.time()
        with keyring.list.open("w") as file:
            for name, until in (("alice", now + 2), ("bob", now + 3)):
                expiry = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until))
                file.write(f"{keyring.public(name)} {name} {expiry}\n")
        zqd.control("reload")
        for peer in (alice, bob):
            peer.read_to_end()
            assert "has expired" in refusal(zqd, peer.address)


def test_a_revoked_key(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """A reload closes its connections; the others' stay as they are."""
    alice, bob = (connect(zmq.REQ, zqd.frontend, **keyring.options(name)) for name in ("alice", "bob"))
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    for client in (alice, bob):
        exchange(client, worker)
    before = names(zqd)
    keyring.authorize("bob")
    zqd.hang_up()
    zqd.wait_until("its end", lambda queue: queue["clients"] == 1)
    assert names(zqd) == {peer: name for peer, name in before.items() if name == "bob"}
    assert f"key {keyring.public('alice')} is not authorized" in reasons(zqd)
    exchange(bob, worker)
    assert len(zqd.log("worker.joined")) == 1


def test_a_revoked_worker(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """What it was running goes to another."""
    client = connect(zmq.REQ, zqd.frontend, **keyring.options("bob"))
    revoked = connect(zmq.REP, zqd.backend, **keyring.options("alice"))
    client.send(b"precious")
    assert revoked.recv() == b"precious"
    other = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    both_there(zqd, workers=2)
    keyring.authorize("bob")
    zqd.control("reload")
    other.send(other.recv())
    assert client.recv() == b"precious"
    (retried,) = zqd.log("request.retried")
    assert retried["attempts"] == 1
    assert list(names(zqd, "workers").values()) == ["bob"]


def test_an_added_key(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """May enter from the reload on; nobody notices."""
    alice = connect(zmq.REQ, zqd.frontend, **keyring.options("alice"))
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    exchange(alice, worker)
    connect(zmq.REQ, zqd.frontend, **keyring.options("carol"))
    wait_for(lambda: reasons(zqd), "the refusal")
    before = names(zqd)
    keyring.authorize("alice", "bob", "carol")
    zqd.control("reload")
    exchange(connect(zmq.REQ, zqd.frontend, **keyring.options("carol")), worker)
    assert names(zqd).items() >= before.items()
    assert "carol" in names(zqd).values()
    exchange(alice, worker)


def test_a_directory_of_keys(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """A certificate's name is its file's; one that is taken away is revoked."""
    text = keyring.settings("frontend").replace(str(keyring.list), str(keyring.folder))
    with ConfiguredZqd(tmp_path, text) as zqd:
        worker = connect(zmq.REP, zqd.backend)
        alice, carol = (
            connect(zmq.REQ, zqd.frontend, **keyring.options(name)) for name in ("alice", "carol")
        )
        for client in (alice, carol):
            exchange(client, worker)
        assert sorted(names(zqd).values()) == ["alice", "carol"]
        (keyring.folder / "carol.key").unlink()
        zqd.control("reload")
        zqd.wait_until("its end", lambda queue: queue["clients"] == 1)
        exchange(alice, worker)


@pytest.mark.parametrize(
    "bad",
    ["", "not a key at all\n", "alice\n"],
    ids=["gone", "three words", "one word"],
)
def test_bad_key_files_change_nothing(
    zqd: ConfiguredZqd, keyring: Keyring, connect: Connect, bad: str
) -> None:
    """The reload is refused with what is wrong; who was there stays, who may enter may, who may not may not."""
    alice = connect(zmq.REQ, zqd.frontend, **keyring.options("alice"))
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    exchange(alice, worker)
    before = names(zqd)
    if bad:
        keyring.list.write_text(bad)
    else:
        keyring.list.unlink()
    sentence = zqd.refused(keyring.settings(more="prefetch = 3\n"))
    lines = sentence.splitlines()
    assert len(lines) == 2  # one for each side that has this list
    assert lines[0].startswith(f"queues.default.frontend_authorized_keys: {keyring.list}: ")
    (event,) = zqd.log("config.rejected")
    assert event["problems"] == lines
    assert zqd.control("config", key="queues.default.prefetch")[0]["value"] == 1
    exchange(alice, worker)
    assert names(zqd) == before
    exchange(connect(zmq.REQ, zqd.frontend, **keyring.options("bob")), worker)
    connect(zmq.REQ, zqd.frontend, **keyring.options("carol"))
    wait_for(lambda: reasons(zqd), "the refusal")


def test_a_secret_that_others_can_read_changes_nothing(
    zqd: ConfiguredZqd, keyring: Keyring, connect: Connect
) -> None:
    """By a signal as by zqctl, which says what mends it."""
    keyring.secret_path("zqd").chmod(0o644)
    status, _, errors = zqd.zqctl("reload")
    assert status == 1
    assert f"can be read by others (mode 0644); expected `chmod 600 {keyring.secret_path('zqd')}`" in errors
    zqd.hang_up()
    assert len(zqd.log("config.rejected")) == 2
    exchange(
        connect(zmq.REQ, zqd.frontend, **keyring.options()),
        connect(zmq.REP, zqd.backend, **keyring.options("bob")),
    )


# CURVE itself


def test_curve_comes(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """Whoever is connected without it has to go, and cannot come back; who has a key may come. The other side stays."""
    with ConfiguredZqd(tmp_path, DEFAULT) as zqd:
        plain, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
        exchange(plain, worker)
        answer = zqd.reload(keyring.settings("frontend"))
        assert {change["key"] for change in answer["changes"] if change["applied"]} == {
            "queues.default.frontend_curve_secret",
            "queues.default.frontend_authorized_keys",
        }
        wait_for(lambda: "peer uses NULL, this endpoint CURVE" in reasons(zqd), "it to be refused")
        assert "this endpoint uses CURVE now" in reasons(zqd)
        exchange(connect(zmq.REQ, zqd.frontend, **keyring.options()), worker)
        assert list(names(zqd).values()) == ["alice"]
        assert len(zqd.log("worker.joined")) == 1
        assert_no_fault(zqd)


def test_curve_goes(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """Whoever is there stays, encrypted; who comes has to come without."""
    client = connect(zmq.REQ, zqd.frontend, **keyring.options())
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    exchange(client, worker)
    zqd.reload(DEFAULT)
    exchange(connect(zmq.REQ, zqd.frontend), worker)
    exchange(client, worker)
    assert sorted(names(zqd).values()) == ["", "alice"]


def test_another_secret_of_zqd(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """Whoever is connected stays; who comes has to know the new key."""
    client = connect(zmq.REQ, zqd.frontend, **keyring.options())
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    exchange(client, worker)
    before = names(zqd)
    zqd.reload(keyring.settings(server="other"))
    exchange(client, worker)
    assert names(zqd) == before
    connect(zmq.REQ, zqd.frontend, **keyring.options("bob"))
    wait_for(
        lambda: "HELLO is not for our key: the peer has another server key" in reasons(zqd), "the refusal"
    )
    exchange(connect(zmq.REQ, zqd.frontend, **keyring.options("bob", server="other")), worker)


def test_a_handshake_in_the_middle_of_a_reload(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """Keys that it was begun with may not be there any more: it has to begin again."""
    with CurvePeer(zqd.frontend, keyring.client()) as peer:
        peer.welcome()
        zqd.control("reload")
        peer.read_to_end()
    with CurvePeer(zqd.frontend, keyring.client()) as peer:
        peer.establish()


def test_a_queue_that_comes_with_curve(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """Its keys are read with the reload that brings it, or it does not come."""
    jobs = DEFAULT.replace("default", "jobs") + f'frontend_curve_secret = "{keyring.secret_path("other")}"\n'
    nobody = f'frontend_authorized_keys = "{keyring.folder}/none"\n'
    assert "queues.jobs.frontend_authorized_keys" in zqd.refused(keyring.settings() + jobs + nobody)
    zqd.reload(keyring.settings() + jobs + "frontend_anonymous = true\n")
    row = zqd.queue("jobs")
    exchange(
        connect(zmq.REQ, row["frontend"][0], **keyring.options(server="other")),
        connect(zmq.REP, row["backend"][0]),
    )


# Addresses


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('frontend_deny = ["127.0.0.0/8"]\n', "its address is denied"),
        ('frontend_allow = ["192.0.2.0/24"]\n', "its address is not among those allowed"),
    ],
    ids=["deny", "allow"],
)
def test_an_address_that_is_denied_by_a_reload(
    tmp_path: Path, connect: Connect, line: str, reason: str
) -> None:
    """Whoever is connected from there has to go, and nobody comes from there; the other side stays."""
    with ConfiguredZqd(tmp_path, DEFAULT) as zqd:
        client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
        exchange(client, worker)
        zqd.reload(DEFAULT + line)
        row = zqd.wait_until("its end", lambda queue: queue["clients"] == 0)
        wait_for(lambda: reasons(zqd).count(reason) >= 2, "it to be refused when it comes back")
        assert row["workers"] == 1
        zqd.reload(DEFAULT)
        exchange(client, worker)
        assert len(zqd.log("worker.joined")) == 1
        assert_no_fault(zqd)
