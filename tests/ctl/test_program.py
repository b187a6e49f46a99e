from __future__ import annotations

import fcntl
import importlib
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import zqd
from tests.control.serving import PaperBroker, served, worker
from tests.ctl.running import ROOT, ZQCTL, listen, said, zqctl
from tests.ctl.terminal import Terminal
from zqd.control.broker import Broker
from zqd.control.commands import COMMANDS, Argument, Arguments, command
from zqd.ctl.local import LOCAL
from zqd.ctl.program import build_parser
from zqd.errors import ConfigError

# Answers


@pytest.mark.parametrize("name", ["queues", "workers", "clients"])
def test_json_is_the_result_itself(name: str, control: str, broker: PaperBroker) -> None:
    """With --json a program gets exactly what zqd answered."""
    done = zqctl("--control", control, "--json", name)
    assert (done.returncode, done.stderr) == (0, "")
    expected = {"queues": broker.status()["queues"], "workers": broker.workers(), "clients": broker.clients()}
    assert json.loads(done.stdout) == expected[name]


def test_json_status_is_one_object(control: str, broker: PaperBroker) -> None:
    """`zqctl --json status` prints one object, indented, of printable ASCII."""
    done = zqctl("--control", control, "--json", "status")
    assert json.loads(done.stdout) == broker.status()
    assert done.stdout.startswith('{\n  "version": "0.1.0",\n')
    assert done.stdout.replace("\n", "").isprintable()


def test_json_keeps_control_characters_from_the_terminal(control: str) -> None:
    """JSON's escapes hide what a peer's name could do to a terminal."""
    assert "\x1b" not in zqctl("--control", control, "--json", "workers").stdout


def test_the_table_is_for_people(control: str) -> None:
    """Without --json come headings and rows."""
    done = zqctl("--control", control, "workers")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split()[:3] == ["ID", "NAME", "QUEUE"]
    assert r"mill\x1b[31m" in done.stdout


def test_every_command_answers(control: str) -> None:
    """Each command of the table works as it stands, with and without --json, and names in what it says the one it is about."""
    given = {
        "pause": ["slow"],
        "drain": ["w1"],
        "resume": ["w1"],
        "kick": ["c1"],
        "cancel": ["7a6f6f0000000000000000000001"],
        "wait": ["--workers", "0"],
    }
    for name in COMMANDS:
        for json_or_not in ([], ["--json"]):
            done = zqctl("--control", control, name, *given.get(name, []), *json_or_not)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout
            assert name == "wait" or all(argument in done.stdout for argument in given.get(name, []))


def test_options_may_follow_the_command(control: str, broker: PaperBroker) -> None:
    """--control, --json and --timeout stand before or after the command."""
    done = zqctl("--timeout", "9", "workers", "--json", "--control", control, "--queue", "slow")
    assert json.loads(done.stdout) == broker.workers()[1:]


def test_the_default_socket_is_found(sockets: Path) -> None:
    """Without --control the socket in $XDG_RUNTIME_DIR/zqd answers."""
    if Path("/run/zqd/control.sock").exists():
        pytest.skip("a zqd of this machine comes first")
    (sockets / "zqd").mkdir()
    with served(sockets / "zqd" / "control.sock", PaperBroker()):
        done = zqctl("ping", env=os.environ | {"XDG_RUNTIME_DIR": str(sockets)})
    assert (done.returncode, done.stdout) == (0, f"zqd answers, pid {os.getpid()}\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2.0), ("1.5", 1.5), ("0", 0.0), ("2m", 120.0)]
)
def test_a_time_is_written_as_in_the_configuration(text: str, seconds: float) -> None:
    """Or is a number of seconds."""
    assert build_parser().parse_args(["--timeout", text, "ping"]).timeout == seconds
    if seconds:
        assert build_parser().parse_args(["top", "--interval", text]).interval == seconds
        assert build_parser().parse_args(["status", "--watch", text]).watch == seconds


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--timeout", "soon", "ping"],
            'argument --timeout: "soon" is not a duration; expected a duration such as "500ms" or "5s"',
        ),
        (["ping", "--timeout", "12d"], "argument --timeout: 12d is not between 0 and 1000000 seconds"),
        (["--timeout", "nan", "ping"], "argument --timeout: nan is not between 0 and 1000000 seconds"),
        (["status", "--watch", "50ms"], "argument --watch: 50ms is not between 0.1 and 1000000 seconds"),
    ],
)
def test_what_is_no_time_is_told_plainly(words: list[str], sentence: str) -> None:
    """Below the usage."""
    status, stderr = said(zqctl(*words))
    assert (status, stderr.splitlines()[-1]) == (2, f"zqctl: {sentence}")


def test_version_needs_no_zqd() -> None:
    """`zqctl --version` is about zqctl."""
    assert zqctl("--version").stdout == f"zqctl {zqd.__version__}\n"


# Errors, each with its status and its sentence


def test_zqds_refusal_of_an_argument_is_status_2(control: str) -> None:
    """zqd's own sentence, on standard error also with --json."""
    assert said(zqctl("--control", control, "--json", "workers", "--queue", "x\x1b")) == (
        2,
        "zqctl: no queue is named 'x\\x1b'; there is default, slow\n",
    )


def test_a_refusal_may_have_more_than_one_line(
    control: str, broker: PaperBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reload's, one a problem; what is in a line cannot upset a terminal."""

    def refuse() -> dict[str, Any]:
        raise ConfigError(["one\x1b", "two"])

    monkeypatch.setattr(broker, "reload", refuse)
    assert said(zqctl("--control", control, "reload")) == (1, "zqctl: one\\x1b\nzqctl: two\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["statsu"],
        ["status", "extra"],
        ["workers", "--qeueu", "default"],
        ["--timeout", "soon", "status"],
        ["--timeout", "-1", "status"],
        ["--timeout", "nan", "status"],
        ["--control", "tcp://127.0.0.1:1", "status"],
        ["status", "--watch", "0.09"],
        ["status", "--watch", "often"],
        ["ping", "--watch", "1"],
        ["pause", "--watch", "1"],
        ["top", "--watch", "1"],
        ["events", "--count", "0"],
        ["wait", "--workers", "-1"],
        ["wait", "--workers", "1000001"],
        ["bench", "--size", "99999999999"],
        ["bench", "--size", "9" * 5000],
        ["completion", "csh"],
        ["completion"],
    ],
)
def test_a_command_line_without_sense_is_status_2(arguments: list[str]) -> None:
    """What makes no sense is said, with no traceback."""
    status, stderr = said(zqctl(*arguments))
    assert status == 2
    assert stderr.splitlines()[-1].startswith("zqctl")
    assert "Traceback" not in stderr


def test_no_socket_is_status_3(sockets: Path) -> None:
    """Where no socket is, no zqd runs."""
    assert said(zqctl("--control", f"ipc://{sockets}/none", "status")) == (
        3,
        f"zqctl: zqd is not running: no socket at ipc://{sockets}/none\n",
    )


def test_a_dead_socket_is_status_3(sockets: Path) -> None:
    """A socket file that nobody listens at is not waited for."""
    listen(sockets / "dead").close()
    assert said(zqctl("--control", f"ipc://{sockets}/dead", "status")) == (
        3,
        f"zqctl: zqd is not running: nothing listens at ipc://{sockets}/dead\n",
    )


def test_no_socket_anywhere_is_status_3(sockets: Path) -> None:
    """Without --control the sentence names the places that were looked at."""
    if any(Path(place).exists() for place in ("/run/zqd", f"/tmp/zqd-{os.geteuid()}")):
        pytest.skip("this machine has a zqd of its own")
    done = zqctl("status", env=os.environ | {"XDG_RUNTIME_DIR": str(sockets)})
    places = ["/run/zqd", f"{sockets}/zqd", f"/tmp/zqd-{os.geteuid()}"]
    looked = ", ".join(f"ipc://{place}/control.sock" for place in places)
    assert said(done) == (3, f"zqctl: zqd is not running: no socket control.sock; looked in: {looked}\n")


def test_a_stopped_zqd_is_status_1(sockets: Path) -> None:
    """A zqd that is there and does not answer is named by its pid, after the time-out and not later."""
    path = sockets / "control.sock"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.control.serving", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGSTOP)
            assert said(zqctl("--control", f"ipc://{path}", "--timeout", "0.2", "status")) == (
                1,
                f"zqctl: zqd (pid {process.pid}) did not answer within 0.2 s: stopped or hung?\n",
            )
            process.send_signal(signal.SIGCONT)
            assert zqctl("--control", f"ipc://{path}", "ping").stdout == f"zqd answers, pid {process.pid}\n"
        finally:
            process.kill()


# Colour


def test_a_terminal_gets_colours_and_a_pipe_none(control: str) -> None:
    """Nor does one with NO_COLOR, or one that cannot."""
    command = [*ZQCTL, "--control", control, "workers"]
    with (
        Terminal(command) as able,
        Terminal(command, NO_COLOR="1") as asked,
        Terminal(command, TERM="dumb") as dumb,
    ):
        assert [terminal.ended() for terminal in (able, asked, dumb)] == [0, 0, 0]
        assert [b"\x1b[" in terminal.written for terminal in (able, asked, dumb)] == [True, False, False]
    assert "\x1b[" not in zqctl("--control", control, "clients").stdout


# Manners


def test_a_reader_that_has_enough_is_no_error(control: str) -> None:
    """`zqctl workers | head -1` ends silently."""
    reading, writing = os.pipe()
    os.close(reading)
    done = zqctl("--control", control, "workers", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_said(control: str) -> None:
    """An answer that cannot be written is an error with one line."""
    with Path("/dev/full").open("w") as full:
        done = zqctl("--control", control, "workers", stdout=full)
    assert (done.returncode, done.stderr) == (1, "zqctl: cannot write the answer: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "status"), [("workers", 0), ("statsu", 2)])
def test_closed_or_full_descriptors_change_no_status(
    control: str, closed: str, command: str, status: int
) -> None:
    """What would have been written there is lost, and nothing else."""
    script = f'exec "$0" "$@" {closed}'
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = zqctl("--control", control, command, program=["sh", "-c", script, *ZQCTL], env=buffered)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert bool(done.stdout) == (status == 0 and ">&-" not in closed.replace("2>&-", ""))


def test_without_standard_error_the_status_tells(sockets: Path) -> None:
    """That zqd does not run is more than an error."""
    for closed in ("2>&-", "2>/dev/full"):
        program = ["sh", "-c", f'exec "$0" "$@" {closed}', *ZQCTL]
        assert said(zqctl("--control", f"ipc://{sockets}/none", "ping", program=program)) == (3, "")


def test_an_interrupt_is_silent(sockets: Path) -> None:
    """Ctrl-C while zqctl waits ends it with status 130 and no traceback."""
    with closing(listen(sockets / "c")) as listener:
        listener.settimeout(60)
        with subprocess.Popen(
            [*ZQCTL, "--control", f"ipc://{sockets}/c", "--timeout", "60", "status"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            probe, _ = listener.accept()
            with closing(probe):
                conversation, _ = listener.accept()  # zmq's: zqctl is about to wait, or waits
            with closing(conversation):
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stdout, stderr) == (130, b"", b"")


def test_a_terminals_width_is_kept(control: str, broker: PaperBroker) -> None:
    """On a terminal of 100 columns a worker of a long name stays a line."""
    broker.worker_rows = [worker("w1", name="n" * 200)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    plain = os.environ | {"NO_COLOR": "1"}
    assert zqctl("--control", control, "workers", stdout=theirs, env=plain).returncode == 0
    os.close(theirs)
    with open(ours, "rb", closefd=True, buffering=0) as terminal:
        shown = terminal.read(65536).decode().splitlines()
    assert [len(line) for line in shown] == [100, 100]


def test_letters_that_a_locale_lacks_are_escaped(control: str, broker: PaperBroker) -> None:
    """A name that cannot be written in the locale's encoding is no traceback."""
    broker.worker_rows = [worker("w1", name="漢")]
    done = zqctl("--control", control, "workers", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u6f22" in done.stdout


# The table makes the command line


def test_a_commands_arguments_become_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's positional, typed and true-or-false arguments can be given as a person expects."""

    def move_it(broker: Broker, args: Arguments) -> object:
        """Move it."""

    arguments = (
        Argument("target", "what", required=True, positional=True),
        Argument("how_many", "how many", int),
        Argument("wait", "wait for it", bool),
        Argument("where", "to where", required=True),
    )
    monkeypatch.setattr("zqd.ctl.program.COMMANDS", table := dict(COMMANDS))
    command(*arguments, reads=False, table=table)(move_it)
    options = build_parser().parse_args(["move-it", "w1", "--how-many", "3", "--where", "there"])
    given = {argument.name: getattr(options, argument.name) for argument in arguments}
    assert given == {"target": "w1", "how_many": 3, "wait": None, "where": "there"}
    assert build_parser().parse_args(["move-it", "w1", "--where", "x", "--wait"]).wait is True


def test_the_help_lists_every_command() -> None:
    """`zqctl --help` has a line for each command, with its help."""
    shown = " ".join(zqctl("--help").stdout.split())
    assert all(f"{row.name} {row.help}" in shown for row in COMMANDS.values())
    assert all(f"{row.name} {row.help}" in shown for row in LOCAL.values())


def test_no_name_stands_for_two_commands() -> None:
    """One that runs in zqctl would hide zqd's."""
    assert not set(LOCAL) & set(COMMANDS)


def test_a_command_of_its_own_is_imported_when_it_runs() -> None:
    """The start of every other command is not to wait for blessed or zmq."""
    script = "import sys, zqd.ctl.program as p; p.build_parser(); print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(modules.stdout.split())
    assert not {"zmq", "blessed", "prometheus_client"} & loaded
    assert not {f"zqd.ctl.{row.module or name}" for name, row in LOCAL.items()} & loaded


@pytest.mark.parametrize("name", list(LOCAL))
def test_a_command_of_its_own_has_a_module_that_runs_it(name: str) -> None:
    """A row without one would fail only when it is called."""
    row = LOCAL[name]
    assert callable(importlib.import_module(f"zqd.ctl.{row.module or name}").run)


def test_a_plain_socket_that_says_nothing_is_no_answer(sockets: Path) -> None:
    """Whatever listens there and speaks no ZMTP is given the time-out."""
    with closing(listen(sockets / "c")):
        status, sentence = said(zqctl("--control", f"ipc://{sockets}/c", "--timeout", "0.1", "ping"))
    assert (status, sentence) == (
        1,
        f"zqctl: zqd (pid {os.getpid()}) did not answer within 0.1 s: stopped or hung?\n",
    )
