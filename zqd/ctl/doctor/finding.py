"""What a check of the doctor has found: one line, for people or for programs.

Pure. Called by: every check, and `zqd.ctl.doctor`, which prints them.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from zqd.ctl.tables import paint, plain


class Level(enum.StrEnum):
    """How bad it is; only FAIL makes the doctor's exit status 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIP = "skip"
    """It could not be looked at; the text says why."""


_COLORED_AS = {Level.OK: "running", Level.WARN: "warning", Level.FAIL: "failed"}


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do about it."""

    level: Level
    about: str
    text: str
    advice: str = ""

    def line(self, *, color: bool = False) -> str:
        """`LEVEL about: text: advice`, without what could upset a terminal; with `color` the level has its own."""
        line = f"{self.about}: {self.text}"
        if self.advice:
            line += f" {self.advice}" if self.text.endswith("?") else f": {self.advice}"
        level = f"{self.level:<5}"
        return f"{paint(level, _COLORED_AS.get(self.level)) if color else level} {plain(line)}"


def ok(about: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, about, text)


def warn(about: str, text: str, advice: str) -> Finding:
    """It works, but not as it might be meant, or not for long."""
    return Finding(Level.WARN, about, text, advice)


def fail(about: str, text: str, advice: str) -> Finding:
    """It does not work, or lets anybody in who may do harm."""
    return Finding(Level.FAIL, about, text, advice)


def skip(about: str, text: str, advice: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(Level.SKIP, about, text, advice)
