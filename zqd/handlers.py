"""Handlers that come with zqd. Layer 5; called by `zqd.worker` as `zqd.handlers:hello`, or by whoever names them."""

from __future__ import annotations

import os


def hello(_: bytes) -> bytes:
    """Whatever the request, World from server NAME: the server of the seed's text, for an instance that runs nothing else.

    NAME is the instance's ($ZQD_INSTANCE), or the process's id where there is none.
    """
    return f"World from server {os.environ.get('ZQD_INSTANCE') or os.getpid()}".encode()
