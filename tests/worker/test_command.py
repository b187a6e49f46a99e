from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.processes import wait_for
from zqd.worker.command import STDERR_KEPT, CommandHandler
from zqd.worker.job import Failed, Job

MIB = 1 << 20
ID = bytes(range(16))


def job(*body: bytes) -> Job:
    """A job with this body."""
    return Job([ID, b"", *body], cast("Any", SimpleNamespace(connection=None)))


def run(*command: str, body: bytes = b"", timeout: float = 0.0, limit: int = 0) -> bytes:
    """The reply of a command."""
    (reply,) = CommandHandler(command, timeout=timeout, max_reply_size=limit).call(job(body))
    return reply


def python(code: str, **options: Any) -> bytes:
    """The reply of a Python program."""
    return run(sys.executable, "-c", code, **options)


def failure(*command: str, **options: Any) -> Failed:
    """How a command fails."""
    with pytest.raises(Failed) as failed:
        run(*command, **options)
    return failed.value


def gone(pid: int) -> bool:
    """The process has ended, and is at most waited for by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 5 * MIB])
def test_reply(size: int) -> None:
    """The body on standard input, standard output is the reply, of any size."""
    body = os.urandom(size)
    assert run("cat", body=body) == body


def test_no_shell() -> None:
    """Arguments come as they are."""
    assert run("printf", "%s|", "$HOME", "a b", "*", ";") == b"$HOME|a b|*|;|"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the request's id as zqd shows it, and the instance's name."""
    monkeypatch.setenv("ZQD_INSTANCE", "7")
    reply = run("sh", "-c", 'printf "$ZQD_REQUEST_ID $ZQD_INSTANCE"')
    assert reply == ID[:14].hex().encode() + b" 7"


def test_exit_status() -> None:
    """Not zero is a failure, whatever was written; the log gets the end of standard error."""
    failed = failure(
        "sh", "-c", f"echo reply; yes x | head -c {2 * STDERR_KEPT} >&2; echo '  why' >&2; exit 3"
    )
    assert failed.reason == "the command ended with 3"
    stderr = failed.details["stderr"]
    assert isinstance(stderr, str)
    assert stderr.endswith("\n  why")
    assert len(stderr) <= STDERR_KEPT


def test_signal() -> None:
    """So is the death by a signal, by its name."""
    assert failure("sh", "-c", "kill -SEGV $$").reason == "the command died by SIGSEGV"
    assert failure("sh", "-c", "kill -37 $$").reason == "the command died by signal 37"


@pytest.mark.parametrize("name", ["no-such-program", "/etc/passwd", "/no/such/program"])
def test_missing(name: str) -> None:
    """A program that cannot be started: the log says which, and why."""
    failed = failure(name)
    assert failed.reason == "the command cannot be started"
    assert failed.details["command"] == name
    assert failed.details["error"] in ("No such file or directory", "Permission denied")


def test_ignores_standard_input() -> None:
    """A program that reads nothing, or closes its input, is as good as any."""
    assert run("echo", "hello", body=bytes(5 * MIB)) == b"hello\n"
    assert run("sh", "-c", "exec <&-; sleep 0.1; echo hello", body=bytes(5 * MIB)) == b"hello\n"


def test_closes_its_output() -> None:
    """The reply is what was written, and the program's end is waited for."""
    assert failure("sh", "-c", "echo hello; exec >&- 2>&-; sleep 0.1; exit 4").reason.endswith("with 4")


def test_writes_without_end() -> None:
    """One that writes more than it may is killed then and there; a gigabyte costs no memory."""
    before = resident()
    failed = failure("sh", "-c", f"head -c {1024 * MIB} /dev/zero", limit=MIB)
    assert failed.reason == f"the reply is larger than {MIB} bytes"
    assert resident() - before < 100 * MIB


def resident() -> int:
    """Our resident memory, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_bound_is_included() -> None:
    """As much as allowed is allowed, written at once or just before the end."""
    assert run("head", "-c", "100000", "/dev/zero", limit=100_000) == bytes(100_000)
    failure("head", "-c", "100001", "/dev/zero", limit=100_000)


def test_much_on_standard_error() -> None:
    """That is read to its end, and only its end is kept."""
    assert run("sh", "-c", f"head -c {20 * MIB} /dev/zero >&2; echo done") == b"done\n"


def test_timeout(tmp_path: Path) -> None:
    """One that takes too long is killed with all that it has started, even if that ignores other signals."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 3600 & echo $! $$ >{pids}; wait; sleep 3600"
    assert failure("sh", "-c", script, timeout=0.5).reason == "the command took too long"
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda: gone(pid), "the process to be gone")  # noqa: B023 - called at once


def test_child_that_stays(tmp_path: Path) -> None:
    """A child in the background that keeps the pipes open holds up nothing."""
    pid = tmp_path / "pid"
    reply = run("sh", "-c", f"sleep 3600 & echo $! >{pid}; echo hello")
    assert reply == b"hello\n"
    os.kill(int(pid.read_text()), 9)


def test_frames() -> None:
    """A command takes one frame."""
    handler = CommandHandler(["cat"], timeout=0, max_reply_size=0)
    with pytest.raises(Failed, match="a request of 2 frames, and a command takes one"):
        handler.call(job(b"a", b"b"))


def test_abort() -> None:
    """At the end of the worker every program that runs is killed."""
    handler = CommandHandler(["sleep", "3600"], timeout=0, max_reply_size=0)
    outcomes: list[object] = []

    def call() -> None:
        try:
            outcomes.append(handler.call(job(b"")))
        except Failed as failed:
            outcomes.append(failed.reason)

    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: handler._running, "the program to run")
    handler.abort()
    thread.join()
    assert outcomes == ["the command died by SIGKILL"]


def test_no_descriptor_is_left() -> None:
    """However a command ends."""
    before = len(os.listdir("/proc/self/fd"))
    run("true")
    failure("false")
    failure("no-such-program")
    failure("sleep", "3600", timeout=0.05)
    failure("head", "-c", "2000", "/dev/zero", limit=1000)
    assert len(os.listdir("/proc/self/fd")) == before
