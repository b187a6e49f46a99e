"""Owners of sockets: whom this machine does not have is a fault of the configuration, wherever that is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.daemon.keyring import Keyring
from tests.support.processes import PATIENCE

CONFIG = 78  # exit status (sysexits.h)
EXPECTED = "expected one of this machine's, by name or number"
WRONG = [
    ("control_group", "group", 'control_group = "no-such"\n' + DEFAULT),
    ("queues.default.socket_user", "user", DEFAULT + 'socket_user = "no-such"\n'),
    ("queues.default.socket_group", "group", DEFAULT + 'socket_group = "no-such"\n'),
]


def zqd_says(folder: Path, text: str, *options: str) -> tuple[int, str]:
    """Status and complaints of a zqd that has this configuration."""
    path = folder / "zqd.toml"
    path.write_text(text)
    command = [sys.executable, "-m", "zqd.daemon", "--config", str(path), "--log-level", "error"]
    command += ["--control", f"ipc://{folder}/control.sock", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.returncode, done.stderr


@pytest.mark.parametrize("options", [(), ("--check-config",)], ids=["start", "check"])
@pytest.mark.parametrize(("key", "what", "text"), WRONG)
def test_nobody_of_that_name(
    tmp_path: Path, key: str, what: str, text: str, options: tuple[str, ...]
) -> None:
    """Said with the file and the key; status 78, after which systemd does not start it again and again."""
    sentence = f"zqd: {tmp_path}/zqd.toml: {key}: there is no {what} no-such; {EXPECTED}\n"
    assert zqd_says(tmp_path, text, *options) == (CONFIG, sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["zqd.toml"]


@pytest.mark.parametrize(("key", "what", "text"), WRONG)
def test_a_reload_of_it(tmp_path: Path, key: str, what: str, text: str) -> None:
    """Is refused; also for what only a restart would take, which would fail then."""
    with ConfiguredZqd(tmp_path) as zqd:
        assert zqd.refused(text) == f"{zqd.config_path}: {key}: there is no {what} no-such; {EXPECTED}"


def test_it_stands_beside_other_faults(tmp_path: Path) -> None:
    """All that only this machine can tell is said at once, each with where it was set."""
    keyring = Keyring(tmp_path)
    keyring.list.unlink()
    status, errors = zqd_says(
        tmp_path, keyring.settings("frontend"), "--set", "control_group=no-such", "--check-config"
    )
    keys, group = errors.splitlines()
    assert status == CONFIG
    assert "queues.default.frontend_authorized_keys" in keys
    assert group == f"zqd: --set control_group: there is no group no-such; {EXPECTED}"
