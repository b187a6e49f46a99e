"""Signals of a worker: SIGTERM and SIGINT stop it, the second one at once; SIGHUP has it reload.

Only in the main thread, and only where the program is the worker's own. Called by: `program`, `library`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from zqd.worker.instance import Instance

STOP = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def signals_to(instance: Instance, *, reload: bool) -> Iterator[None]:
    """Hand signals to the instance while it runs, SIGHUP only with `reload`; afterwards everything is as it was before."""
    asked = 0

    def stop(*_: object) -> None:
        nonlocal asked
        asked += 1  # first of all: one more may interrupt any call from here on
        if asked == 1:
            instance.stop()
        elif asked == 2:
            instance.abort()  # and those that come after it do nothing: in a storm they would pile up

    handlers: dict[signal.Signals, Callable[..., None]] = dict.fromkeys(STOP, stop)
    if reload:
        handlers[signal.SIGHUP] = lambda *_: instance.reload()
    # A signal that comes just before the loop waits runs its handler only after that: the byte ends the waiting.
    woken = signal.set_wakeup_fd(instance.waker.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
