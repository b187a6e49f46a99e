"""Fixtures of the control socket's tests."""

from tests.control.bench import bench, commands, connect, context, path, waiting
from tests.control.serving import sockets

__all__ = ["bench", "commands", "connect", "context", "path", "sockets", "waiting"]
