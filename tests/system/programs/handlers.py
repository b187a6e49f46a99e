"""Handlers of the workers under test; `python_path` names this folder."""

from __future__ import annotations

import threading
import time


def echo(body: bytes) -> bytes:
    """The request itself. `hang` never ends; `sleep SECONDS …` takes its time."""
    if body == b"hang":
        threading.Event().wait()
    if body.startswith(b"sleep "):
        time.sleep(float(body.split()[1]))
    return body
