"""What systemd thinks of the units: their keys, their exposure, and whether what they ask for is enforced."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.system.machine import HOME, Machine

SERVICES = {"zqd.service": 0.5, "zqd-worker@1.service": 1.0}
SOCKETS = tuple(f"zqd-{role}.socket" for role in ("frontend", "backend", "control", "status", "events"))
EXAMPLES = "/usr/share/doc/{}/examples"


def test_systemd_understands_every_line(machine: Machine) -> None:
    """`systemd-analyze verify` says nothing at all. The pages are in the packages, a reader for them is not installed."""
    units = " ".join([*SERVICES, "zqd-workers.target", "zqd-workers.slice", *SOCKETS])
    done = machine.attempt(f"systemd-analyze verify --man=no {units}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("unit", "limit"), SERVICES.items())
def test_exposure(machine: Machine, unit: str, limit: float, say: Callable[[str], None]) -> None:
    """`systemd-analyze security` gives the floor that we promise; the figure is in the output."""
    text = machine.run(f"systemd-analyze security --no-pager {unit}")
    match = re.search(rf"Overall exposure level for {re.escape(unit)}: ([0-9.]+)", text)
    assert match is not None, text
    say(f"{machine.release}: {unit}: exposure {match[1]}, at most {limit}")
    assert float(match[1]) <= limit


def test_newer_settings_are_in_effect_where_they_exist(machine: Machine) -> None:
    """From systemd 254 on restarts are direct, with rising delays, and workers reload as the manager waits."""
    version = int(machine.run("systemctl --version").split()[1])
    worker = machine.show("zqd-worker@1", "Type")
    if version >= 254:
        assert machine.show("zqd", "RestartMode") == "direct"
        assert machine.show("zqd-worker@1", "RestartSteps") == "8"
        assert worker == "notify-reload"
    else:
        assert worker == "notify"
    assert machine.show("zqd", "Type") == "notify"


def test_the_broker_can_reach_nothing(machine: Machine) -> None:
    """In its namespaces there is no interface but loopback, and not the machine's loopback either."""
    pid = machine.main_pid("zqd")
    assert machine.run(f"readlink /proc/{pid}/ns/net") != machine.run("readlink /proc/1/ns/net")
    assert machine.run(f"grep -c : /proc/{pid}/net/dev") == "1"
    status = machine.run(f"cat /proc/{pid}/status")
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


def test_addresses_are_checked_where_the_kernel_can(machine: Machine, say: Callable[[str], None]) -> None:
    """Only loopback may connect, whatever address a socket listens at: tried if the kernel has BPF for it."""
    for unit in ("zqd-frontend.socket", "zqd-backend.socket"):
        assert set(machine.show(unit, "IPAddressDeny").split()) == {"0.0.0.0/0", "::/0"}
        assert set(machine.show(unit, "IPAddressAllow").split()) == {"127.0.0.0/8", "::1/128"}
    probe = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))"
    denied = (
        machine.attempt(f'systemd-run -q --wait -p IPAddressDeny=any python3 -c "{probe}"').returncode != 0
    )
    if not denied:
        say(
            f"{machine.release}: IP allow lists are NOT ENFORCED here (no BPF): only their presence was tested"
        )
        return
    say(f"{machine.release}: IP allow lists are enforced here: an address that is not loopback's was refused")
    machine.write(
        "/etc/systemd/system/zqd-frontend.socket.d/any.conf",
        "[Socket]\nListenStream=\nListenStream=/run/zqd/frontend.sock\nListenStream=0.0.0.0:5559\nIPAddressAllow=\n",
    )
    machine.run(
        "systemctl daemon-reload && systemctl stop zqd 'zqd-*.socket' && systemctl start zqd zqd-worker@1"
    )
    refused = machine.attempt(f"timeout 5 python3 {HOME}/ask.py tcp://127.0.0.1:5559 Hello 2")
    assert refused.returncode != 0


def test_the_loopback_ports_can_be_closed(machine: Machine) -> None:
    """unix-only.conf of the examples: the ports refuse, the unix sockets serve."""
    for side in ("frontend", "backend"):
        folder = f"zqd-{side}.socket.d"
        machine.run(
            f"mkdir -p /etc/systemd/system/{folder} && cp {EXAMPLES.format('zqd')}/{folder}/unix-only.conf /etc/systemd/system/{folder}/"
        )
    machine.run(
        "systemctl daemon-reload && systemctl stop zqd 'zqd-*.socket' && systemctl start zqd zqd-worker@1"
    )
    attempts = machine.start(f"python3 {HOME}/connects.py 127.0.0.1:5559 127.0.0.1:5560")
    assert machine.ask("ipc:///run/zqd/frontend.sock", "Hello", user="client") == "World from server 1"
    tried = json.loads(attempts.communicate()[0])
    assert tried["made"] == 0
    assert tried["refused"]


BIND_PORTS = "/etc/systemd/system/zqd.service.d/bind-ports.conf"


def _let_bind(machine: Machine) -> None:
    machine.run(f"install -D -m 0644 {EXAMPLES.format('zqd')}/zqd.service.d/bind-ports.conf {BIND_PORTS}")


def test_people_can_bind_ports_themselves(machine: Machine) -> None:
    """bind-ports.conf of the examples: a second queue with a port and a path of its own, beside the socket units."""
    _let_bind(machine)
    machine.write(
        "/etc/zqd/zqd.toml.d/images.toml",
        '[queues.default]\n[queues.images]\nfrontend = ["tcp://127.0.0.1:6001"]\n'
        'backend = ["tcp://127.0.0.1:6002", "ipc:///run/zqd/queues/images.sock"]\nsocket_mode = "0666"\n',
    )
    machine.run("systemctl daemon-reload && systemctl restart zqd")
    for backend in ("tcp://127.0.0.1:6002", "ipc:///run/zqd/queues/images.sock"):
        rep = machine.program("rep", backend, backend, user="nobody")
        assert machine.ask("tcp://127.0.0.1:6001", "Hello") == backend
        rep.communicate()
        machine.wait_until(lambda: machine.zqctl("workers") == [], "the worker to be gone")


@pytest.mark.parametrize(
    ("user", "group", "uncommented"),
    [
        ("", "zqd", ""),
        ("", "zqd-client", "For a socket_group that"),
        ("client", "zqd-client", "For a socket_user"),
    ],
)
def test_paths_can_have_other_owners(machine: Machine, user: str, group: str, uncommented: str) -> None:
    """bind-ports.conf of the examples: socket_group and socket_user, with the lines that it has for them."""
    _let_bind(machine)
    if uncommented:
        machine.run(
            f"sed -i '/^# {uncommented}/,/^# /{{s/^#\\([A-Z]\\)/\\1/;s/=GROUP/={group}/}}' {BIND_PORTS}"
        )
    machine.write(
        "/etc/zqd/zqd.toml.d/images.toml",
        '[queues.default]\n[queues.images]\nfrontend = ["ipc:///run/zqd/queues/images.sock"]\n'
        f'backend = ["tcp://127.0.0.1:6002"]\nsocket_mode = "0660"\nsocket_user = "{user}"\nsocket_group = "{group}"\n',
    )
    machine.run("systemctl daemon-reload && systemctl restart zqd")
    owner = machine.run("stat -c '%a %U %G' /run/zqd/queues/images.sock")
    assert owner == f"660 {user or 'zqd'} {group}"


def test_handlers_can_have_a_network_and_files(machine: Machine) -> None:
    """network.conf and files.conf of the examples: a worker reaches the broker by TCP, and its state directory is there."""
    folder = "/etc/systemd/system/zqd-worker@.service.d"
    machine.run(
        f"mkdir -p {folder} && cp {EXAMPLES.format('zqd-worker')}/zqd-worker@.service.d/*.conf {folder}/"
    )
    machine.write(
        "/etc/zqd/workers/1.toml",
        'backend = ["tcp://127.0.0.1:5560"]\ncommand = ["/bin/sh", "-c", "echo $STATE_DIRECTORY; touch $STATE_DIRECTORY/file && ls $STATE_DIRECTORY"]\n',
    )
    machine.run("systemctl daemon-reload && systemctl start zqd-worker@1")
    assert machine.ask("tcp://127.0.0.1:5559", "").split() == ["/var/lib/zqd-worker", "file"]
