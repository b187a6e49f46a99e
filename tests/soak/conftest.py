"""The crowd of the fault tests, and the figures that these tests record, at the end of the run's output."""

from __future__ import annotations

import pytest

from tests.faults.conftest import crowd

__all__ = ["crowd"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the tests of this folder have recorded with `record_property`."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        if report.nodeid.startswith("tests/soak/"):
            for name, value in report.user_properties:
                terminalreporter.write_line(f"{name}: {value}")
