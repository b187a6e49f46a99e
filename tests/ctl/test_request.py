from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from tests.ctl.echo import worker
from tests.ctl.running import NOBODY, ROOT, ZQCTL, listen, said, zqctl
from tests.support.processes import Zqd, steady_endpoint
from zqd.ctl.connection import ExitStatus
from zqd.ctl.request import outcome_of


@pytest.fixture
def echo(zqd: Zqd) -> Iterator[Zqd]:
    """A zqd with one worker that gives back what it gets."""
    with worker(zqd.backend):
        zqd.wait_until("the worker", lambda queue: queue["workers"] == 1)
        yield zqd


def ask(zqd: Zqd, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`zqctl request` to this zqd."""
    return zqctl("request", "--control", f"ipc://{zqd.control_path}", *arguments)


def test_the_reply_is_printed(echo: Zqd) -> None:
    """The reply's bytes and nothing else on standard output, what it took on standard error."""
    done = ask(echo, "Hello")
    assert (done.returncode, done.stdout) == (0, "Hello")
    assert done.stderr.startswith("5 bytes in ")
    assert done.stderr.endswith(f" ms from {echo.frontend}\n")


def test_the_body_may_come_by_standard_input(echo: Zqd) -> None:
    """`-` reads it to its end, whatever bytes it has."""
    body = bytes(range(256)) * 1000
    command = [*ZQCTL, "request", "--control", f"ipc://{echo.control_path}", "-"]
    done = subprocess.run(command, input=body, capture_output=True, cwd=ROOT, timeout=60, check=True)
    assert done.stdout == body


def test_json(echo: Zqd) -> None:
    """Text as text, other bytes as base64, and the time."""
    answer = json.loads(ask(echo, "--json", "Hello").stdout)
    assert (answer["ok"], answer["reply"], answer["bytes"], answer["error"]) == (True, ["Hello"], 5, None)
    assert 0 < answer["seconds"] < 60


def test_without_a_daemon(connect: object) -> None:
    """With --endpoint it is a client of anything that answers requests."""
    with worker("tcp://127.0.0.1:*", bind=True) as server:
        done = zqctl("request", "--endpoint", server, "Hello")
    assert (done.returncode, done.stdout) == (0, "Hello")


def test_a_time_out_is_told_in_zqds_words(zqd: Zqd) -> None:
    """Without a worker the request fails with 504 when the time is over, and status 1."""
    status, sentence = said(ask(zqd, "--timeout", "0.3", "Hello"))
    assert status == ExitStatus.ERROR
    assert sentence.startswith("zqctl: ZQD-ERROR 504 ")


def test_a_failure_in_json_is_a_failure(zqd: Zqd) -> None:
    """The object says why, and the status says that."""
    done = ask(zqd, "--timeout", "0.3", "--json", "Hello")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["reply"]) == (1, False, None)
    assert answer["error"].startswith("ZQD-ERROR 504 ")


@pytest.mark.parametrize("command", [["request", "Hello"], ["bench"]])
def test_nobody_there(command: list[str], sockets: Path) -> None:
    """Where nobody listens that is said at once: a time-out of 0 would never come."""
    endpoint = steady_endpoint()
    done = zqctl(*command, "--endpoint", endpoint, "--timeout", "0")
    assert said(done) == (ExitStatus.NOT_RUNNING, f"zqctl: nobody listens at {endpoint}\n")
    done = zqctl(*command, "--endpoint", f"ipc://{sockets}/none", "--timeout", "0")
    sentence = f"zqctl: zqd is not running: no socket at ipc://{sockets}/none\n"
    assert said(done) == (ExitStatus.NOT_RUNNING, sentence)


def test_nobody_at_an_abstract_address() -> None:
    """Which is libzmq's to try, and has no file that would tell more."""
    endpoint = "ipc://@nobody-has-this-name"
    status, sentence = said(zqctl("request", "--endpoint", endpoint, "--timeout", "0.2", "Hello"))
    assert status == ExitStatus.ERROR
    assert sentence.startswith(f"zqctl: no answer from {endpoint} within 0.2 s: nobody listens there")


def test_a_frontend_that_this_user_may_not_use(sockets: Path) -> None:
    """Status 4, and at once: a time-out of 0 would never come."""
    with closing(listen(sockets / "frontend")):
        (sockets / "frontend").chmod(0o000 if os.geteuid() else 0o755)
        endpoint = f"ipc://{sockets}/frontend"
        done = zqctl("request", "--endpoint", endpoint, "--timeout", "0", "Hello", program=NOBODY)
    status, sentence = said(done)
    assert status == ExitStatus.NO_PERMISSION
    assert sentence.startswith(f"zqctl: no permission for {endpoint}: only its owner (")


def test_a_body_may_have_any_bytes(echo: Zqd) -> None:
    """Those of the command line itself, whatever the locale makes of them."""
    command: list[str | bytes] = [*ZQCTL, "request", "--control", f"ipc://{echo.control_path}", b"\xff"]
    assert subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60, check=True).stdout == b"\xff"


def test_a_standard_input_that_cannot_be_read(echo: Zqd) -> None:
    """One sentence; one that is closed is as good as /dev/null, in all programs of zqd."""
    with Path(os.devnull).open("w") as unreadable:
        done = zqctl("request", "--control", f"ipc://{echo.control_path}", "-", stdin=unreadable)
    assert said(done) == (1, "zqctl: cannot read standard input: Bad file descriptor\n")
    closed = ["sh", "-c", 'exec "$0" "$@" <&-', *ZQCTL]
    done = zqctl("request", "--control", f"ipc://{echo.control_path}", "-", program=closed)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("0 bytes in ")
    assert done.stderr.count("\n") == 1


def test_a_reply_that_cannot_be_written(echo: Zqd) -> None:
    """One sentence, as with every answer."""
    with Path("/dev/full").open("w") as full:
        done = zqctl("request", "--control", f"ipc://{echo.control_path}", "Hello", stdout=full)
    assert (done.returncode, done.stderr) == (1, "zqctl: cannot write the answer: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "nowhere"], "nowhere is no endpoint"),
        (["--endpoint", "tcp://127.0.0.1:1", "--queue", "default"], "give one of them"),
        (["--queue", "lunch"], "no queue is named 'lunch'"),
    ],
)
def test_what_cannot_be_meant(zqd: Zqd, arguments: list[str], words: str) -> None:
    """One sentence that says what is wrong."""
    done = ask(zqd, *arguments, "Hello")
    assert done.returncode in {ExitStatus.ERROR, ExitStatus.USAGE}
    assert words in done.stderr


SECRET = "aB3$%" * 8
"""What a key looks like."""


@pytest.mark.parametrize("command", [["request", "Hello"], ["bench"]])
@pytest.mark.parametrize("secret", [SECRET, SECRET[:-1], f"{SECRET}%"])
def test_a_secret_is_not_repeated(command: list[str], secret: str) -> None:
    """Of the key itself in place of its file, and of one that was copied with a character too few or too many."""
    public, _ = zmq.curve_keypair()
    keys = (f"--server-key={public.decode()}", f"--curve-secret={secret}")
    assert said(zqctl(*command, "--endpoint", "tcp://127.0.0.1:1", *keys)) == (
        2,
        "zqctl: --curve-secret: it is a key itself and not the file that has it; expected the path of a .key_secret certificate\n",
    )


def test_a_reply_that_only_looks_like_a_failure_is_a_reply() -> None:
    """What a worker says is the worker's; only the options frame tells of a failure."""
    assert outcome_of([b"zqd/1 timeout_ms=5", b"", b"ZQD-ERROR 500 no"]).failure == ""
    assert outcome_of([b"zqd/1 status=500", b"", b"ZQD-ERROR 500 no"]).failure == "ZQD-ERROR 500 no"


def test_a_reply_without_an_envelope_is_a_failure() -> None:
    """Whoever answers so is no REP."""
    assert "no empty frame" in outcome_of([b"what?"]).failure


# bench


def test_bench_tells_what_the_clients_saw(echo: Zqd) -> None:
    """All requests are answered and counted, and zqd counts as many."""
    done = zqctl("bench", "--control", f"ipc://{echo.control_path}", "--requests", "500", "--clients", "5")
    assert done.returncode == 0
    assert done.stdout.startswith("500 of 500 requests of 64 B answered in ")
    assert echo.queue()["replied"] == 500


def test_bench_in_json(echo: Zqd) -> None:
    """The same for programs, with latencies in milliseconds."""
    done = zqctl(
        "bench", "--json", "--control", f"ipc://{echo.control_path}", "--requests", "50", "--size", "1000"
    )
    summary = json.loads(done.stdout)
    assert (summary["replied"], summary["failed"], summary["size"]) == (50, {}, 1000)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["max"]


def test_bench_counts_failures(zqd: Zqd) -> None:
    """Requests that fail are told with their reason, and the status is 1."""
    done = zqctl(
        *("bench", "--json", "--control", f"ipc://{zqd.control_path}", "--timeout", "0.2"),
        *("--requests", "3", "--clients", "3"),
    )
    summary = json.loads(done.stdout)
    assert done.returncode == 1
    assert summary["replied"] == 0
    assert sum(summary["failed"].values()) == 3
    assert all(reason.startswith("ZQD-ERROR 504") for reason in summary["failed"])
