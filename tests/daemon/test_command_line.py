from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import Zqd, wait_for
from zqd import __version__
from zqd.daemon import main

USAGE, UNAVAILABLE, CONFIG = 64, 69, 78  # sysexits.h

ANY_PORT = ("--frontend", "tcp://127.0.0.1:0", "--backend", "tcp://127.0.0.1:0")


class Outcome:
    """What one run of `zqd` came to: the exit status and the lines that it wrote."""

    def __init__(self, status: int, out: str, errors: str) -> None:
        self.status = status
        self.out = out.splitlines()
        self.errors = errors.splitlines()

    @property
    def line(self) -> str:
        """The one line that says what is wrong."""
        (line,) = self.errors
        assert line.startswith("zqd: ")
        return line.removeprefix("zqd: ")


def run(*arguments: str, wrapper: tuple[str, ...] = (), **environment: str) -> Outcome:
    """Run the program."""
    command = [*wrapper, sys.executable, "-X", "dev", "-W", "error", "-m", "zqd.daemon", *arguments]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=variables)
    return Outcome(done.returncode, done.stdout, done.stderr)


Main = Callable[..., Outcome]


@pytest.fixture
def zqd_main(capsys: pytest.CaptureFixture[str]) -> Main:
    """What `run` does, within this process: fast, for what ends before anything is bound."""

    def zqd_main(*arguments: str) -> Outcome:
        try:
            status = main([*arguments])
        except SystemExit as end:  # argparse's own way out
            status = int(end.code or 0)
        return Outcome(status, *capsys.readouterr())

    return zqd_main


def failed_start(folder: Path, *arguments: str) -> Outcome:
    """A start that must fail; it logs nothing but errors, and its control socket would be in `folder`."""
    return run("--log-level", "error", "--control", f"ipc://{folder}/control.sock", *arguments)


def test_version(zqd_main: Main) -> None:
    """--version prints one line on stdout."""
    outcome = zqd_main("--version")
    assert (outcome.status, outcome.errors) == (0, [])
    assert outcome.out == [f"zqd {__version__}"]


def test_help(zqd_main: Main) -> None:
    """--help names every option of the manual."""
    outcome = zqd_main("--help")
    assert (outcome.status, outcome.errors) == (0, [])
    for option in (
        "config",
        "set",
        "frontend",
        "backend",
        "control",
        "log-level",
        "log-format",
        "check-config",
        "version",
    ):
        assert f"--{option}" in "\n".join(outcome.out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["stray"], "unrecognized arguments: stray"),
        (["--frontend"], "argument --frontend: expected one argument"),
        (["--front", "tcp://127.0.0.1:1"], "unrecognized arguments: --front tcp://127.0.0.1:1"),
    ],
)
def test_usage(zqd_main: Main, arguments: list[str], complaint: str) -> None:
    """A command line that makes no sense: status 64, what is wrong, and where to look."""
    outcome = zqd_main(*arguments)
    assert (outcome.status, outcome.out) == (USAGE, [])
    assert outcome.errors == [f"zqd: {complaint}", "zqd: try zqd --help"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--frontend", "here"],
            "--frontend: 'here' is no endpoint: expected tcp://ADDRESS:PORT or ipc:///PATH",
        ),
        (["--backend", "tcp://127.0.0.1"], "--backend: 'tcp://127.0.0.1' has no port"),
        (["--frontend", "tcp://127.0.0.1:70000"], "with a port from 0 to 65535"),
        (["--frontend", "ipc://relative"], "has no absolute path"),
        (["--frontend", f"ipc:///{'x' * 107}"], "has at most 107 bytes"),
        (["--set", "queues.default.max_atempts=5"], "unknown key (did you mean max_attempts?)"),
        (["--set", "max_attempts=5"], "did you mean queues.default.max_attempts?"),
        (["--set", "queues.default.max_attempts=many"], '"many" is not a whole number'),
        (["--set", "log_levle=debug"], "unknown key (did you mean log_level?)"),
        (["--set", "nothing"], "--set nothing: no value"),
        (["--log-level", "loud"], '--log-level: "loud" is not a choice'),
        (["--log-format", "xml"], '--log-format: "xml" is not a choice'),
        (
            ["--config", "/nonexistent/zqd.toml"],
            "/nonexistent/zqd.toml: cannot be read (No such file or directory)",
        ),
        (
            ["--frontend", "tcp://127.0.0.1:7", "--backend", "tcp://127.0.0.1:7"],
            "is already taken by --frontend",
        ),
    ],
)
def test_bad_configuration(zqd_main: Main, arguments: list[str], complaint: str) -> None:
    """A configuration that cannot be: status 78 and one line, with or without --check-config."""
    for more in ([], ["--check-config"]):
        outcome = zqd_main(*arguments, *more)
        assert (outcome.status, outcome.out) == (CONFIG, [])
        assert complaint in outcome.line


def test_every_problem_at_once(zqd_main: Main) -> None:
    """Each problem has its own line."""
    outcome = zqd_main("--frontend", "here", "--set", "queues.default.prefetch=0")
    assert outcome.status == CONFIG
    assert [line.split(":")[1].split()[0] for line in outcome.errors] == ["--set", "--frontend"]


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:5559", "tcp://0.0.0.0:5559", "tcp://[::]:5559", "tcp://192.0.2.1:5559"]
)
def test_endpoints_for_strangers(zqd_main: Main, endpoint: str) -> None:
    """An endpoint that other machines reach is refused unless that was allowed."""
    outcome = zqd_main("--frontend", endpoint)
    assert outcome.status == CONFIG
    assert ":5559 can be reached from other machines" in outcome.line
    assert "--allow-unauthenticated" in outcome.line
    for allowance in (["--allow-unauthenticated"], ["--set", "allow_unauthenticated=true"]):
        outcome = zqd_main("--frontend", endpoint, *allowance, "--check-config")
        assert (outcome.status, outcome.errors) == (0, [])


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:0", "tcp://127.1.2.3:0", "tcp://[::1]:0", "tcp://localhost:0"]
)
def test_endpoints_for_this_machine(zqd_main: Main, endpoint: str) -> None:
    """A loopback endpoint needs no allowance."""
    outcome = zqd_main("--frontend", endpoint, "--check-config")
    assert (outcome.status, outcome.errors) == (0, [])


def test_check_config(tmp_path: Path) -> None:
    """--check-config says yes and binds nothing."""
    path = tmp_path / "frontend.sock"
    outcome = run("--frontend", f"ipc://{path}", "--check-config")
    assert (outcome.status, outcome.out, outcome.errors) == (0, ["the configuration is good"], [])
    assert not path.exists()


@pytest.mark.parametrize("side", ["--frontend", "--backend"])
def test_taken_port(tmp_path: Path, side: str) -> None:
    """A port at which something else listens: status 69, one line that says so, nothing left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        other = "--backend" if side == "--frontend" else "--frontend"
        outcome = failed_start(tmp_path, side, endpoint, other, f"ipc://{tmp_path}/other.sock")
    assert outcome.status == UNAVAILABLE
    assert outcome.line == f"cannot listen at {endpoint}: something else listens there already"
    assert list(tmp_path.iterdir()) == []


def test_address_of_another_machine(tmp_path: Path) -> None:
    """An address that this machine does not have: status 69."""
    outcome = failed_start(tmp_path, "--frontend", "tcp://192.0.2.1:0", "--allow-unauthenticated")
    assert outcome.status == UNAVAILABLE
    assert outcome.line == "cannot listen at tcp://192.0.2.1:0: Cannot assign requested address"


@pytest.mark.parametrize("option", ["--frontend", "--backend", "--control"])
def test_path_that_cannot_be_made(tmp_path: Path, option: str) -> None:
    """An ipc path in a directory that is not there: status 69."""
    endpoint = f"ipc://{tmp_path}/missing/zqd.sock"
    outcome = failed_start(tmp_path, *ANY_PORT, option, endpoint)
    assert outcome.status == UNAVAILABLE
    assert outcome.line == f"cannot listen at {endpoint}: No such file or directory"


def test_path_of_something_else(tmp_path: Path) -> None:
    """A path where a file is that is no socket: status 69, and the file is left alone."""
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    outcome = failed_start(tmp_path, "--frontend", f"ipc://{path}")
    assert outcome.status == UNAVAILABLE
    assert outcome.line == f"cannot listen at ipc://{path}: a file is in the way that is no socket"
    assert path.read_text() == "precious"


def test_too_few_descriptors(tmp_path: Path) -> None:
    """Where not even one client and one worker could connect, zqd does not start."""
    outcome = run(*ANY_PORT, "--control", f"ipc://{tmp_path}/c", wrapper=("prlimit", "--nofile=50:50"))
    assert outcome.status == UNAVAILABLE
    assert outcome.line == "only 50 files can be open (ulimit -n): at least 58 are needed"


def test_precedence(tmp_path: Path) -> None:
    """A flag beats --set, which beats the file."""
    paths = {name: f"ipc://{tmp_path}/{name}" for name in ("file", "set", "flag")}
    config = tmp_path / "zqd.toml"
    config.write_text(
        "[queues.default]\n"
        + "".join(f'{side} = ["{paths["file"]}-{side}"]\n' for side in ("frontend", "backend"))
        + "max_clients = 7\n"
    )
    arguments = ["--config", str(config), "--set", f"queues.default.backend={paths['set']}"]
    arguments += ["--set", f"queues.default.frontend={paths['set']}-frontend"]
    with Zqd(tmp_path, *arguments, frontend=(paths["flag"],), backend=()) as zqd:
        assert (zqd.frontends, zqd.backends) == ([paths["flag"]], [paths["set"]])
    with Zqd(tmp_path, "--config", str(config), frontend=(), backend=()) as zqd:
        assert (zqd.frontends, zqd.backends) == ([f"{paths['file']}-frontend"], [f"{paths['file']}-backend"])


def test_no_traceback() -> None:
    """The statuses are those of the process, and its line is all that it writes."""
    assert run("--bogus").status == USAGE
    outcome = run("--set", "queues.default.max_atempts=5")
    assert outcome.status == CONFIG
    assert "max_attempts" in outcome.line


def test_several_queues_and_endpoints(tmp_path: Path) -> None:
    """A queue may listen at several endpoints, and there may be several queues."""
    config = tmp_path / "zqd.toml"
    config.write_text(
        "".join(
            f'[queues.{name}]\nfrontend = ["ipc://{tmp_path}/{name}-f", "tcp://127.0.0.1:0"]\n'
            f'backend = ["ipc://{tmp_path}/{name}-b"]\n'
            for name in ("default", "other")
        )
    )
    with Zqd(tmp_path, "--config", str(config), frontend=(), backend=()) as zqd:
        rows = zqd.status()["queues"]
        assert [row["name"] for row in rows] == ["default", "other"]
        assert [len(row["frontend"]) for row in rows] == [2, 2]
        assert rows[1]["backend"] == [f"ipc://{tmp_path}/other-b"]


def test_closed_standard_descriptors(tmp_path: Path) -> None:
    """Started with stderr closed, zqd gives that number to nobody, so that its log lines reach no peer."""
    control = tmp_path / "control.sock"
    script = 'exec "$@" 0<&- 1>&- 2>&-'
    command = [
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-m",
        "zqd.daemon",
        *ANY_PORT,
        "--control",
        f"ipc://{control}",
    ]
    with subprocess.Popen(command) as process:
        wait_for(control.exists, "the start")
        assert [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
        process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize("option", ["--check-config", "--print-config"])
def test_what_cannot_be_printed(option: str) -> None:
    """A full disk is told in one line, and is no success."""
    command = [sys.executable, "-m", "zqd.daemon", option]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (69, "zqd: cannot write: No space left on device\n")
