"""What a reload says of keys in files that have changed: nothing of the configuration itself is different."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import ConfiguredZqd
from tests.daemon.keyring import Keyring, assert_no_fault, both_there
from tests.interop.peers import exchange

LIST = "queues.default.frontend_authorized_keys"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob, and others that are on no list."""
    return Keyring(tmp_path, "carol", "other")


@pytest.fixture
def zqd(tmp_path: Path, keyring: Keyring) -> Iterator[ConfiguredZqd]:
    """One with CURVE on the frontend; it ends without a fault."""
    with ConfiguredZqd(tmp_path, keyring.settings("frontend")) as zqd:
        yield zqd
        assert_no_fault(zqd)


def row(key: str, old: str, new: str) -> dict[str, Any]:
    """A row of what a reload answers."""
    return {"key": key, "old": old, "new": new, "applied": True}


def test_the_same_keys(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """In another order, in a file that was written anew: nothing has changed."""
    keyring.authorize("bob", "alice")
    assert zqd.control("reload")["changes"] == []
    status, out, _ = zqd.zqctl("reload")
    assert (status, out) == (0, "nothing has changed\n")


def test_a_revoked_key_whose_owner_is_there(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """How many keys went, and how many connections with them; zqctl and the events tell it."""
    worker = connect(zmq.REP, zqd.backend)
    for name in ("alice", "bob"):
        exchange(connect(zmq.REQ, zqd.frontend, **keyring.options(name)), worker)
    both_there(zqd, clients=2)
    keyring.authorize("bob")
    status, out, _ = zqd.zqctl("reload")
    assert (status, out) == (0, f"{LIST}: 2 keys -> 1 key (1 removed; 1 connection closed)\n")
    assert zqd.log("config.reloaded")[-1]["changed"] == [LIST]
    assert zqd.log("queue.changed")[-1]["changed"] == [LIST]


def test_keys_that_come_and_go(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """Removed, added and changed ones are counted each for itself."""
    keyring.authorize("alice", "carol", until=time.time() + 3600)
    assert zqd.control("reload")["changes"] == [row(LIST, "2 keys", "2 keys (1 removed, 1 added, 1 changed)")]


def test_another_key_of_zqd(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """By its public half, which peers have to know; the secret is nowhere."""
    old, new = (keyring.public(name) for name in ("zqd", "other"))
    secret = keyring.secret_path("other").read_text()
    keyring.secret_path("zqd").write_text(secret)
    told = row("queues.default.frontend_curve_secret", f"key {old}", f"key {new}")
    assert zqd.control("reload")["changes"] == [told]


def test_another_file_with_other_keys(zqd: ConfiguredZqd, keyring: Keyring, tmp_path: Path) -> None:
    """The setting has changed and so have the keys: both are said, and the event names the setting once."""
    other = tmp_path / "others"
    other.write_text(f"{keyring.public('alice')} alice\n")
    text = keyring.settings("frontend").replace(f'"{keyring.list}"', f'"{other}"')
    assert zqd.reload(text)["changes"] == [
        row(LIST, f'"{keyring.list}"', f'"{other}"'),
        row(LIST, "2 keys", "1 key (1 removed)"),
    ]
    assert zqd.log("config.reloaded")[-1]["changed"] == [LIST]
