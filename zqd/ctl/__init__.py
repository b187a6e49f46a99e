"""`zqctl`: asks a running zqd by its control socket, and prints the answer for people or, with --json, for programs.

`program` is the command line, `connection` finds zqd and asks, `views` lays its answers out with `tables`; `local` has the
commands that run in zqctl itself, each in a module of its own. All of it starts in tens of milliseconds: zmq is imported only
when somebody listens at the socket, and anything heavier only by the command that needs it.
"""

from zqd.ctl.program import main

__all__ = ["main"]
