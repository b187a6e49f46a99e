"""`zqctl keygen`, and what its keys are for: a session of an operator from the first pair to the first reply."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
import zmq.auth

from tests.conftest import Connect
from tests.ctl.echo import worker
from tests.ctl.running import said, zqctl
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.interop.peers import exchange
from zqd.ctl.connection import ExitStatus
from zqd.keys.pair import load_public, load_secret
from zqd.keys.z85 import z85_encode


def keygen(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    done = zqctl("keygen", "--directory", str(folder), *arguments)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def secured(folder: Path) -> Iterator[ConfiguredZqd]:
    """A zqd with pairs of keygen, as its operator sets it up: `zqd`, and the public halves in a directory."""
    clients = folder / "clients"
    clients.mkdir()
    for name in ("zqd", "alice", "mallory"):
        assert keygen(folder, name)[0] == 0
    (folder / "alice.key").rename(clients / "alice.key")
    text = (
        f'{DEFAULT}frontend_curve_secret = "{folder}/zqd.key_secret"\n'
        f'frontend_authorized_keys = "{clients}"\n'
    )
    with ConfiguredZqd(folder, text) as zqd:
        yield zqd


# The pair


def test_a_pair_is_written(tmp_path: Path) -> None:
    """Two files, the secret one for its owner alone whatever the umask; the public key is the last line."""
    umask = os.umask(0)
    try:
        status, output, errors = keygen(tmp_path, "alice")
    finally:
        os.umask(umask)
    assert (status, errors) == (0, "")
    secret, public, key = output.splitlines()
    assert secret.split()[0] == f"{tmp_path}/alice.key_secret"
    assert public.split()[0] == f"{tmp_path}/alice.key"
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("alice.key_secret", "alice.key")]
    assert modes == [0o600, 0o644]
    pair = load_secret(f"{tmp_path}/alice.key_secret")
    assert z85_encode(pair.public) == key == z85_encode(load_public(f"{tmp_path}/alice.key"))
    assert z85_encode(pair.secret) not in output


def test_pyzmq_reads_it(tmp_path: Path) -> None:
    """As a certificate of its own."""
    assert keygen(tmp_path, "alice")[0] == 0
    public, secret = zmq.auth.load_certificate(tmp_path / "alice.key_secret")
    assert secret is not None
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(tmp_path / "alice.key") == (public, None)


def test_json(tmp_path: Path) -> None:
    """The same for programs; no secret."""
    status, output, _ = keygen(tmp_path, "--json", "alice")
    answer = json.loads(output)
    assert status == 0
    assert answer == {
        "public": f"{tmp_path}/alice.key",
        "secret": f"{tmp_path}/alice.key_secret",
        "public_key": z85_encode(load_public(f"{tmp_path}/alice.key")),
    }


def test_no_daemon_is_asked(tmp_path: Path) -> None:
    """Keys can be made where no zqd runs; without a name they are zqd's."""
    done = zqctl("--control", "ipc:///nowhere", "keygen", "--directory", str(tmp_path))
    assert done.returncode == 0
    assert len(list(tmp_path.glob("*.key_secret"))) == 1


@pytest.mark.parametrize("half", ["alice.key", "alice.key_secret"])
def test_nothing_is_written_over(tmp_path: Path, half: str) -> None:
    """Whoever has lost a key has lost it for good."""
    (tmp_path / half).write_text("precious")
    assert said(zqctl("keygen", "--directory", str(tmp_path), "alice")) == (
        ExitStatus.ERROR,
        f"zqctl: {tmp_path / half} exists, and is not written over\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == [half]
    assert (tmp_path / half).read_text() == "precious"


@pytest.mark.parametrize("name", ["../alice", "", "al ice", ".alice", "x" * 65])
def test_a_bad_name(tmp_path: Path, name: str) -> None:
    """A usage error, with what a name is; nothing is written."""
    status, sentence = said(zqctl("keygen", "--directory", str(tmp_path), name))
    assert status == ExitStatus.USAGE
    assert "is not a name for a key; expected up to 64 letters, digits and ._@:+-" in sentence
    assert sentence.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """One sentence."""
    status, sentence = said(zqctl("keygen", "--directory", f"{tmp_path}/none", "alice"))
    assert status == ExitStatus.ERROR
    assert sentence == f"zqctl: cannot write {tmp_path}/none/alice.key_secret: No such file or directory\n"


# Its use


def test_the_first_reply(tmp_path: Path) -> None:
    """`zqctl request` and `bench` with the client's secret, and zqd's public half or that key itself."""
    with secured(tmp_path) as zqd, worker(zqd.backend):
        mine = ["--curve-secret", str(tmp_path / "alice.key_secret")]
        key = z85_encode(load_public(f"{tmp_path}/zqd.key"))
        for server in (str(tmp_path / "zqd.key"), key):
            status, output, errors = zqd.zqctl("request", "--server-key", server, *mine, "Hello")
            assert (status, output) == (0, "Hello"), errors
        status, output, errors = zqd.zqctl("bench", "--requests", "20", "--server-key", key, *mine)
        assert status == 0, errors
        assert output.startswith("20 of 20 requests")
        assert zqd.queue()["replied"] == 22
        assert {line["key"] for line in zqd.log("client.joined")} == {"alice"}


def test_pyzmq_uses_it(tmp_path: Path, connect: Connect) -> None:
    """In a program of one's own."""
    with secured(tmp_path) as zqd:
        client = connect(zmq.REQ)
        client.curve_publickey, client.curve_secretkey = zmq.auth.load_certificate(
            tmp_path / "alice.key_secret"
        )
        client.curve_serverkey, _ = zmq.auth.load_certificate(tmp_path / "zqd.key")
        client.connect(zqd.frontend)
        exchange(client, connect(zmq.REP, zqd.backend))


@pytest.mark.parametrize(
    ("server", "mine", "sentence"),
    [
        ("zqd", "mallory", "this key is not authorized there"),
        ("zqd", None, "this key is not authorized there"),
        ("mallory", "alice", "the server key is not its key, or it does not use CURVE"),
        (None, None, "it refuses the handshake: it may use CURVE, which needs --server-key"),
    ],
    ids=["unknown key", "any key", "wrong server key", "no key"],
)
def test_a_refusal_is_explained(tmp_path: Path, server: str | None, mine: str | None, sentence: str) -> None:
    """What is wrong, as far as the other side tells."""
    with secured(tmp_path) as zqd:
        keys = [] if server is None else ["--server-key", str(tmp_path / f"{server}.key")]
        keys += [] if mine is None else ["--curve-secret", str(tmp_path / f"{mine}.key_secret")]
        status, output, errors = zqd.zqctl("--timeout", "3", "request", *keys, "Hello")
        assert (status, output) == (ExitStatus.ERROR, "")
        assert sentence in errors


def test_keys_where_there_is_no_curve(tmp_path: Path) -> None:
    """Whoever asks for a secured connection does not get another."""
    assert keygen(tmp_path, "zqd")[0] == 0
    with ConfiguredZqd(tmp_path, DEFAULT) as zqd:
        status, _, errors = zqd.zqctl(
            "--timeout", "3", "request", "--server-key", str(tmp_path / "zqd.key"), "Hello"
        )
        assert status == ExitStatus.ERROR
        assert "the server key is not its key, or it does not use CURVE" in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--curve-secret", "x"],
            "--curve-secret: means nothing without the key of a broker; expected --server-key as well",
        ),
        (["--server-key", "short"], "--server-key: short: cannot be read (No such file or directory)"),
        (
            ["--server-key", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "--curve-secret", "x"],
            "cannot be read",
        ),
    ],
)
def test_bad_keys(arguments: list[str], sentence: str) -> None:
    """A usage error of one line, before anything is sent."""
    for command in (["request", "Hello"], ["bench"]):
        status, errors = said(zqctl(*command, "--endpoint", "tcp://127.0.0.1:1", *arguments))
        assert status == ExitStatus.USAGE
        assert sentence in errors
        assert errors.count("\n") == 1
