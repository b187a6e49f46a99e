from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zqd import __version__


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One call of zqd-worker that does not stay."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "zqd.worker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["word"], "unrecognized arguments: word"),
        (["--concurrency", "many"], "argument --concurrency: invalid int value: 'many'"),
        (["--command"], "--command: expected PROGRAM and its arguments"),
        (["--handler", "a:b", "--command", "cat"], "argument --command: not allowed with argument --handler"),
        (["--instance", "../x"], "--instance '../x': expected"),
        (["--instance", ""], "--instance '': expected"),
    ],
)
def test_usage(arguments: list[str], told: str) -> None:
    """A bad command line is status 64 and one clear line."""
    done = call(*arguments)
    assert done.returncode == 64
    assert done.stderr.startswith(f"zqd-worker: {told}")
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "/no/such/file"], "/no/such/file: cannot be read"),
        (["--set", "concurency=2"], "--set concurency: unknown key (did you mean concurrency?)"),
        (["--backend", "tcp://*:5560"], "--backend: "),
        (["--handler", "zqd.handlers:hallo"], "handler: zqd.handlers:hallo cannot be had"),
        (["--concurrency", "0"], "--concurrency: 0 is too small"),
        (["--log-level", "loud"], "--log-level: "),
    ],
)
def test_bad_configuration(arguments: list[str], told: str) -> None:
    """A bad configuration is status 78 and one clear line, whether it is only checked or not."""
    for more in ([], ["--check-config"]):
        done = call(*more, *arguments)
        assert (done.returncode, done.stdout) == (78, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"zqd-worker: {told}")


def test_check_config() -> None:
    """A good one is said to be good; a command that does not exist is worth a warning."""
    done = call("--check-config")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration is good\n", "")
    done = call("--check-config", "--command", "no-such-program", "--its-own-option")
    assert (done.returncode, done.stdout) == (0, "the configuration is good\n")
    assert done.stderr == "zqd-worker: warning: command: there is no program no-such-program\n"


def test_print_config(tmp_path: Path) -> None:
    """Every setting with its source, as a file that can be used."""
    printed = call("--print-config", "--concurrency", "3").stdout
    assert re.search(r"^concurrency = 3 +# --concurrency$", printed, re.MULTILINE)
    (tmp_path / "worker.toml").write_text(printed)
    again = call("--print-config", "--config", str(tmp_path / "worker.toml")).stdout
    assert again.count("\n") == printed.count("\n")
    assert re.search(r"^concurrency = 3 +# .*/worker\.toml$", again, re.MULTILINE)


@pytest.mark.parametrize(
    ("redirected", "option", "status", "told"),
    [
        (">/dev/full", "--check-config", 69, "zqd-worker: cannot write: No space left on device\n"),
        (">/dev/full", "--print-config", 69, "zqd-worker: cannot write: No space left on device\n"),
        (">/dev/full 2>/dev/full", "--check-config", 69, ""),
        (">&-", "--check-config", 0, ""),
        ("2>&-", "--handler=x", 78, ""),
        ("2>/dev/full", "--handler=x", 78, ""),
        ("<&- >&- 2>&-", "--handler=x", 78, ""),
        (">/dev/full", "--help", 0, ""),
        ("2>/dev/full", "--no-such-option", 64, ""),
    ],
)
def test_closed_or_full_descriptors(redirected: str, option: str, status: int, told: str) -> None:
    """What cannot be printed is said where that can be; the status tells the same as ever."""
    script = f'exec "$0" -X dev -W error -m zqd.worker "$@" {redirected}'
    command = ["sh", "-c", script, sys.executable, option]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, capture_output=True, text=True, env=buffered, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (status, told)


def test_a_reader_that_has_enough() -> None:
    """`zqd-worker --print-config | head` is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "zqd.worker", "--print-config"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_version() -> None:
    """And nothing else."""
    assert call("--version").stdout == f"zqd-worker {__version__}\n"


def test_interrupted_before_it_has_begun(tmp_path: Path) -> None:
    """Ctrl-C while the handler is loaded leaves no traceback."""
    (tmp_path / "slow.py").write_text("print('loading', flush=True)\nimport time\ntime.sleep(3600)\n")
    command = [sys.executable, "-m", "zqd.worker", "--handler", "slow:x"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(2)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
