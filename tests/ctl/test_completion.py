from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.control.serving import PaperBroker, served
from tests.ctl.sessions import PaperSession
from zqd.control.commands import COMMANDS, TIMEOUT
from zqd.ctl import completion
from zqd.ctl.local import LOCAL
from zqd.ctl.program import build_parser

ROOT = Path(__file__).parents[2]
COMMON = ("--control", "--json", "--timeout")
SHELLS = [
    pytest.param(
        shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell} here")
    )
    for shell in completion.SHELLS
]


def script(shell: str) -> str:
    """What `zqctl completion SHELL` prints."""
    session = PaperSession({})
    assert completion.run(session, {"shell": shell}) == 0
    return session.printed


def options(name: str) -> list[str]:
    """The options of a command, as both tables have them."""
    rows = [*COMMANDS[name].arguments] if name in COMMANDS else [*LOCAL[name].arguments]
    named = [row for row in rows if not row.positional and row is not TIMEOUT]
    return [*(f"--{row.name.replace('_', '-')}" for row in named), *COMMON]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """zqctl, as it is called where it is installed."""
    path = tmp_path / "zqctl"
    path.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {sys.executable} -m zqd.ctl "$@"\n')
    path.chmod(0o755)
    return path


# Every shell


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_understands_its_script(shell: str) -> None:
    """Without a complaint, and without running it."""
    done = subprocess.run(
        [shell, "-n"], input=script(shell), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [*COMMANDS, *LOCAL])
def test_every_command_is_there_with_its_options(name: str) -> None:
    """In each of the scripts, at the place where the command's own options are."""
    (bash,) = re.findall(rf'^    {name}:\*:-?\*\) words="(-h.*)" ;;$', script("bash"), re.MULTILINE)
    assert set(options(name)) <= set(bash.split())
    (zsh,) = re.findall(rf"^        {name}\) _arguments (.*) ;;$", script("zsh"), re.MULTILINE)
    assert all(re.search(rf"'{option}[=\[]", zsh) for option in options(name))
    fish = [line for line in script("fish").splitlines() if f"__fish_seen_subcommand_from {name}'" in line]
    assert all(any(f" -l {option[2:]} " in line for line in fish) for option in options(name))


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_helps_are_quoted(shell: str) -> None:
    """An apostrophe, a bracket or a colon in a help text breaks no script."""
    parser = argparse.ArgumentParser(prog="zqctl")
    sub = parser.add_subparsers().add_parser("odd", help="it's [odd]: $(false) `false` \\")
    sub.add_argument("--thing", metavar="A:B", help="it's [odd]: $(false) `false` \\")
    text = "\n".join(completion.SHELLS[shell](completion.commands(parser)))
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_names_of_arguments_are_real() -> None:
    """Values are given for arguments that some command has."""
    arguments = {
        row.name for table in (COMMANDS, LOCAL) for command in table.values() for row in command.arguments
    }
    assert completion.VALUES.keys() <= arguments


def test_what_is_asked_can_be_asked() -> None:
    """By a command that only reads."""
    asked = {command for values in completion.VALUES.values() for command, _ in values.asked}
    assert all(COMMANDS[command].reads for command in asked)


def test_the_parser_is_read_whole() -> None:
    """Also what is in no table: --version, --help."""
    before, *commands = completion.commands(build_parser())
    assert {flag for option in before.options for flag in option.flags} >= {"--version", "--help", *COMMON}
    assert [command.name for command in commands] == [*COMMANDS, *LOCAL]


# bash completes


COMPLETE = """
source "$1"; shift
COMP_LINE="$*" COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_zqctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(program: Path, *words: str) -> list[str]:
    """What bash offers for the last word after zqctl; nothing else may be printed, for it would be in the user's prompt."""
    source = program.with_name("completion.bash")
    source.write_text(script("bash"))
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", source, program, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.splitlines()))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["status", "stop"]),
        (["--ver"], ["--version"]),
        (["workers", "--q"], ["--queue"]),
        (["--timeout", "1", "work"], ["workers"]),
        (["--timeout", ""], []),
        (["workers", "--timeout", ""], []),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["log-level", ""], ["debug", "error", "info", "warning"]),
        (["events", "--topic", "worker.lo"], ["worker.lost"]),
        (["--json", ""], sorted([*COMMANDS, *LOCAL])),
        (["status", "nonsense"], []),
    ],
)
def test_bash_completes_words(words: list[str], expected: list[str], program: Path) -> None:
    """Commands, options, and the values that are known without zqd."""
    assert completed(program, *words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pause", ""], ["default", "slow"]),
        (["pause", "s"], ["slow"]),
        (["drain", ""], ["default", "slow", "w1", "w2"]),
        (["kick", ""], ["c1", "w1", "w2"]),
        (["cancel", ""], [f"7a6f6f000000000000000000000{number}" for number in (1, 2, 3)]),
        (["workers", "--queue", ""], ["default", "slow"]),
        (["workers", "--queue", "=", ""], ["default", "slow"]),
        (["workers", "--queue", "="], ["default", "slow"]),
        (["check", "--queue", "=", "d"], ["default"]),
        (["pause", "-"], ["--control", "--help", "--json", "--timeout", "-h"]),
    ],
)
def test_bash_asks_zqd_for_values(
    words: list[str], expected: list[str], program: Path, sockets: Path
) -> None:
    """Of the zqd that the command line names."""
    path = sockets / "control.sock"
    with served(path, PaperBroker()):
        assert completed(program, "--control", f"ipc://{path}", *words) == expected


def test_bash_is_silent_without_zqd(program: Path, sockets: Path) -> None:
    """No value, and no word of why."""
    assert completed(program, "--control", f"ipc://{sockets}/none", "pause", "") == []


def test_bash_never_runs_what_zqd_says(program: Path, sockets: Path) -> None:
    """A name with letters that mean something to a shell is not offered."""
    broker, path = PaperBroker(), sockets / "control.sock"
    broker.queue_rows[0]["name"] = "$(touch bad)"
    with served(path, broker):
        assert completed(program, "--control", f"ipc://{path}", "pause", "") == ["slow"]


FILES = [
    ("metrics", "--textfile"),
    ("request", "--curve-secret"),
    ("request", "--server-key"),
    ("bench", "--curve-secret"),
    ("bench", "--server-key"),
    ("keygen", "--directory"),
]


@pytest.mark.parametrize("words", FILES)
def test_bash_completes_files(words: tuple[str, str], program: Path) -> None:
    """Where one is wanted."""
    start = str(program)[:-1]
    assert completed(program, *words, start) == [str(program)]


@pytest.mark.parametrize(("command", "flag"), FILES)
def test_the_others_complete_files_too(command: str, flag: str) -> None:
    """In their own way."""
    (zsh,) = re.findall(rf"^        {command}\) _arguments (.*) ;;$", script("zsh"), re.MULTILINE)
    assert re.search(rf"'{flag}=\[[^\]]*\]:\w+:_files'", zsh)
    fish = [line for line in script("fish").splitlines() if f"__fish_seen_subcommand_from {command}'" in line]
    assert any(f" -l {flag[2:]} " in line and line.endswith(" -r -F") for line in fish)


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_asks_zqd_for_values(program: Path, sockets: Path, tmp_path: Path) -> None:
    """As bash does."""
    path, source = sockets / "control.sock", tmp_path / "completion.fish"
    source.write_text(script("fish"))
    line = f"zqctl --control ipc://{path} drain "
    with served(path, PaperBroker()):
        done = subprocess.run(
            [
                "fish",
                "--no-config",
                "-c",
                f"set PATH {program.parent} $PATH; source {source}; complete -C '{line}'",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )
    assert (done.stdout.split(), done.stderr) == (["default", "slow", "w1", "w2"], "")
