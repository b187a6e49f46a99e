"""zqd: the ZeroMQ QUEUE device as a Linux service.

A broker between REQ clients and REP workers. The README's "How zqd fits together" is the map;
`zqd.core.queue` is the file to read first.

What a program of your own imports comes from here, each from its module when it is first asked for, so that
`import zqd` alone costs nothing: `from zqd import Client, AsyncClient, TimedOut`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; `typing` itself would cost more than all the rest

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "zqd.client.tasks",
    "BadOptions": "zqd.client.errors",
    "BrokerLost": "zqd.client.errors",
    "Busy": "zqd.client.errors",
    "Cancelled": "zqd.client.errors",
    "Client": "zqd.client.blocking",
    "ClosedError": "zqd.client.errors",
    "HandlerFailed": "zqd.client.errors",
    "ManyFrames": "zqd.client.errors",
    "RequestError": "zqd.client.errors",
    "TimedOut": "zqd.client.errors",
    "TooLarge": "zqd.client.errors",
    "Unreachable": "zqd.client.errors",
    "Worker": "zqd.worker",
    "WorkerLost": "zqd.client.errors",
}
__all__ = list(_HOMES)

if TYPE_CHECKING:
    from zqd.client.blocking import Client as Client
    from zqd.client.errors import BadOptions as BadOptions
    from zqd.client.errors import BrokerLost as BrokerLost
    from zqd.client.errors import Busy as Busy
    from zqd.client.errors import Cancelled as Cancelled
    from zqd.client.errors import ClosedError as ClosedError
    from zqd.client.errors import HandlerFailed as HandlerFailed
    from zqd.client.errors import ManyFrames as ManyFrames
    from zqd.client.errors import RequestError as RequestError
    from zqd.client.errors import TimedOut as TimedOut
    from zqd.client.errors import TooLarge as TooLarge
    from zqd.client.errors import Unreachable as Unreachable
    from zqd.client.errors import WorkerLost as WorkerLost
    from zqd.client.tasks import AsyncClient as AsyncClient
    from zqd.worker import Worker as Worker
else:

    def __getattr__(name: str) -> object:
        """A public name from the module that defines it (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'zqd' has no attribute {name!r}")
        import importlib

        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
