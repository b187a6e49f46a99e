"""A session of paper, for the commands that run in zqctl itself: it answers what the test says and keeps what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import Session


class PaperSession(Session):
    """Answers from `answers`, by command; one that is a `ControlError` is raised."""

    def __init__(self, answers: Mapping[str, Any], *, json: bool = False) -> None:
        super().__init__("ipc:///nowhere/control.sock", json=json)
        self.answers = answers
        self.printed = ""

    def ask(self, command: str, /, **args: object) -> Any:
        """The answer, or its refusal."""
        answer = self.answers[command]
        if isinstance(answer, ControlError):
            raise answer
        return answer

    def write(self, text: str | bytes) -> None:
        """Keep it."""
        assert isinstance(text, str)
        self.printed += text


def refused(status: ExitStatus, sentence: str = "why") -> dict[str, ControlError]:
    """The answers of a zqd that has none."""
    return dict.fromkeys(("status", "workers"), ControlError(status, sentence))
