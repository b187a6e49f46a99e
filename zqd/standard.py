"""The standard streams of a program, which may be closed, or full.

Layer 0, and cheap to import. Called by: the programs.
"""

from __future__ import annotations

import os
import sys
from typing import Literal, TextIO


def hold_standard_descriptors() -> None:
    """Fill those of 0, 1 and 2 that are closed, and the streams that Python therefore lacks. To be called first of all.

    A connection must never get the number to which log lines go; and `sys.stdout` is None where 1 was closed.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # open(2) gives the lowest that is free
        os.set_inheritable(fd, True)  # programs that we start have the same need
    os.close(fd)
    sys.stdin = sys.stdin or _stream(0, "r")
    sys.stdout = sys.stdout or _stream(1, "w")
    sys.stderr = sys.stderr or _stream(2, "w")


def _stream(fd: int, mode: Literal["r", "w"]) -> TextIO:
    return open(fd, mode, encoding="utf-8", closefd=False)


def write(text: str | bytes) -> None:
    """Write to standard output and see it out; OSError where that cannot be."""
    try:
        if isinstance(text, str):
            sys.stdout.write(text)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(text)
        sys.stdout.flush()
    except OSError:
        abandon(sys.stdout)
        raise


def show(text: str) -> None:
    """Write to standard output what was asked for; a reader that has had enough is no error (`zqd --print-config | head`).

    Raises UnavailableError with one line where it cannot be written.
    """
    try:
        write(text)
    except BrokenPipeError:
        pass
    except OSError as error:
        from zqd.errors import UnavailableError  # zqctl begins with this module, and seldom comes here

        raise UnavailableError(f"cannot write: {error.strerror}") from error


def see_out() -> None:
    """Write what the streams still hold, and give up what cannot be written: the end of a program is no time to fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            abandon(stream)


def complain(program: str, sentence: str) -> None:
    """Say on standard error what is wrong, a line for each of the sentence; where that cannot be the exit status says it."""
    note("".join(f"{program}: {line}\n" for line in sentence.splitlines()))


def note(text: str) -> None:
    """Write to standard error, or if that cannot be nowhere."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """Lead what is still in the buffer nowhere, or the interpreter would complain about it at its end, with a status of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
