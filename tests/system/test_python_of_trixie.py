"""`pip install` of the checkout in a clean virtual environment of Debian 13, whose Python is 3.13."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.system.conftest import System
from tests.system.packages import copy_sources

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def test_it_installs_and_runs(systems: dict[str, System]) -> None:
    """The dependencies come from where this machine's pip has them; the three programs run."""
    with systems["trixie"].tree.overlay() as overlay:
        overlay.chroot("apt-get", "install", "-qq", "-y", "--no-install-recommends", "python3-venv")
        copy_sources(overlay.root / "src")
        trust = ""
        if CERTIFICATES.exists():  # of a network that has certificates of its own
            shutil.copy2(CERTIFICATES, overlay.root / "certificates")
            trust = "--cert /certificates"
        overlay.chroot("sh", "-ec", f"python3 -m venv /venv && /venv/bin/pip install -qq {trust} /src")
        assert "3.13" in overlay.chroot("/venv/bin/python", "--version")
        for program in ("zqd", "zqctl", "zqd-worker"):
            assert program in overlay.chroot(f"/venv/bin/{program}", "--help")
