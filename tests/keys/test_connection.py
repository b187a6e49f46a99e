from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.keys.test_pair import OTHER, PUBLIC, SECRET, SECRET_CERTIFICATE, private
from zqd.errors import ConfigError
from zqd.keys.connection import Keys, connection_keys, own_pair
from zqd.keys.pair import KeyPair
from zqd.keys.z85 import z85_decode

KEYS = Keys(z85_decode(OTHER), z85_decode(PUBLIC), z85_decode(SECRET))


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A certificate of our own."""
    return private(tmp_path / "me.key_secret", SECRET_CERTIFICATE)


def problems(servers: list[str | None], secret: str | None, count: int) -> list[str]:
    """Why there are no keys."""
    with pytest.raises(ConfigError) as refused:
        connection_keys(servers, secret, count)
    return refused.value.problems


def test_without_keys() -> None:
    """There is no CURVE then."""
    for nothing in ([], [None], [None, None]):
        assert connection_keys(nothing, None, 2) == (None, None)


def test_a_key_for_each_broker(secret: str) -> None:
    """In their order, and nothing for one without CURVE; our own is the same for all."""
    first, second, third = connection_keys([OTHER, None, PUBLIC], secret, 3)
    assert first == KEYS
    assert second is None
    assert third == Keys(z85_decode(PUBLIC), KEYS.public, KEYS.secret)


def test_a_key_for_all_brokers(secret: str) -> None:
    """A single one is that of each."""
    assert connection_keys([OTHER], secret, 3) == (KEYS,) * 3


def test_a_pair_of_the_caller() -> None:
    """Is found by what the caller gives for it, also where there is no certificate."""
    asked: list[str | None] = []

    def own(secret: str | None) -> KeyPair:
        asked.append(secret)
        return KeyPair(KEYS.public, KEYS.secret)

    assert connection_keys([OTHER], None, 1, own) == (KEYS,)
    assert connection_keys([OTHER], "x", 1, own) == (KEYS,)
    assert asked == [None, "x"]


def test_every_problem_is_named() -> None:
    """By the setting that it is in."""
    missing = "cannot be read (No such file or directory); expected a readable file"
    assert problems(["/a", OTHER, "/b"], "/c", 3) == [
        f"server_key: /a: {missing}, or a key of 40 characters",
        f"server_key: /b: {missing}, or a key of 40 characters",
        f"curve_secret: /c: {missing}",
    ]
    assert problems(["/a"], None, 1) == [f"server_key: /a: {missing}, or a key of 40 characters"]


def test_settings_that_make_no_sense() -> None:
    """A secret that nobody will see, and keys for other brokers than there are."""
    assert problems([None], "/x", 1) == [
        "curve_secret: means nothing without the key of a broker; expected server_key as well"
    ]
    assert problems([OTHER, OTHER], None, 3) == [
        "server_key: 2 keys for 3 brokers; expected one for all, or one for each"
    ]


def test_an_empty_key_is_none() -> None:
    """And does not turn CURVE off, which would send in the clear."""
    (line,) = problems([""], None, 1)
    assert line.startswith("server_key: .: is not a regular file; expected a file of keys")


def test_our_own_pair(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is that of a file, by its path or its name in this folder, which is no credential's; or a new one."""
    monkeypatch.chdir(Path(secret).parent)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    for path in (secret, "me.key_secret"):
        assert own_pair(path).secret == KEYS.secret
    assert own_pair(None).secret != own_pair(None).secret


@pytest.mark.parametrize("text", [SECRET, SECRET[1:], SECRET + "x"])
def test_a_secret_in_place_of_its_file(text: str) -> None:
    """Is refused and not repeated, nor is one that is cut short; so it is in place of a broker's key."""
    assert problems([OTHER], text, 1) == [
        "curve_secret: it is a key itself and not the file that has it; expected the path of a .key_secret certificate"
    ]
    if text != SECRET:
        (line,) = problems([text], None, 1)
        assert line.startswith("server_key: the key is ")
        assert text[1:-1] not in line


def test_a_file_that_is_called_like_a_key_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exists, and what is wrong with it is told with its path."""
    name = SECRET.replace("/", "x")
    private(tmp_path / name, "x = y\n")
    monkeypatch.chdir(tmp_path)
    assert problems([OTHER], name, 1)[0].endswith(
        f"{name}: has no secret-key; expected the .key_secret half of a certificate"
    )


def test_a_socket_uses_them() -> None:
    """All three, each as the option that is its own."""
    socket: Any = SimpleNamespace()
    KEYS.apply(socket)
    assert vars(socket) == {
        "curve_serverkey": KEYS.server,
        "curve_publickey": KEYS.public,
        "curve_secretkey": KEYS.secret,
    }


def test_no_secret_is_shown() -> None:
    """In no repr."""
    for form in (repr(KEYS), str(KEYS)):
        assert repr(KEYS.secret) not in form
        assert SECRET not in form
