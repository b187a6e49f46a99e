"""Fixtures of the tests of the control socket."""

from tests.control.serving import sockets

__all__ = ["sockets"]
