"""Booted systems for the tests of this folder: of each release one with our packages installed, which they share."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.machine import Machine
from tests.system.packages import Packages, build
from tests.system.trees import Overlay, Tree, cache, run, tree

RELEASES = ("bookworm", "trixie")
LIMIT = 1200  # seconds; the first test makes both trees
PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "apt-get")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of this folder may take their time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT))
            item.add_marker(pytest.mark.slow)


FINDINGS = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what tests have found out, whether they passed or not."""
    for line in config.stash.get(FINDINGS, []):
        terminalreporter.write_line(line)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`say(line)`: print a finding at the end of the run."""
    return request.config.stash.setdefault(FINDINGS, []).append


@dataclass(frozen=True)
class System:
    """What there is of one release."""

    tree: Tree
    packages: Packages


@pytest.fixture(scope="session")
def systems() -> Iterator[dict[str, System]]:
    """Of every release the tree and our packages; both releases are made at the same time."""
    obstacle = _obstacle()
    if obstacle:
        message = f"NO TEST ON A BOOTED SYSTEM WAS RUN: {obstacle}"
        if os.environ.get("ZQD_TESTS_SYSTEM") == "required":
            pytest.fail(message)
        pytest.skip(message)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=cache())))

        def make(release: str) -> Packages:
            (folder / release).mkdir()
            with tree(release) as made:
                return build(made, folder / release)

        with ThreadPoolExecutor(len(RELEASES)) as pool:
            packages = list(pool.map(make, RELEASES))
        yield {each.release: System(stack.enter_context(tree(each.release)), each) for each in packages}


def _obstacle() -> str:
    """Why no system can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "that takes root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)} (tests/run installs what is needed)"
    if subprocess.run(
        ["unshare", "-m", "-p", "-n", "-i", "-u", "-C", "--fork", "true"], check=False
    ).returncode:
        return "namespaces cannot be made here"
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        try:
            with Overlay(Path(folder)) as overlay:
                run(["test", "-d", overlay.root])
        except AssertionError as error:
            return f"overlays cannot be mounted here: {error}"
    return ""


@pytest.fixture(scope="session", params=RELEASES)
def system(request: pytest.FixtureRequest, systems: dict[str, System]) -> System:
    """One release after the other."""
    return systems[request.param]


@pytest.fixture(scope="session")
def installed(system: System) -> Iterator[Machine]:
    """A booted system on which apt has installed our packages, and somebody in each of our groups."""
    with system.tree.overlay() as overlay:
        shutil.copytree(system.packages.first, overlay.root / "opt/packages")
        with Machine(system.tree.release, overlay.root) as machine:
            machine.run("apt-get install -y --no-install-recommends /opt/packages/*.deb")
            for user, group in (("alice", "zqd"), ("client", "zqd-client"), ("workman", "zqd-worker")):
                machine.run(f"useradd --groups {group} {user}")
            yield machine


@pytest.fixture
def machine(installed: Machine) -> Machine:
    """The booted system as after the installation: zqd runs, with its defaults, and no worker does."""
    installed.run(
        "systemctl stop 'zqd-worker@*' zqd.service;"
        " systemctl disable -q 'zqd-worker@1' 'zqd-worker@2' 'zqd-worker@3' 'zqd-worker@4';"
        " systemctl stop 'zqd-*.socket'; rm -rf /etc/systemd/system/zqd*.d /etc/zqd/workers/* /etc/zqd/zqd.toml.d/*;"
        " systemctl daemon-reload; systemctl reset-failed; systemctl start zqd zqd-workers.target"
    )
    return installed
