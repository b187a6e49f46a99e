"""Fixtures of the tests of zqctl."""

from tests.control.serving import sockets

__all__ = ["sockets"]
