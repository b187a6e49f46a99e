"""`zqctl COMMAND --watch S`, as a program and on a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.control.serving import PaperBroker, served
from tests.ctl.terminal import Terminal
from tests.support.processes import PATIENCE

ZQCTL = [sys.executable, "-m", "zqd.ctl", "--control"]


def endpoint(sockets: Path) -> str:
    """Where zqd is, while it runs."""
    return f"ipc://{sockets}/control.sock"


@contextmanager
def watching(sockets: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A zqctl that watches, with what it writes; it ends with the test."""
    with subprocess.Popen(
        [*ZQCTL, endpoint(sockets), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout, process.stderr
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """What Ctrl-C comes to: exit status and standard error."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def test_a_table_comes_again_and_again(sockets: Path) -> None:
    """Under the time, with a blank line between two; until Ctrl-C, which is status 130 and nothing else."""
    broker = PaperBroker()
    broker.worker_rows = broker.worker_rows[1:]
    with (
        served(sockets / "control.sock", broker),
        watching(sockets, "workers", "--watch", "0.1") as (process, out, _),
    ):
        first, second = ([out.readline() for _ in range(4 + again)] for again in (0, 1))
        assert first[0].endswith("  zqctl workers, every 0.1 s\n")
        assert (first[1], first[2].split()[:2], first[3].split()[:2]) == ("\n", ["ID", "NAME"], ["w2", "-"])
        assert second[0] == "\n"
        assert second[2:] == first[1:]
        assert interrupted(process) == (130, "")


def test_json_is_a_line_each(sockets: Path) -> None:
    """So that a program can tell where an answer ends; no heading, no blank lines."""
    broker = PaperBroker()
    with (
        served(sockets / "control.sock", broker),
        watching(sockets, "workers", "--queue", "slow", "--watch", "0.1", "--json") as (_, out, _),
    ):
        assert [json.loads(out.readline()) for _ in range(3)] == [broker.worker_rows[1:]] * 3


def test_it_survives_a_restart(sockets: Path) -> None:
    """While zqd does not run it says so, from the start or later, and goes on."""
    with watching(sockets, "requests", "--watch", "0.1", "--json") as (process, out, errors):
        sentence = f"zqctl: zqd is not running: no socket at {endpoint(sockets)}\n"
        assert errors.readline() == sentence
        for _ in range(2):
            with served(sockets / "control.sock", PaperBroker()):
                assert len(json.loads(out.readline())) == 3
            while errors.readline() != sentence:
                pass
        assert interrupted(process)[0] == 130


def test_a_question_without_sense_is_not_repeated(sockets: Path) -> None:
    """What zqd refuses at first it will refuse again."""
    with (
        served(sockets / "control.sock", PaperBroker()),
        watching(sockets, "workers", "--queue", "x", "--watch", "0.1") as (process, _, _),
    ):
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    assert errors == "zqctl: no queue is named 'x'; there is default, slow\n"


def test_a_reader_that_has_had_enough_ends_it(sockets: Path) -> None:
    """`zqctl status --watch 1 | head -1` ends silently."""
    with (
        served(sockets / "control.sock", PaperBroker()),
        watching(sockets, "status", "--watch", "0.1") as (process, out, errors),
    ):
        out.readline()
        out.close()
        assert process.wait(PATIENCE) == 0
        assert errors.read() == ""


def test_a_terminal_is_cleared_between(sockets: Path) -> None:
    """The heading stays in the first line; Ctrl-C ends it."""
    broker = PaperBroker()
    with (
        served(sockets / "control.sock", broker),
        Terminal([*ZQCTL, endpoint(sockets), "status", "--watch", "0.1"], 120) as terminal,
    ):
        terminal.shows("slow: no workers")
        broker.queue_rows = broker.queue_rows[:1]
        lines = terminal.until(
            "the second queue to go", lambda lines: not any("slow" in line for line in lines)
        )
        assert lines[0].endswith("zqctl status, every 0.1 s")
        terminal.press("\x03")
        assert terminal.ended() == 130
        assert b"Traceback" not in terminal.written
