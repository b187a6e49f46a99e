"""A machine's whole life with our packages: installed, upgraded under load, removed, purged; on a system of its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import System
from tests.system.machine import HOME, Machine
from tests.system.packages import NEXT

TCP = "tcp://127.0.0.1:5559"


@pytest.fixture(scope="module")
def fresh(system: System) -> Iterator[Machine]:
    """A booted system that has never heard of us."""
    with system.tree.overlay() as overlay:
        for name in ("first", "next"):
            shutil.copytree(getattr(system.packages, name), overlay.root / "opt/packages" / name)
        with Machine(system.tree.release, overlay.root) as machine:
            yield machine


def _left_over(machine: Machine) -> set[str]:
    """Files that are named after us, Python modules, users and groups, units."""
    places = "/etc /usr /var/lib /var/cache /run"
    files = machine.run(
        f"find {places} -xdev \\( -name '*zqd*' -o -name '*zqctl*' \\) -not -path '/usr/lib/python3/*' -not -path '/run/systemd/*'"
        " -not -path '/var/lib/apt/*' -not -path '/run/log/*' -not -path '/var/lib/systemd/catalog/*'"
    )
    modules = machine.run("ls -d /usr/lib/python3/dist-packages/zqd* 2>/dev/null || true")
    people = machine.run("cat /etc/passwd /etc/group /etc/shadow /etc/gshadow | grep zqd || true")
    units = machine.run("systemctl list-units --no-legend --plain --state=active,failed '*zqd*'")
    return {line for text in (files, modules, people, units) for line in text.splitlines() if line}


def test_install_upgrade_remove_purge(fresh: Machine) -> None:
    """One story, because each step builds on the one before."""
    before = _left_over(fresh)
    assert before == set()

    fresh.run("apt-get install -y --no-install-recommends /opt/packages/first/*.deb")
    assert fresh.show("zqd", "ActiveState") == "active"
    assert fresh.show("zqd-workers.target", "ActiveState") == "active"
    assert fresh.show("zqd-worker@1", "ActiveState") == "inactive"
    assert (
        fresh.run("systemctl is-enabled zqd zqd-frontend.socket zqd-workers.target").split()
        == ["enabled"] * 3
    )

    # An upgrade under load: the sockets stay, so nobody is refused; the instances that ran run again, and no others.
    for instance in (1, 2):
        fresh.write(
            f"/etc/zqd/workers/{instance}.toml", f'python_path = ["{HOME}"]\nhandler = "handlers:echo"\n'
        )
    fresh.run("systemctl enable -q --now zqd-worker@1 && systemctl start zqd-worker@2")
    fresh.run("echo '# mine' >>/etc/zqd/zqd.toml")
    load = fresh.program("load", TCP, 4)
    connects = fresh.start(
        f"python3 {HOME}/connects.py /run/zqd/frontend.sock 127.0.0.1:5559 /run/zqd/status.sock"
    )
    fresh.wait_until(lambda: fresh.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
    processes = [fresh.main_pid(unit) for unit in ("zqd", "zqd-worker@1", "zqd-worker@2")]
    fresh.run("apt-get install -y --no-install-recommends /opt/packages/next/*.deb")
    fresh.run("zqctl wait --workers 2 --timeout 30")
    assert not set(processes) & {fresh.main_pid(unit) for unit in ("zqd", "zqd-worker@1", "zqd-worker@2")}
    assert fresh.show("zqd-worker@3", "ActiveState") == "inactive"
    fresh.wait_until(lambda: fresh.zqctl("status")["queues"][0]["replied"] > 50, "traffic")
    assert fresh.run("dpkg-query -W -f '${Version}' zqd").endswith(NEXT)
    assert "# mine" in fresh.run("cat /etc/zqd/zqd.toml")
    refused = json.loads(connects.communicate()[0])["refused"]
    assert refused == []
    result = json.loads(load.communicate()[0])
    assert (result["failures"], result["wrong"], result["given_up"]) == ([], [], 0)

    # Removal: nothing runs, nothing listens; the configuration stays.
    fresh.run("apt-get remove -y zqd zqd-worker python3-zqd")
    assert fresh.run("ls /run/zqd") == ""
    assert fresh.run("systemctl list-units --no-legend --state=active '*zqd*'") == ""
    assert "# mine" in fresh.run("cat /etc/zqd/zqd.toml")

    # Purge: what the administrator has given to zqd is left, and its owners, whose numbers nobody else may get.
    kept = "/etc/zqd/keys/zqd.key_secret"
    fresh.run(f"install -d /etc/zqd/keys && install -m 0400 -o zqd /dev/null {kept}")
    fresh.run("rm -r /etc/zqd/workers")
    fresh.run("apt-get purge -y zqd zqd-worker python3-zqd")
    fresh.run("useradd --system stranger && groupadd --system strangers")
    assert fresh.attempt(f"cat {kept}", user="stranger").returncode == 1
    assert fresh.run("passwd --status zqd").split()[1] == "L"
    groups = {"zqd", "zqd-client", "zqd-worker"}
    assert groups < set(fresh.run("cut -d: -f1 /etc/group").split())

    # Without such a thing nothing at all is left.
    fresh.run("rm -r /etc/zqd && apt-get install -y --no-install-recommends /opt/packages/next/*.deb")
    fresh.run("apt-get purge -y zqd zqd-worker python3-zqd")
    fresh.run("systemctl daemon-reload; systemctl reset-failed")
    assert _left_over(fresh) == set()

    ours = [entry["MESSAGE"] for entry in fresh.journal("-p", "err") if "zqd" in json.dumps(entry)]
    assert ours == []


def test_a_second_build_is_the_same(system: System) -> None:
    """Built again in another folder, with another umask, time zone and locale: byte for byte the same."""

    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.deb")}

    first = digests(system.packages.first)
    assert len(first) == 3
    assert first == digests(system.packages.again)


def test_lintian_has_nothing_to_say(system: System) -> None:
    """No error, no warning; what is overridden says why in debian/*.lintian-overrides."""
    found = re.findall(r"^[EW]: .*", system.packages.lintian, re.MULTILINE)
    assert found == []
