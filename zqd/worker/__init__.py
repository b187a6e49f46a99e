"""`zqd-worker`: runs a handler or a command once a request; `Worker`, the same as a library.

    program    the command line, the signals, the configuration read again
    library    `Worker`: a few lines for a program of one's own
    instance   the loop and the life of one worker: connect, work, leave
    work       the jobs that it holds, and how each ends
    broker     one broker's socket: hello, leave, fail (zqd(7), rule 26)
    keys       CURVE: the keys of these sockets, and why a broker refuses them
    pool       where handlers run: threads, and one thread of asyncio
    handler    what is called, and what may come back; `command`: the same for a program
    settings   the one table of settings

Start reading at `instance`. Layer 5.
"""

from zqd.worker.library import Worker
from zqd.worker.program import main

__all__ = ["Worker", "main"]
