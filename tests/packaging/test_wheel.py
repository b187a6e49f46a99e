"""The wheel and the sdist: complete, and all that a clean virtual environment needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "pyproject.toml",
    "man",
    "packaging",
    "systemd",
    "tests",
    "zqd",
)
LIMIT = 300  # seconds for a step that downloads


def run(*command: str | Path, folder: Path) -> str:
    """What a command wrote; AssertionError when it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout[-3000:]}"
    return done.stdout


def environment(folder: Path, packages: Sequence[str | Path]) -> Path:
    """The `bin` of a new virtual environment with these packages."""
    run(sys.executable, "-m", "venv", folder, folder=folder.parent)
    run(folder / "bin/pip", "install", "-qq", *packages, folder=folder.parent)
    return folder / "bin"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from that."""
    folder = tmp_path_factory.mktemp("dist")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, checkout / name)
    bin_folder = environment(folder / "builder", ["build"])
    run(bin_folder / "python", "-m", "build", "--outdir", folder, checkout, folder=folder)
    return folder


def files_below(*names: str) -> set[str]:
    """The checkout's files in these folders, less what Python leaves there."""
    return {
        str(path.relative_to(ROOT))
        for name in names
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_the_whole_package(dist: Path) -> None:
    """Every module and the mark of its types, and nothing beside."""
    (wheel,) = dist.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == files_below("zqd")


def test_the_sdist_has_what_packages_are_made_of(dist: Path) -> None:
    """Units, pages, packaging and the tests, so that a distribution needs nothing else."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = files_below("man", "packaging", "systemd", "tests", "zqd") | set(SOURCES[:4])
    assert wanted - names == set()


def test_it_installs_into_a_clean_environment(dist: Path, tmp_path: Path) -> None:
    """The three programs run there, and say which version they are."""
    (wheel,) = dist.glob("*.whl")
    bin_folder = environment(tmp_path / "clean", [wheel])
    version = wheel.name.split("-")[1]
    assert run(bin_folder / "zqd", "--version", folder=tmp_path) == f"zqd {version}\n"
    assert run(bin_folder / "zqd-worker", "--version", folder=tmp_path) == f"zqd-worker {version}\n"
    for program in ("zqd", "zqctl", "zqd-worker"):
        assert program in run(bin_folder / program, "--help", folder=tmp_path)
