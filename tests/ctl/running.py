"""Running zqctl as a person does, and as one who may do nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from zqd.control.commands import COMMANDS

ZQCTL = [sys.executable, "-m", "zqd.ctl"]
ROOT = Path(__file__).parents[2]
AS_NOBODY = """
import grp, os, pwd
import zqd.ctl.follow, zqd.ctl.request
from zqd.ctl.program import build_parser, main
build_parser()  # imports the last of what nobody may not be able to read
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
raise SystemExit(main())
"""
NOBODY = [sys.executable, "-c", AS_NOBODY]
READS = {name: row for name, row in COMMANDS.items() if row.reads}
"""What the status socket serves."""


def zqctl(*arguments: str, program: list[str] = ZQCTL, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run zqctl to its end."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*program, *arguments], text=True, cwd=ROOT, timeout=60, check=False, **options)


def listen(path: Path) -> socket.socket:
    """A plain listening socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(128)
    return listener


def said(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The exit status and the one line on standard error, where nothing else was printed."""
    assert not done.stdout
    return done.returncode, done.stderr
