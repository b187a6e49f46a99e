"""Root file systems of fresh Debian releases, made once with debootstrap and kept outside of the checkout.

For each release there are two layers under $XDG_CACHE_HOME/zqd-tests (or ~/.cache): `base`, a small bootable system with
the archives of our dependencies already downloaded, so that apt inside it needs no network; and `build`, what `base` lacks
to build and check packages. Nobody writes to them: a run mounts an overlay of its own (`Overlay`). They are made when they
are missing or incomplete, and anew when older than MAXIMUM_AGE. Called by: `conftest`, `packages`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

CHECKOUT = Path(__file__).resolve().parents[2]
MAXIMUM_AGE = 21 * 86400.0  # seconds: releases get updates, and mirrors drop the packages that were replaced
STEP = 600.0  # seconds that one step of making a tree may take
BOOTABLE = ("systemd", "systemd-sysv", "dbus", "python3")
CHECKERS = ("lintian", "mandoc")
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    **{key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")},
}


def cache() -> Path:
    """Where trees and runs are kept."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "zqd-tests")
    place.mkdir(parents=True, exist_ok=True)
    return place


def run(command: Sequence[str | Path], *, limit: float = STEP) -> str:
    """Run a step and return what it wrote; AssertionError with the end of that when it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=limit,
        env=ENVIRONMENT,
        check=False,
    )
    words = " ".join(map(str, command))
    assert done.returncode == 0, f"{words}: status {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def mirror() -> str:
    """The mirror of Debian that this machine's apt uses."""
    fields = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"
    for update in (False, True):  # what apt knows of an origin, it has from the lists
        if update:
            run(["apt-get", "update", "-qq"])
        for line in run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]).splitlines():
            origin, label, component, uri = line.split("|")
            if (origin, label, component) == ("Debian", "Debian", "main"):
                return uri.rstrip("/")
    raise AssertionError("apt on this machine knows no mirror of Debian: see /etc/apt/sources.list")


def build_packages() -> list[str]:
    """What debian/control says that a build needs."""
    text = (CHECKOUT / "packaging/debian/control").read_text()
    field = re.search(r"^Build-Depends:(.*(?:\n[ \t].*)*)", text, re.MULTILINE)
    assert field is not None
    return [part.strip() for part in field[1].split(",") if part.strip()]


def run_time_packages() -> list[str]:
    """Debian's packages of what pyproject.toml depends on."""
    text = (CHECKOUT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    debian = {"pyzmq": "zmq", "python-daemon": "daemon", "pynacl": "nacl"}  # where its names are others
    names = [name.lower() for name in re.findall(r'"([A-Za-z0-9-]+)', block[1])]
    return [f"python3-{debian.get(name, name)}" for name in names]


class Overlay:
    """Layers, the uppermost first, under one that is written to: a root file system at `root` while the context lasts.

    The written layer is `changes`, in a temporary folder that goes with the context.
    """

    def __init__(self, *layers: Path) -> None:
        self._layers = layers

    def __enter__(self) -> Self:
        runs = cache() / "runs"
        runs.mkdir(exist_ok=True)
        _sweep(runs)
        self._folder = Path(tempfile.mkdtemp(dir=runs))
        self._lock = os.open(self._folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.root, self.changes, work = (self._folder / name for name in ("root", "changes", "work"))
        for place in (self.root, self.changes, work):
            place.mkdir(mode=0o755)
        lower = ":".join(map(str, self._layers))
        options = f"lowerdir={lower},upperdir={self.changes},workdir={work}"
        run(["mount", "-t", "overlay", "overlay", "-o", options, self.root])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self._folder)
        os.close(self._lock)

    def chroot(self, *command: str) -> str:
        """Run a step inside, without services; returns what it wrote."""
        return _chroot(self.root, *command)


def _sweep(runs: Path) -> None:
    """Remove what runs have left that were killed: nobody holds its lock any more."""
    for folder in runs.iterdir():
        if time.time() - folder.stat().st_mtime < 60.0:
            continue  # perhaps not locked yet
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    if os.path.ismount(folder / "root"):
        run(["umount", folder / "root"])
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Tree:
    """The two layers of one release."""

    release: str
    base: Path
    build: Path

    def overlay(self, *, build: bool = False) -> Overlay:
        """A copy of the system that can be written to; with what packages are built with, if asked for."""
        return Overlay(self.build, self.base) if build else Overlay(self.base)


@contextlib.contextmanager
def tree(release: str) -> Iterator[Tree]:
    """The tree of a release, made if need be; while the context lasts nobody makes it anew."""
    folder = cache() / "trees" / release
    folder.mkdir(parents=True, exist_ok=True)
    made = Tree(release, folder / "base", folder / "build")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # in use, so it is there; or being made, which the next lock waits for
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not _is_complete(made):
                fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_complete(made) or _age(made) > MAXIMUM_AGE:
            _make(made)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield made


def _recipe(layer: Path) -> str:
    """What a layer is made from: a change of that makes it anew."""
    parts = [layer.parent.name, *BOOTABLE, *run_time_packages()]
    if layer.name == "build":
        parts += [*CHECKERS, *build_packages()]
    return "\n".join(parts)


def _marker(layer: Path) -> Path:
    """Written when a layer is complete, with its recipe."""
    return layer.with_name(f"{layer.name}.recipe")


def _is_good(layer: Path) -> bool:
    return _marker(layer).exists() and _marker(layer).read_text() == _recipe(layer)


def _is_complete(made: Tree) -> bool:
    return _is_good(made.base) and _is_good(made.build)


def _age(made: Tree) -> float:
    return time.time() - _marker(made.base).stat().st_mtime


def _make(made: Tree) -> None:
    if not _is_good(made.base) or _age(made) > MAXIMUM_AGE:
        _discard(made.build)
        _discard(made.base)
        _make_base(made)
        _marker(made.base).write_text(_recipe(made.base))
    _discard(made.build)
    _make_build(made)
    _marker(made.build).write_text(_recipe(made.build))


def _discard(layer: Path) -> None:
    _marker(layer).unlink(missing_ok=True)
    if layer.exists():
        shutil.rmtree(layer)


def _make_base(made: Tree) -> None:
    source, root = mirror(), made.base
    packages = [*BOOTABLE, *(["ca-certificates"] if source.startswith("https:") else [])]
    include = f"--include={','.join(packages)}"
    run(["debootstrap", "--variant=minbase", include, made.release, root, source])
    (root / "etc/dpkg/dpkg.cfg.d/tests").write_text("force-unsafe-io\n")
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "etc/hostname").write_text(f"{made.release}\n")
    _chroot(root, "apt-get", "update", "-qq")
    _chroot(root, "apt-get", "clean")
    fetch = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only"]
    _chroot(root, *fetch, *run_time_packages())


def _make_build(made: Tree) -> None:
    with made.overlay() as overlay:
        needed = ", ".join([*build_packages(), *CHECKERS])
        overlay.chroot("apt-get", "satisfy", "-qq", "-y", "--no-install-recommends", needed)
        overlay.chroot("apt-get", "clean")
        run(["cp", "-a", overlay.changes, made.build])  # with the marks of what was removed or replaced


def _chroot(root: Path, *command: str) -> str:
    return run(["chroot", root, *command])
