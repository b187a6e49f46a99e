"""Signals as calls in the loop: a handler does nothing but wake it (signal(7)).

From the first moment of the program until the loop is there SIGTERM and SIGINT end it, with status 0: nothing has begun
that would have to be finished. The other signals wait for the loop; and after it all of them wait for nobody.
Layer 4. Called by: `zqd.daemon.main`, `program`.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from zqd.net.loop import Loop

ORDERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


ENDING = (signal.SIGTERM, signal.SIGINT)


def expect_signals() -> None:
    """First of all: from here on a signal is an order, however early it comes."""
    for number in ENDING:
        signal.signal(number, _leave)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(ORDERS) - set(ENDING))


def hold_signals() -> None:
    """Keep the signals that are orders to zqd."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


@contextlib.contextmanager
def signals_to(loop: Loop, actions: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Run an action in the loop for each signal.

    At the end the signals are blocked, not given back: what is left of the process then is its exit, which a second
    Ctrl-C would turn into a traceback, and a second SIGTERM into a failure. (Ignoring them instead makes Python complain
    of one that has just come.)
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    # Not the bytes of the pair: it is full after some hundreds, and then loses what comes.
    came: list[int] = []

    def act(_: int) -> None:
        with contextlib.suppress(BlockingIOError):
            ours.recv(4096)
        while came:
            loop.call_soon(actions[signal.Signals(came.pop(0))])

    loop.register(ours.fileno(), select.EPOLLIN, act)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)  # first: else a signal might wake nobody
    for number in actions:
        signal.signal(number, lambda number, _: came.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, actions)
    try:
        yield
    finally:
        hold_signals()
        signal.set_wakeup_fd(-1)
        ours.close()  # which also takes it out of the loop, closed or not
        theirs.close()
