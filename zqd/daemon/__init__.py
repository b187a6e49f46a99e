"""`zqd` itself: the composition of all parts (`daemon`), and what surrounds it.

program      the command line: one configuration, one daemon, one exit status
daemon       opens, runs and ends devices, control sockets and the event stream
desk         what zqctl may ask of it: the Broker of `zqd.control`
sockets      where it listens: sockets that systemd passed, or endpoints of the configuration
reload       from one configuration to the next, whole or not at all
service      what systemd is told: READY, STATUS, WATCHDOG, …
signals      signals as calls in the loop
detached     --daemonize, for hosts without systemd
"""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """The program `zqd`; returns the exit status."""
    from zqd.daemon.signals import expect_signals

    expect_signals()
    from zqd.daemon.program import run

    return run(argv)
