from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from zqd import AsyncClient, Client
from zqd.client.keys import keys_of, refusal
from zqd.keys.pair import load_public, load_secret, write_pair
from zqd.keys.z85 import z85_encode

KEY = z85_encode(bytes(range(32)))
SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # noqa: S105 - of zmq_curve(7)
PLACE = "tcp://127.0.0.1:1"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A certificate of our own."""
    return write_pair(tmp_path, "me")[1]


def test_without_keys() -> None:
    """There is no CURVE then, in whatever way it is said."""
    for nothing in (None, "", [], ["", ""]):
        assert keys_of(2, nothing, None) == (None, None)


@pytest.mark.parametrize("kind", [str, Path])
def test_files(tmp_path: Path, secret: Path, kind: type) -> None:
    """Of the broker's public half and of our secret one."""
    (keys,) = keys_of(1, kind(tmp_path / "me.key"), kind(secret))
    assert keys is not None
    pair = load_secret(str(secret))
    assert (keys.server, keys.public, keys.secret) == (
        load_public(str(tmp_path / "me.key")),
        pair.public,
        pair.secret,
    )


def test_a_file_in_this_folder(tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is one, and no credential's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    assert keys_of(1, "me.key", "me.key_secret") == keys_of(1, tmp_path / "me.key", secret)


def test_one_for_each_broker() -> None:
    """In their order, and nothing for one without CURVE; without a certificate all have one pair, which is new."""
    other = z85_encode(bytes(32))
    first, second, third = keys_of(3, [KEY, "", other], None)
    assert first is not None
    assert second is None
    assert third is not None
    assert (first.server, third.server) == (bytes(range(32)), bytes(32))
    assert first.secret == third.secret
    assert keys_of(1, KEY, None) != keys_of(1, KEY, None)


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (
            {"curve_secret": "x"},
            ValueError,
            "curve_secret: means nothing without the key of a broker; expected server_key as well",
        ),
        (
            {"server_key": [KEY, KEY]},
            ValueError,
            "server_key: 2 keys for 1 brokers; expected one for all, or one for each",
        ),
        ({"server_key": 5}, TypeError, "server_key is a str or a path, not int"),
        ({"server_key": KEY.encode()}, TypeError, "server_key is a str or a path, not bytes"),
        ({"server_key": [None]}, TypeError, "server_key is a str or a path, not NoneType"),
        ({"server_key": KEY, "curve_secret": b"x"}, TypeError, "curve_secret is a str or a path, not bytes"),
        (
            {"server_key": "/no/such.key"},
            ValueError,
            "server_key: /no/such.key: cannot be read (No such file or directory); expected a readable file, or a key of 40 characters",
        ),
        (
            {"server_key": KEY, "curve_secret": "/no/such.key_secret"},
            ValueError,
            "curve_secret: /no/such.key_secret: cannot be read (No such file or directory); expected a readable file",
        ),
    ],
)
def test_keys_that_make_no_sense(arguments: dict[str, Any], kind: type[Exception], sentence: str) -> None:
    """Are refused when a client is made, either one, in one sentence."""
    for make in (Client, AsyncClient):
        with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
            make(PLACE, **arguments)


def test_a_secret_that_others_can_read(secret: Path) -> None:
    """Is refused, with the remedy."""
    os.chmod(secret, 0o644)
    with pytest.raises(ValueError, match=f"^curve_secret: {secret}: can be read by others .*`chmod 600"):
        Client(PLACE, server_key=KEY, curve_secret=secret)


@pytest.mark.parametrize("change", [str, lambda text: text[1:], lambda text: text + "x"])
@pytest.mark.parametrize("place", ["curve_secret", "server_key"])
def test_a_secret_in_place_of_its_file(change: Callable[[str], str], place: str) -> None:
    """Is not repeated by the exception, nor is one that is cut short."""
    text = change(SECRET)
    arguments: dict[str, Any] = {"server_key": KEY, "curve_secret": "/no/such.key_secret", place: text}
    with pytest.raises(ValueError, match=r"^curve_secret: |^server_key: the key is ") as caught:
        Client(PLACE, **arguments)
    assert text[1:-1] not in str(caught.value)


@pytest.mark.parametrize("curve", [False, True])
def test_only_what_is_beyond_doubt_ends_requests(curve: bool) -> None:
    """A connection that was merely closed is not; each reason is another one."""
    mismatch = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
    reasons = [
        refusal(zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, curve=curve),
        refusal(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, mismatch, curve=curve),
        refusal(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 104, curve=curve),
        refusal(zmq.EVENT_DISCONNECTED, 0, curve=curve),
    ]
    assert [final for _, final in reasons] == [True, True, False, curve]
    assert len({reason for reason, _ in reasons}) == 4
