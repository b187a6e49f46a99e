"""Fixtures of the tests of the daemon as a process."""

from tests.faults.conftest import crowd

__all__ = ["crowd"]
