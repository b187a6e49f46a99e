"""What the doctor looks at in zqd's process and in its answers: version, user, descriptors, systemd's unit, queues.

Each check is a function of plain values. A key that an older zqd's answers lack is said to be unknown. Called by `zqd.ctl.doctor`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import zqd
from zqd.ctl.doctor.finding import Finding, ok, skip, warn
from zqd.ctl.tables import Row

NEARLY = 0.8
"""The share of its descriptors that zqd had better not use."""
PATIENCE = 5.0  # seconds for systemctl
PROPERTIES = ("ActiveState", "UnitFileState", "TriggeredBy", "NRestarts", "NeedDaemonReload")


class Process(NamedTuple):
    """What proc(5) shows of zqd; None is what this user may not see."""

    uid: int | None = None
    unit: str | None = None
    """The systemd service in which it runs."""
    descriptors_limit: int | None = None
    descriptors_used: int | None = None


def examine(status: Row) -> Iterator[Finding]:
    """Every check of zqd's process; of its queues there is `queue`."""
    process = look(status["pid"])
    yield version(status["version"])
    yield user(process)
    yield descriptors(status, process)
    yield unit(process, show(process.unit) if process.unit else None)


def version(running: str) -> Finding:
    """Whether zqd and this zqctl are the same version; that their protocols fit is known once zqd has answered."""
    if running != zqd.__version__:
        return warn(
            "version",
            f"zqd is {running}, zqctl {zqd.__version__}",
            "systemctl restart zqd, if it was upgraded; or call the zqctl that came with it",
        )
    return ok("version", f"zqd and zqctl are {running}")


def user(process: Process) -> Finding:
    """Whether zqd has more rights than it needs."""
    if process.uid is None:
        return skip("user", "this user may not see whose process zqd is")
    if process.uid == 0:
        return warn("user", "zqd runs as root and needs no right of root's", "User=zqd in its unit")
    return ok("user", f"zqd runs as uid {process.uid}")


def descriptors(status: Row, process: Process) -> Finding:
    """Whether zqd can still accept connections, each of which is a descriptor; it says itself how many it has for them."""
    known = status.get("descriptors")
    if known is not None:
        room, used, whose = (
            known["limit"] - known["reserve"],
            known["used"],
            "descriptors for clients and workers",
        )
    else:
        room, used, whose = process.descriptors_limit, process.descriptors_used, "descriptors"
    if room is None or used is None:
        return skip("descriptors", "not known with this zqd version, nor to this user", "run this as root")
    text = f"{used} of {room} {whose} in use"
    if used >= NEARLY * room:
        return warn("descriptors", text, "raise LimitNOFILE= in zqd's unit, or ulimit -n where it is started")
    return ok("descriptors", text)


def unit(process: Process, shown: Mapping[str, str] | None) -> Finding:
    """What systemd shows of zqd's unit (`PROPERTIES`, see systemctl(1) show); None where it shows nothing."""
    name = process.unit
    if process.uid is None:
        return skip("systemd", "this user may not see how zqd was started")
    if name is None:
        return ok("systemd", "zqd was not started by it")
    if shown is None:
        return skip("systemd", f"systemctl tells nothing about {name}")
    if shown.get("NeedDaemonReload") == "yes":
        return warn(
            "systemd", f"{name} was changed on disk", f"systemctl daemon-reload && systemctl restart {name}"
        )
    restarts = shown.get("NRestarts", "0")
    if restarts not in {"", "0"}:
        return warn(
            "systemd", f"{name} has been restarted {restarts} times", f"journalctl -u {name} tells why"
        )
    enabled = shown.get("UnitFileState", "")
    if enabled == "disabled" and not shown.get("TriggeredBy"):
        return warn("systemd", f"{name} does not start with the machine", f"systemctl enable {name}")
    return ok("systemd", f"{name} is {shown.get('ActiveState', '')}, {enabled}")


def queue(row: Row, workers: Sequence[Row]) -> Iterator[Finding]:
    """Whether a queue does its work; `workers` are the rows of all workers."""
    name, about = row["name"], f"queue {row['name']}"
    if row["state"] in {"paused", "draining", "drained"}:
        yield warn(about, f"it is {row['state']}", f"zqctl resume {name}")
    elif row["state"] != "running":
        yield warn(about, f"it is {row['state']}", "wait for its end")
    elif not row["workers"]:
        yield warn(
            about, row["saturation"].partition(":")[0], f"start workers at {' or '.join(row['backend'])}"
        )
    elif ": " in row["saturation"]:
        text, _, advice = row["saturation"].rpartition(": ")
        yield warn(about, text, advice)
    else:
        yield ok(about, row["saturation"])
    hung = [
        worker["id"] for worker in workers if worker["queue"] == name and worker["state"] == "quarantined"
    ]
    if hung:
        ids = ", ".join(hung[:8]) + (", …" if len(hung) > 8 else "")
        text = f"{len(hung)} quarantined: they let a request time out and have not answered since ({ids})"
        yield warn(about, text, "restart them, or zqctl kick those that hang")


# What the checks are told ---------------------------------------------------------------------------------------------


def look(pid: int, proc: Path = Path("/proc")) -> Process:
    """What can be seen of the process `pid`, if it is a zqd: the pid may be of another namespace, or have no meaning any more."""
    place = proc / str(pid)
    if b"zqd" not in _read(place / "cmdline"):
        return Process()
    uid = re.search(rb"^Uid:\s+(\d+)", _read(place / "status"), re.MULTILINE)
    limit = re.search(rb"^Max open files\s+(\d+)", _read(place / "limits"), re.MULTILINE)
    service = re.search(rb"/([^/\n]+\.service)$", _read(place / "cgroup"), re.MULTILINE)
    return Process(
        uid=int(uid[1]) if uid else None,
        unit=service[1].decode(errors="replace") if service else None,
        descriptors_limit=int(limit[1]) if limit else None,
        descriptors_used=_entries(place / "fd"),
    )


def show(unit: str) -> dict[str, str] | None:
    """What `systemctl show` tells of a unit; None where there is no systemd that answers."""
    command = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", unit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _entries(folder: Path) -> int | None:
    try:
        return len(list(folder.iterdir()))
    except OSError:
        return None
