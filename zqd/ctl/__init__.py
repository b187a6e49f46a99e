"""`zqctl`: asks a running zqd by its control socket, and prints the answer for people or, with --json, for programs.

`program` is the command line, `connection` finds zqd and asks, `tables` lays answers out. All of it starts in tens of
milliseconds: zmq is imported only when somebody listens at the socket, and nothing heavier ever.
"""

from zqd.ctl.program import main

__all__ = ["main"]
