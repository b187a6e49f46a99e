"""Other settings for a queue at work.

Limits hold from now on; time limits hold for what starts from now on (an attempt, a wait), so that nothing that runs is cut
off by a change. Layer 1, pure. Called by: `zqd.net.device`.
"""

from __future__ import annotations

from zqd.core.queue import Queue
from zqd.core.settings import QueueSettings


def adopt(queue: Queue, settings: QueueSettings, now: float) -> None:
    """Let `queue` go on with `settings`; clients that are paused for a limit that is wider now are resumed."""
    queue.settings = queue.ledger.settings = settings
    queue.dispatcher.settings = settings
    queue.admission.adopt(settings)
    queue.admission.relieve(None)
    queue.dispatcher.dispatch(now)
