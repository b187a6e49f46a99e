"""Our Debian packages, built by packaging/build-deb from this checkout in a tree of each release.

Called by: `conftest`, tests.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.system.trees import CHECKOUT, Overlay, Tree

SOURCES = ("LICENSE", "README.md", "pyproject.toml", "man", "packaging", "systemd", "zqd")
NEXT = "+next"
"""What the version of an upgrade has at its end."""


@dataclass(frozen=True)
class Packages:
    """What was built, all in folders of this machine."""

    release: str
    first: Path
    again: Path
    """The same checkout, built a second time in another place."""
    next: Path
    """One that differs only in its version."""
    lintian: str
    """What lintian says of `first`."""


def build(tree: Tree, folder: Path) -> Packages:
    """Build all of them for one release."""
    with tree.overlay(build=True) as overlay:
        checkout, elsewhere = overlay.root / "src/checkout", overlay.root / "src/else/where"
        copy_sources(checkout)
        copy_sources(elsewhere)
        _build(overlay, "first", "umask 022; cd /src/checkout")
        _build(overlay, "again", "umask 077; export TZ=Asia/Tokyo LC_ALL=C; cd /src/else/where")
        changelog = checkout / "packaging/debian/changelog"
        entry = changelog.read_text()
        changelog.write_text(entry.replace(")", f"{NEXT})", 1) + "\n" + entry)
        _build(overlay, "next", "umask 022; cd /src/checkout")
        lintian = overlay.chroot(
            "sh", "-c", "lintian --fail-on none --tag-display-limit 0 /out/first/*.changes 2>&1"
        )
        shutil.copytree(overlay.root / "out", folder, dirs_exist_ok=True)
    return Packages(tree.release, folder / "first", folder / "again", folder / "next", lintian)


def copy_sources(folder: Path) -> None:
    """Copy what packages are made of, of this checkout as it is."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name)
        else:
            shutil.copy2(CHECKOUT / name, folder / name)


def _build(overlay: Overlay, name: str, before: str) -> None:
    overlay.chroot("sh", "-ec", f"{before}; packaging/build-deb /out/{name}")
