from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILLED = """
import os, sys
from zqd.standard import hold_standard_descriptors
hold_standard_descriptors()
print("out"), print("err", file=sys.stderr)
assert sys.stdin.read() == ""
child = "for fd in 0 1 2; do test -e /proc/self/fd/$fd || exit 1; done"
raise SystemExit(os.system(child) or os.dup(0) < 3)
"""


def run(program: str, redirected: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of a program in Python; `redirected` is the shell's."""
    command = ["sh", "-c", f'exec "$0" -X dev -W error -c "$1" {redirected}', sys.executable, program]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=buffered, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirected", "out", "err"),
    [
        ("", "out\n", "err\n"),
        ("<&-", "out\n", "err\n"),
        (">&-", "", "err\n"),
        ("2>&-", "out\n", ""),
        ("<&- >&- 2>&-", "", ""),
    ],
)
def test_closed_descriptors_are_filled(redirected: str, out: str, err: str) -> None:
    """For Python's streams, for what is opened later, and for the programs that are started."""
    assert run(FILLED, redirected) == (0, out, err)


@pytest.mark.parametrize("text", ["text", b"bytes"])
def test_what_cannot_be_written_is_raised_once(text: str | bytes) -> None:
    """And not once more by the interpreter at its end, which would change the status."""
    program = f"""
from zqd.standard import write
try:
    write({text!r})
except OSError as error:
    raise SystemExit(error.errno)
"""
    assert run(program, ">/dev/full") == (28, "", "")
    assert run(program, "") == (0, text if isinstance(text, str) else text.decode(), "")


def test_a_complaint_that_cannot_be_written_is_lost() -> None:
    """The status says it."""
    program = "from zqd.standard import complain; complain('zqd', 'one\\ntwo'); raise SystemExit(7)"
    assert run(program, "2>/dev/full") == (7, "", "")
    assert run(program, "") == (7, "", "zqd: one\nzqd: two\n")


def test_what_the_streams_hold_at_the_end() -> None:
    """Is written, or given up."""
    program = """
import sys
from zqd.standard import see_out
sys.stdout.write("held"), sys.stderr.write("too")
see_out()
raise SystemExit(7)
"""
    assert run(program, "") == (7, "held", "too")
    assert run(program, ">/dev/full") == (7, "", "too")


def test_it_is_cheap() -> None:
    """zqctl begins with it."""
    program = "import zqd; before = set(sys.modules); import zqd.standard; print(*set(sys.modules) - before)"
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import os, typing; "
    done = subprocess.run(
        [sys.executable, "-I", "-c", path + program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["zqd.standard"]
