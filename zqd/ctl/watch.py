"""`--watch S`: a command's table again and again, until Ctrl-C, also across a restart of zqd.

Called by `zqd.ctl.program`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from zqd.ctl import views
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import Session, complain

CLEAR = "\x1b[H\x1b[2J"  # ECMA-48: CUP, ED


def watch(session: Session, command: str, args: Mapping[str, Any], interval: float) -> NoReturn:
    """Ask and print every `interval` seconds; with --json an answer is one line.

    Ends by KeyboardInterrupt or BrokenPipeError, and by `ControlError` if the first answer is a refusal. That zqd does not run
    is waited out from the first, everything else once it has answered.
    """
    answered = False
    separator = CLEAR if sys.stdout.isatty() else ""
    while True:
        try:
            result = session.ask(command, **args)
        except ControlError as error:
            if not answered and error.status != ExitStatus.NOT_RUNNING:
                raise
            if not session.json:
                session.write(separator + _heading(command, interval))
            complain(error.sentence)
        else:
            answered = True
            if session.json:
                session.write(json.dumps(result) + "\n")
            else:
                table = views.render(command, args, result, session.width, color=session.color)
                session.write(f"{separator}{_heading(command, interval)}\n{table}")
        separator = separator or "\n"
        time.sleep(interval)


def _heading(command: str, interval: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')}  zqctl {command}, every {interval:g} s\n"
