from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from zqd.errors import ConfigError
from zqd.keys.pair import load_public, load_secret, write_pair
from zqd.keys.z85 import z85_encode
from zqd.worker import Worker
from zqd.worker.keys import load_keys, refusal
from zqd.worker.settings import SETTINGS, WorkerSettings, describe, load

SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"  # noqa: S105 - of zmq_curve(7)
KEY = z85_encode(bytes(range(32)))
OTHER = z85_encode(bytes(32))
THREE = ("tcp://a:1", "tcp://b:1", "tcp://c:1")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A certificate of our own."""
    return write_pair(tmp_path, "me")[1]


def test_without_keys() -> None:
    """There is no CURVE then, in whatever way that is said."""
    assert load_keys(WorkerSettings(backend=THREE)) == (None, None, None)
    for text in ("", ",,"):
        assert load(None, "none", [f"server_key={text}"])[0].server_key == ()


def test_files(tmp_path: Path, secret: Path) -> None:
    """Of the broker's public half and of our secret one."""
    settings = WorkerSettings(server_key=(str(tmp_path / "me.key"),), curve_secret=str(secret))
    (keys,) = load_keys(settings)
    pair = load_secret(str(secret))
    assert keys is not None
    assert (keys.server, keys.public, keys.secret) == (
        load_public(str(tmp_path / "me.key")),
        pair.public,
        pair.secret,
    )
    assert load_keys(settings) == (keys,)  # the same again: a reload leaves the connection as it is


def test_a_credential(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of systemd's, by its bare name."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secret.parent))
    (keys,) = load_keys(WorkerSettings(server_key=(KEY,), curve_secret=secret.name))
    assert keys is not None
    assert keys.secret == load_secret(str(secret)).secret


def test_a_key_for_each_broker() -> None:
    """In their order, and nothing for one without CURVE; a single one is for all."""
    first, second, third = load_keys(WorkerSettings(backend=THREE, server_key=(KEY, "", OTHER)))
    assert first is not None
    assert second is None
    assert third is not None
    assert (first.server, third.server) == (bytes(range(32)), bytes(32))
    assert load_keys(WorkerSettings(backend=THREE, server_key=(KEY,))) == (first,) * 3


def test_how_keys_are_written(tmp_path: Path) -> None:
    """One as a string, or a list of them; on the command line with commas."""
    config = tmp_path / "worker.toml"
    for text, keys in ((f'"{KEY}"', (KEY,)), (f'["{KEY}", "", "{OTHER}"]', (KEY, "", OTHER))):
        config.write_text(f"server_key = {text}\n")
        settings, sources = load(config, "none")
        assert settings.server_key == keys
        config.write_text(describe(settings, sources))
        assert load(config, "none")[0] == settings
    assert load(None, "none", [f"server_key={KEY},{OTHER}"])[0].server_key == (KEY, OTHER)


@pytest.mark.parametrize("value", [5, True, [5], [["x"]], {"a": "b"}])
def test_what_is_no_key(value: object) -> None:
    """Is said with what is expected."""
    row = next(row for row in SETTINGS if row.key == "server_key")
    with pytest.raises(ValueError, match="expected a key of 40 characters, or the path of a certificate"):
        row.parse(value)


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        (
            {"curve_secret": "/x"},
            ["curve_secret: means nothing without the key of a broker; expected server_key as well"],
        ),
        (
            {"backend": THREE, "server_key": (KEY, KEY)},
            ["server_key: 2 keys for 3 brokers; expected one for all, or one for each"],
        ),
        (
            {"backend": THREE, "server_key": ("/a", KEY, "/b"), "curve_secret": "/c"},
            [
                "server_key: /a: cannot be read (No such file or directory); expected a readable file, or a key of 40 characters",
                "server_key: /b: cannot be read (No such file or directory); expected a readable file, or a key of 40 characters",
                "curve_secret: /c: cannot be read (No such file or directory); expected a readable file",
            ],
        ),
    ],
)
def test_what_cannot_be_had(settings: dict[str, object], lines: list[str]) -> None:
    """Has a line for each, and is one of `Worker` too."""
    with pytest.raises(ConfigError) as refused:
        load_keys(WorkerSettings(**settings))  # type: ignore[arg-type]
    assert refused.value.problems == lines
    arguments = {"backend": "tcp://a:1", "handler": bytes, **settings}
    with pytest.raises(ValueError, match="^" + re.escape("\n".join(lines)) + "$"):
        Worker(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [str, lambda text: text[1:], lambda text: text + "x"])
def test_a_secret_in_place_of_its_file(change: Callable[[str], str]) -> None:
    """Is refused and not repeated, wherever it stands, nor is one that is cut short."""
    text = change(SECRET)
    with pytest.raises(ConfigError) as refused:
        load(None, "none", [f"server_key={KEY}", f"curve_secret={text}"])
    (line,) = refused.value.problems
    assert line.startswith(
        "--set curve_secret: it is a key itself and not the file that has it; expected the absolute path"
    )
    assert text not in line
    with pytest.raises(ValueError, match=r"^curve_secret: it is a key itself") as caught:
        Worker("tcp://a:1", bytes, server_key=KEY, curve_secret=text)
    assert text not in str(caught.value)


def test_a_secret_in_bytes() -> None:
    """Is no name of a file, and not repeated."""
    with pytest.raises(ValueError, match=r"^curve_secret: it is not a string") as caught:
        Worker("tcp://a:1", bytes, server_key=KEY, curve_secret=SECRET.encode())  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", [str, Path])
def test_files_of_a_worker(kind: type, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this folder or below it, as strings or paths; a bare name is no credential's."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    for folder, prefix in ((secret.parent, ""), (secret.parent.parent, f"{secret.parent.name}/")):
        monkeypatch.chdir(folder)
        certificate, own = kind(f"{prefix}me.key"), kind(f"{prefix}me.key_secret")
        for servers in (certificate, [certificate]):
            instance = Worker("tcp://a:1", bytes, server_key=servers, curve_secret=own)._instance
            instance.close()
            (keys,) = instance._keys
            assert keys is not None
            assert keys.server == keys.public == load_public(str(secret.with_name("me.key")))


def test_every_bad_item_is_named() -> None:
    """Of the brokers, and of their keys."""
    with pytest.raises(ConfigError) as refused:
        load(None, "none", ["backend=x,tcp://a:1,y"])
    (line,) = refused.value.problems
    assert "'x' is no endpoint" in line
    assert "'y' is no endpoint" in line


@pytest.mark.parametrize("curve", [False, True])
def test_refusals(curve: bool) -> None:
    """What is told apart has words of its own."""
    mismatch = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
    reasons = {
        refusal(zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, curve=curve),
        refusal(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, mismatch, curve=curve),
        refusal(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 104, curve=curve),
        refusal(zmq.EVENT_DISCONNECTED, 0, curve=curve),
    }
    assert len(reasons) == 4
