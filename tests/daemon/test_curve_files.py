"""zqd and the files of its keys: what --check-config says of them, credentials, and that no secret is ever shown."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.daemon.keyring import CurvePeer, Keyring, refusal
from tests.interop.peers import exchange
from tests.support.processes import PATIENCE
from zqd.keys.pair import load_secret
from zqd.keys.z85 import z85_encode

CONFIG = 78  # exit status (sysexits.h)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob."""
    return Keyring(tmp_path)


def zqd_says(
    folder: Path, text: str, *options: str, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Exit status, output and errors of a zqd that has this configuration."""
    path = folder / "checked.toml"
    path.write_text(text)
    command = [sys.executable, "-m", "zqd.daemon", "--config", str(path), *options]
    env = {key: value for key, value in os.environ.items() if key != "CREDENTIALS_DIRECTORY"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**env, **(environment or {})},
    )
    return done.returncode, done.stdout, done.stderr


def test_good_files(tmp_path: Path, keyring: Keyring) -> None:
    """That is said, and nothing else."""
    said = zqd_says(tmp_path, keyring.settings(), "--check-config")
    assert said == (0, "the configuration is good\n", "")


def test_every_bad_file_has_a_line(tmp_path: Path, keyring: Keyring) -> None:
    """With the queue, the side, the file and the line, what is wrong and what is expected; the status is 78."""
    keyring.secret_path("zqd").chmod(0o640)
    text = keyring.settings("frontend")
    others = DEFAULT.replace("default", "jobs") + f'backend_curve_secret = "{keyring.secret_path("alice")}"\n'
    keyring.list.write_text(f"{'x' * 39} alice\n{keyring.public('bob')} bob someday\n")
    others += f'backend_authorized_keys = "{keyring.list}"\n'
    status, output, errors = zqd_says(tmp_path, text + others, "--check-config")
    assert (status, output) == (CONFIG, "")
    secret, *listed, first, second = errors.splitlines()
    assert len(listed) == 2  # of the queue default, which has the same list
    assert secret == (
        f"zqd: queues.default.frontend_curve_secret: {keyring.secret_path('zqd')}: can be read by others "
        f"(mode 0640); expected `chmod 600 {keyring.secret_path('zqd')}`"
    )
    where = f"zqd: queues.jobs.backend_authorized_keys: {keyring.list}: line"
    assert first.startswith(f"{where} 1: ")
    assert second.startswith(f"{where} 2: 'someday' is not an expiry; expected a day or a time in UTC")


def test_bad_files_stop_the_start(tmp_path: Path, keyring: Keyring) -> None:
    """As they stop --check-config: zqd never listens without the keys that it should ask for."""
    keyring.list.unlink()
    status, _, errors = zqd_says(tmp_path, keyring.settings("frontend"), "--control", f"ipc://{tmp_path}/c")
    assert status == CONFIG
    assert f"{keyring.list}: cannot be read (No such file or directory)" in errors


def test_a_list_that_others_can_write(tmp_path: Path, keyring: Keyring) -> None:
    """Whoever can write it could enter."""
    keyring.list.chmod(0o666)
    status, _, errors = zqd_says(tmp_path, keyring.settings("backend"), "--check-config")
    assert status == CONFIG
    assert (
        f"{keyring.list}: can be written by others (mode 0666); expected `chmod go-w {keyring.list}`"
        in errors
    )


def test_a_public_half_is_no_secret(tmp_path: Path, keyring: Keyring) -> None:
    """The halves are mixed up easily."""
    public = keyring.folder / "zqd.key"
    public.chmod(0o600)
    text = keyring.settings("frontend").replace(str(keyring.secret_path("zqd")), str(public))
    status, _, errors = zqd_says(tmp_path, text, "--check-config")
    assert status == CONFIG
    assert f"{public}: has no secret-key; expected the .key_secret half of a certificate" in errors


def test_strangers_may_be_asked(tmp_path: Path, keyring: Keyring) -> None:
    """An address that other machines reach needs a key, or leave to do without."""
    text = keyring.settings("frontend").replace('"tcp://127.0.0.1:0"', '"tcp://0.0.0.0:0"', 1)
    assert zqd_says(tmp_path, text, "--check-config")[0] == 0
    plain = DEFAULT.replace('"tcp://127.0.0.1:0"', '"tcp://0.0.0.0:0"', 1)
    status, _, errors = zqd_says(tmp_path, plain, "--check-config")
    assert status == CONFIG
    assert "expected queues.default.frontend_curve_secret" in errors


# Credentials


def test_credentials_by_name(
    tmp_path: Path, keyring: Keyring, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without a slash is that of a systemd credential, the secret's as the list's."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "zqd.key").write_text(keyring.secret_path("zqd").read_text())
    (credentials / "zqd.key").chmod(0o440)  # as systemd does, where its directory keeps others out
    (credentials / "clients").write_text(keyring.list.read_text())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    text = DEFAULT + 'frontend_curve_secret = "zqd.key"\nfrontend_authorized_keys = "clients"\n'
    with ConfiguredZqd(tmp_path, text) as zqd:
        exchange(connect(zmq.REQ, zqd.frontend, **keyring.options()), connect(zmq.REP, zqd.backend))


def test_a_credential_that_is_not_there(tmp_path: Path) -> None:
    """Each with what is expected."""
    text = DEFAULT + 'frontend_curve_secret = "zqd.key"\nfrontend_anonymous = true\n'
    status, _, errors = zqd_says(tmp_path, text, "--check-config")
    assert status == CONFIG
    assert 'zqd.key: there are no credentials; expected a path, such as "/etc/zqd/zqd.key"' in errors
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    status, _, errors = zqd_says(tmp_path, text, "--check-config", environment=environment)
    assert status == CONFIG
    assert f"{tmp_path}/zqd.key: cannot be read (No such file or directory)" in errors


# Secrets


def forms(secret: bytes) -> set[str]:
    """How a key may be written."""
    return {z85_encode(secret), secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]}


def test_no_secret_is_shown(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """Not by any command, not in the log at debug, whatever peers and reloads do."""
    shown = [
        zqd_says(tmp_path, keyring.settings(), option) for option in ("--print-config", "--check-config")
    ]
    with ConfiguredZqd(tmp_path, keyring.settings()) as zqd:
        exchange(
            connect(zmq.REQ, zqd.frontend, **keyring.options()),
            connect(zmq.REP, zqd.backend, **keyring.options("bob")),
        )
        with CurvePeer(zqd.frontend, keyring.client()) as peer:
            peer.welcome()
            peer.tell(peer.client.initiate(cookie=bytes(96)))
            refusal(zqd, peer.address)
        shown += [
            zqd.zqctl(*words)
            for words in (["config"], ["--json", "config"], ["--json", "status"], ["--json", "clients"])
        ]
        secret = keyring.secret_path("zqd")
        good = secret.read_text()
        for bad in (
            good.replace('secret-key = "', 'secret-key = "?'),
            good.replace("public-key", "other-key")[:-3],
        ):
            secret.write_text(bad)
            shown.append(("", zqd.refused(keyring.settings()), ""))  # type: ignore[arg-type]  # no exit status
        log = zqd.log_path.read_text()
    everything = log + "".join(text for said in shown for text in said[1:])
    assert str(secret) in everything
    pair = load_secret(str(keyring.secret_path("alice")))
    for key in (pair.secret, _secret_of(good)):
        assert [form for form in forms(key) if form in everything] == []
    assert z85_encode(_secret_of(good))[2:-2] not in everything


def _secret_of(certificate: str) -> bytes:
    """The secret in the text of a certificate."""
    from zqd.keys.z85 import z85_decode

    return z85_decode(certificate.partition('secret-key = "')[2].partition('"')[0])


def test_whoever_does_without_pays_nothing(tmp_path: Path, keyring: Keyring) -> None:
    """libsodium is loaded where a side uses it, and not before."""
    with ConfiguredZqd(tmp_path, DEFAULT) as zqd:
        maps = Path(f"/proc/{zqd.pid}/maps")
        assert "_sodium" not in maps.read_text()
        zqd.reload(keyring.settings())
        assert "_sodium" in maps.read_text()
