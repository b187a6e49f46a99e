"""CURVE as zqd(7) and zqd-worker(8) set it up, with their modes, owners and credentials."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine

KEYS = "/etc/zqd/keys"
SETTINGS = "/etc/zqd/zqd.toml.d/curve.toml"


@pytest.fixture
def keyed(machine: Machine) -> Iterator[Machine]:
    """A machine with a pair of keys of zqd, of a worker and of a client."""
    machine.run(
        f"install -d -m 0755 {KEYS} && cd {KEYS} && for name in zqd worker alice; do zqctl keygen $name; done"
        " && for name in worker alice; do"
        """ sed -n "s/ *public-key = \\"\\(.*\\)\\"/\\1  $name/p" $name.key > ${name}s; done"""
    )
    yield machine
    machine.run(f"rm -rf {KEYS} /etc/zqd/workers/*")


def _request(machine: Machine, endpoint: str) -> str:
    """The reply to a request of alice's."""
    keys = f"--server-key {KEYS}/zqd.key --curve-secret {KEYS}/alice.key_secret"
    return machine.run(f"zqctl request --endpoint {endpoint} {keys} hello")


def test_both_sides_with_keys(keyed: Machine) -> None:
    """A worker of the unit reads the public half of zqd where zqd(7) has put it, and has its own as a credential."""
    keyed.write(
        SETTINGS,
        f'[queues.default]\nfrontend_curve_secret = "{KEYS}/zqd.key_secret"\nfrontend_authorized_keys = "{KEYS}/alices"\n'
        f'backend_curve_secret = "{KEYS}/zqd.key_secret"\nbackend_authorized_keys = "{KEYS}/workers"\n',
    )
    keyed.write(
        "/etc/zqd/workers/1.toml",
        f'server_key = "{KEYS}/zqd.key"\ncurve_secret = "worker.key_secret"\n',
    )
    keyed.write(
        "/etc/systemd/system/zqd-worker@.service.d/override.conf",
        f"[Service]\nLoadCredential=worker.key_secret:{KEYS}/worker.key_secret\n",
    )
    keyed.run(f"chown zqd {KEYS}/zqd.key_secret && zqd --check-config && systemctl reload zqd")
    keyed.run("systemctl daemon-reload && systemctl start zqd-worker@1")
    assert _request(keyed, "tcp://127.0.0.1:5559") == "World from server 1"
    assert keyed.zqctl("workers")[0]["key"] == "worker"


def test_a_secret_as_a_credential(keyed: Machine) -> None:
    """Its bare name is enough for the service; a check by hand needs to be told where credentials are."""
    keyed.write(
        "/etc/systemd/system/zqd.service.d/override.conf",
        f"[Service]\nLoadCredential=zqd.key_secret:{KEYS}/zqd.key_secret\n",
    )
    keyed.write(
        SETTINGS,
        f'[queues.default]\nfrontend_curve_secret = "zqd.key_secret"\nfrontend_authorized_keys = "{KEYS}/alices"\n',
    )
    keyed.run("systemctl daemon-reload && systemctl restart zqd && systemctl start zqd-worker@1")
    assert _request(keyed, "tcp://127.0.0.1:5559") == "World from server 1"
    assert "there are no credentials" in keyed.attempt("zqd --check-config").stderr
    keyed.run("CREDENTIALS_DIRECTORY=/run/credentials/zqd.service zqd --check-config && systemctl reload zqd")


def test_other_machines_are_let_in_by_the_socket_unit(keyed: Machine) -> None:
    """With the drop-in of zqd(7) the port is open at every address; 127.0.0.2 is another one than that of the unit."""
    keyed.write(
        SETTINGS,
        f'[queues.default]\nfrontend_curve_secret = "{KEYS}/zqd.key_secret"\nfrontend_authorized_keys = "{KEYS}/alices"\n',
    )
    keyed.write(
        "/etc/systemd/system/zqd-frontend.socket.d/override.conf",
        "[Socket]\nListenStream=\nListenStream=/run/zqd/frontend.sock\nListenStream=0.0.0.0:5559\nIPAddressAllow=192.0.2.0/24\n",
    )
    keyed.run(f"chown zqd {KEYS}/zqd.key_secret")
    keyed.run(
        "systemctl daemon-reload && systemctl stop zqd 'zqd-*.socket' && systemctl start zqd zqd-worker@1"
    )
    assert _request(keyed, "tcp://127.0.0.2:5559") == "World from server 1"
