"""The RPM packages, built by rpmbuild(8) with the spec's own fallbacks for Fedora's macros."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "packaging/rpm/zqd.spec"
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "man", "packaging", "systemd", "zqd")
PYTHON = "/usr/bin/python3"
SITE = re.compile(r"^/usr/lib/python3\.\d+/site-packages/")


def run(*command: str | Path) -> str:
    """What a command wrote to its standard output; AssertionError with all that it wrote when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The binary packages by their names."""
    if shutil.which("rpmbuild") is None:
        pytest.skip("needs rpmbuild (apt-get install rpm)")
    if subprocess.run(
        [PYTHON, "-c", "import setuptools, wheel, pip"], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs apt-get install python3-pip python3-setuptools python3-wheel")
    top = tmp_path_factory.mktemp("rpm")
    version = re.search(r"^Version: +(\S+)", SPEC.read_text(), re.MULTILINE)
    assert version is not None
    (top / "SOURCES").mkdir()
    with tarfile.open(top / f"SOURCES/zqd-{version[1]}.tar.gz", "w:gz") as archive:
        for name in SOURCES:
            archive.add(
                ROOT / name,
                f"zqd-{version[1]}/{name}",
                filter=lambda member: None if "__pycache__" in member.name else member,
            )
    # Debian's rpm knows none of the packages that the spec needs, and compresses no pages by itself.
    define = {"_topdir": str(top), "__os_install_post": "bash /usr/lib/rpm/brp-compress", "__python3": PYTHON}
    options = [word for key, value in define.items() for word in ("--define", f"{key} {value}")]
    run("rpmbuild", "-bb", "--nodeps", *options, SPEC)
    return {run("rpm", "-qp", "--qf", "%{NAME}", path): path for path in top.glob("RPMS/noarch/*.rpm")}


def listing(package: Path) -> set[str]:
    """The files and folders of a package, the Python module's less its version."""
    return {SITE.sub("", line) for line in run("rpm", "-qpl", package).splitlines()}


def test_there_are_three(packages: dict[str, Path]) -> None:
    """As in Debian."""
    assert set(packages) == {"python3-zqd", "zqd", "zqd-worker"}


def test_the_library_has_every_module(packages: dict[str, Path]) -> None:
    """The Python package is complete."""
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "zqd").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert modules - listing(packages["python3-zqd"]) == set()


def test_files_of_the_daemon(packages: dict[str, Path]) -> None:
    """Programs, units, configuration, pages, completions, catalog, users."""
    sockets = {
        f"/usr/lib/systemd/system/zqd-{role}.socket"
        for role in ("frontend", "backend", "control", "status", "events")
    }
    wanted = sockets | {
        "/usr/bin/zqd",
        "/usr/bin/zqctl",
        "/usr/lib/systemd/system/zqd.service",
        "/usr/lib/systemd/system/zqd.service.d/10-systemd-254.conf",
        "/usr/lib/systemd/catalog/zqd.catalog",
        "/usr/lib/sysusers.d/zqd.conf",
        "/usr/lib/tmpfiles.d/zqd.conf",
        "/etc/zqd/zqd.toml",
        "/etc/zqd/zqd.toml.d",
        "/usr/share/man/man1/zqctl.1.gz",
        "/usr/share/man/man5/zqd.toml.5.gz",
        "/usr/share/man/man7/zqd.7.gz",
        "/usr/share/man/man8/zqd.8.gz",
        "/usr/share/bash-completion/completions/zqctl",
        "/usr/share/zsh/site-functions/_zqctl",
        "/usr/share/fish/vendor_completions.d/zqctl.fish",
    }
    assert wanted - listing(packages["zqd"]) == set()
    assert run("rpm", "-qpc", packages["zqd"]).split() == ["/etc/zqd/zqd.toml"]


def test_files_of_the_worker(packages: dict[str, Path]) -> None:
    """The program, its units, configuration and pages."""
    wanted = {
        "/usr/bin/zqd-worker",
        "/usr/lib/systemd/system/zqd-worker@.service",
        "/usr/lib/systemd/system/zqd-worker@.service.d/10-systemd-254.conf",
        "/usr/lib/systemd/system/zqd-workers.target",
        "/usr/lib/systemd/system/zqd-workers.slice",
        "/usr/lib/sysusers.d/zqd-worker.conf",
        "/etc/zqd/worker.toml",
        "/etc/zqd/workers",
        "/usr/share/man/man5/zqd-worker.toml.5.gz",
        "/usr/share/man/man8/zqd-worker.8.gz",
    }
    assert wanted - listing(packages["zqd-worker"]) == set()
    assert run("rpm", "-qpc", packages["zqd-worker"]).split() == ["/etc/zqd/worker.toml"]


def test_units_come_only_to_a_systemd_that_understands_them(packages: dict[str, Path]) -> None:
    """Whoever has 10-systemd-254.conf needs a systemd of that version: an older one takes Type=notify-reload for simple."""
    for name, package in packages.items():
        has = any(path.endswith("/10-systemd-254.conf") for path in listing(package))
        needs = "systemd >= 254" in run("rpm", "-qp", "--requires", package).splitlines()
        assert has == needs == (name != "python3-zqd")


def test_no_file_is_in_two_packages(packages: dict[str, Path]) -> None:
    """But for the folder that both own."""
    seen: dict[str, int] = {}
    for package in packages.values():
        for path in listing(package):
            seen[path] = seen.get(path, 0) + 1
    assert {path for path, count in seen.items() if count > 1} == {"/etc/zqd"}


def test_scriptlets_keep_the_sockets_over_an_upgrade(packages: dict[str, Path]) -> None:
    """An upgrade restarts the service and the instances that run; only a removal touches the sockets."""
    scripts = dict(
        re.findall(
            r"^(\w+) scriptlet \(using /bin/sh\):\n((?:(?!\w+ scriptlet).*\n?)*)",
            run("rpm", "-qp", "--scripts", packages["zqd"]),
            re.MULTILINE,
        )
    )
    assert set(scripts) == {"postinstall", "preuninstall", "postuninstall"}
    assert "zqd-frontend.socket" in scripts["preuninstall"]
    assert ".socket" not in scripts["postuninstall"]
    assert "zqd.service" in scripts["postuninstall"]
    assert "'zqd-worker@*.service'" in run("rpm", "-qp", "--scripts", packages["zqd-worker"])


def test_rpmlint_has_nothing_to_say(packages: dict[str, Path]) -> None:
    """No error and no warning; what is filtered says why in packaging/rpm/rpmlint.toml."""
    if shutil.which("rpmlint") is None:
        pytest.skip("needs rpmlint (apt-get install rpmlint)")
    config = ROOT / "packaging/rpm/rpmlint.toml"
    text = run("rpmlint", "--config", config, SPEC, *packages.values())
    assert re.search(r"0 errors, 0 warnings", text), text
