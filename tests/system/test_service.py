"""What the project exists to give: `systemctl start zqd zqd-worker@1` where only our packages were installed."""

from __future__ import annotations

import json

import pytest

from tests.system.machine import Machine
from tests.system.trees import CHECKOUT

TCP, UNIX = "tcp://127.0.0.1:5559", "ipc:///run/zqd/frontend.sock"


@pytest.mark.parametrize("endpoint", [TCP, UNIX])
def test_an_unmodified_client_gets_its_reply(machine: Machine, endpoint: str) -> None:
    """Over TCP and over the unix socket, from a worker that answers as the seed's does."""
    machine.run("systemctl start zqd zqd-worker@1")
    assert machine.ask(endpoint, "Hello", user="client") == "World from server 1"


def test_free_memory_stays_at_hand_within_the_sandbox(machine: Machine) -> None:
    """What the C library is asked for, through code that is made at run time elsewhere, is granted here as well, for a while."""
    machine.run("systemctl restart zqd && systemctl start zqd-worker@1")
    assert machine.ask(TCP, "Hello") == "World from server 1"
    statm = f"/proc/{machine.main_pid('zqd')}/statm"
    before = int(machine.run(f"cat {statm}").split()[1])
    send = f"s.connect('{TCP}'); s.send(bytes(4 << 20)); s.recv(); print(open('{statm}').read().split()[1])"
    # In one of several times it is looked at before the next housekeeping.
    pages = [
        int(machine.run(f'python3 -c "import zmq; s = zmq.Context().socket(zmq.REQ); {send}"')) - before
        for _ in range(3)
    ]
    assert max(pages) * 4096 >= 3 << 20
    machine.wait_until(
        lambda: (int(machine.run(f"cat {statm}").split()[1]) - before) * 4096 < 2 << 20,
        "the memory to be given back",
    )


def test_quick_peers_are_served_within_the_sandbox(machine: Machine) -> None:
    """What a busy poll does instead of sleeping (sched_yield) is granted: thousands of requests without a pause, and no fault."""
    machine.run("systemctl restart zqd")
    rep = machine.program("rep", "tcp://127.0.0.1:5560", "World")
    pid = machine.main_pid("zqd")
    ask = f"s.connect('{TCP}'); [(s.send(b'Hello'), s.recv()) for _ in range(3000)]"
    machine.run(f'python3 -c "import zmq; s = zmq.Context().socket(zmq.REQ); {ask}"')
    rep.communicate()
    assert machine.main_pid("zqd") == pid
    events = {entry.get("ZQD_EVENT") for entry in machine.journal(f"_PID={pid}")}
    assert "zqd.started" in events
    assert "zqd.fault" not in events


def test_a_worker_needs_no_file(machine: Machine) -> None:
    """Without /etc/zqd/worker.toml an instance finds the broker of its machine."""
    machine.run("mv /etc/zqd/worker.toml /root/")
    try:
        machine.run("systemctl start zqd-worker@1", limit=30)
        assert machine.ask(TCP, "Hello") == "World from server 1"
    finally:
        machine.run("mv /root/worker.toml /etc/zqd/")


def test_a_plain_rep_program_works_beside_the_instances(machine: Machine) -> None:
    """One on TCP; both of them answer."""
    machine.run("systemctl start zqd-worker@1")
    rep = machine.program("rep", "tcp://127.0.0.1:5560", "World from REP")
    machine.run("zqctl wait --workers 2 --timeout 30")
    answers = {machine.ask(TCP, "Hello") for _ in range(4)}
    rep.communicate()
    assert answers == {"World from server 1", "World from REP"}


def test_a_member_of_group_zqd_sees_and_directs(machine: Machine) -> None:
    """Operators need no root."""
    assert machine.zqctl("status", user="alice")["queues"][0]["name"] == "default"
    machine.run("zqctl pause && zqctl resume", user="alice")


def test_everybody_else_may_only_look(machine: Machine) -> None:
    """As nobody `zqctl status` answers, and `zqctl pause` ends with status 4 and says why."""
    assert machine.zqctl("status", user="nobody")["queues"][0]["state"] == "running"
    refused = machine.attempt("zqctl pause", user="nobody")
    assert refused.returncode == 4, refused
    assert "permission" in refused.stderr or "permitted" in refused.stderr, refused
    assert machine.zqctl("status")["queues"][0]["state"] == "running"


@pytest.mark.parametrize(
    ("path", "mode", "group"),
    [
        ("frontend.sock", "660", "zqd-client"),
        ("backend.sock", "660", "zqd-worker"),
        ("control.sock", "660", "zqd"),
        ("status.sock", "666", "zqd"),
        ("events.sock", "666", "zqd"),
    ],
)
def test_each_socket_is_for_its_group(machine: Machine, path: str, mode: str, group: str) -> None:
    """The modes and groups that zqd(8) promises."""
    assert machine.run(f"stat -c '%a %U %G' /run/zqd/{path}") == f"{mode} root {group}"


def test_events_can_be_followed_by_everybody(machine: Machine) -> None:
    """`zqctl events` as nobody shows what an operator does."""
    follower = machine.start("zqctl --json events --topic queue.paused --count 1", user="nobody")

    def seen() -> bool:
        machine.run("zqctl pause && zqctl resume")
        return follower.poll() is not None

    machine.wait_until(seen, "the event")
    assert json.loads(follower.communicate()[0])["event"] == "queue.paused"


def test_the_manual_and_the_completions_are_there(machine: Machine) -> None:
    """Every page and all three shells' completions."""
    pages = "man1/zqctl.1 man8/zqd.8 man8/zqd-worker.8 man5/zqd.toml.5 man5/zqd-worker.toml.5 man7/zqd.7"
    machine.run(" && ".join(f"dpkg -S /usr/share/man/{page}.gz" for page in pages.split()))
    listing = machine.run("dpkg -L zqd")
    for path in (
        "bash-completion/completions/zqctl",
        "zsh/vendor-completions/_zqctl",
        "fish/vendor_completions.d/zqctl.fish",
    ):
        assert f"/usr/share/{path}" in listing


def test_the_test_of_the_package_passes(machine: Machine) -> None:
    """What autopkgtest runs (debian/tests), as it runs it."""
    machine.write("/opt/service", (CHECKOUT / "packaging/debian/tests/service").read_text())
    machine.run("sh /opt/service")
