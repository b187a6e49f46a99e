"""From one configuration to the next at run time: whole, or not at all.

    load ─▶ compare ─▶ bind what is new ─▶ apply
      └ wrong           └ cannot be had: give it back; all stays as it was

Sockets that two configurations have in common are never closed: an endpoint may change its queue without a gap. A queue that
is not there any more ends like a stop (rule 23). What only a restart can change is said, and stays as it was.
Layer 4. Called by: `desk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zqd.config import Config, QueueConfig
from zqd.config.changes import Changes, compare, settle
from zqd.daemon.check import check
from zqd.daemon.gates import key_changes
from zqd.daemon.sockets import SIDES, Place, access, wanted
from zqd.endpoints import Access, Listener, bind, parse
from zqd.errors import UnavailableError, ZqdError
from zqd.logs import reopen, set_level
from zqd.net.device import Device
from zqd.net.gate import Gate

if TYPE_CHECKING:
    from zqd.daemon.daemon import Daemon


def reload(daemon: Daemon) -> dict[str, Any]:
    """Read the configuration anew and go on with it; returns every change. ZqdError: nothing has changed.

    A log file is opened anew as well (logrotate(8)).
    """
    daemon.service.reloading()
    try:
        return _reload(daemon)
    except ZqdError as error:
        daemon.note("config.rejected", {"problems": str(error).splitlines()})
        raise
    finally:  # whatever came of it: the service manager waits for the end
        daemon.service.reloaded()


def _reload(daemon: Daemon) -> dict[str, Any]:
    reopen()
    loaded = daemon.load()
    gates = check(loaded, daemon.sockets)  # key files are read anew at every reload
    changes = compare(daemon.config, loaded)
    rows = [
        {"key": change.key, "old": change.old, "new": change.new, "applied": change.reloadable}
        for change in changes.values
    ]
    rows += _Plan(daemon, settle(daemon.config, loaded), gates).apply(changes)
    queues = {
        "added": [queue.name for queue in changes.added],
        "removed": [queue.name for queue in changes.removed],
    }
    changed, pending = (
        list(dict.fromkeys(row["key"] for row in rows if row["applied"] is applied))
        for applied in (True, False)
    )
    daemon.note("config.reloaded", {"changed": changed, "pending": pending, **queues})
    return {"changes": rows, **queues}


Wish = tuple[Place, str]
"""A place and an endpoint that is to listen there."""
Row = dict[str, Any]
"""A change as the reply has it: the setting's dotted `key`, `old`, `new`, and whether it is `applied`."""


class _Plan:
    """All that has to be had before anything changes; making one raises ZqdError, `apply` cannot fail."""

    def __init__(self, daemon: Daemon, new: Config, gates: dict[Place, Gate]) -> None:
        self._daemon = daemon
        self._new = new
        had, wishes = self._wishes(daemon.config), self._wishes(new)
        self._released = [wish for wish in had if wish not in wishes]
        needed = [wish for wish in wishes if wish not in had]
        self._moves = self._find_moves(needed)
        self._listeners: dict[Wish, Listener] = {}
        self._gates = gates
        queues = {queue.name: queue for queue in new.queues}
        try:
            for place, endpoint in needed:
                if (place, endpoint) not in self._moves:
                    self._listeners[place, endpoint] = self._bound(endpoint, access(queues[place[0]]))
        except BaseException:
            for listener in self._listeners.values():
                listener.close()
            raise

    def apply(self, changes: Changes) -> list[Row]:
        """Go from the one to the other; returns what `changes` does not know, the changes of files of keys."""
        daemon, new = self._daemon, self._new
        taken = {old: wish for wish, old in self._moves.items()}
        for wish in self._released:
            (name, side_name), endpoint = wish
            side = daemon.device(name).side(side_name)
            listener = side.find(endpoint)
            if wish in taken:
                self._listeners[taken[wish]] = side.release(listener)
            else:
                side.drop(listener)
        for queue in changes.removed:
            daemon.remove(queue.name)
        added = {queue.name for queue in changes.added}
        rows: list[Row] = []
        for queue in new.queues:
            came = queue.name in added
            device = daemon.add(queue) if came else daemon.device(queue.name)
            renewed: list[Row] = []
            for side_name in SIDES:
                place = queue.name, side_name
                renewed += _guard(device, side_name, self._gates[place])
                again = daemon.sockets.adopted.get(place, []) if came else []
                for listener in (*again, *self._of_place(place)):
                    device.listen(side_name, listener)
            device.adopt(queue)
            changed = [row.key for row in changes.values if row.queue == queue.name and row.reloadable]
            changed += [row["key"] for row in renewed if row["key"] not in changed]
            rows += renewed
            if came:
                daemon.note("queue.added", {"queue": queue.name})
            elif changed:
                daemon.note("queue.changed", {"queue": queue.name, "changed": changed})
            self._grant(queue)
        if any(change.key == "log_level" for change in changes.values):
            set_level(new.log_level)
        daemon.loop.busy_poll = new.busy_poll
        daemon.config = new
        return rows

    def _wishes(self, config: Config) -> list[Wish]:
        return [
            ((queue.name, side), endpoint)
            for queue in config.queues
            for side in SIDES
            if (queue.name, side) not in self._daemon.sockets.adopted
            for endpoint in wanted(queue, side)
        ]

    def _find_moves(self, needed: list[Wish]) -> dict[Wish, Wish]:
        """Which listener, that its place needs no more, goes to which place that needs one for the same endpoint."""
        free = list(self._released)
        moves: dict[Wish, Wish] = {}
        for wish in needed:
            for old in free:
                if old[1] == wish[1]:
                    moves[wish] = old
                    free.remove(old)
                    break
        return moves

    def _bound(self, endpoint: str, who: Access) -> Listener:
        try:
            return bind(parse(endpoint), who)
        except UnavailableError:
            port = endpoint.rpartition(":")[2]
            for _, released in self._released:
                if released.startswith("tcp://") and released.rpartition(":")[2] == port:
                    raise UnavailableError(
                        f"cannot listen at {endpoint} while zqd itself listens at {released}, which has the same port; "
                        "expected another port, or a restart"
                    ) from None
            raise

    def _of_place(self, place: Place) -> list[Listener]:
        return [listener for (where, _), listener in self._listeners.items() if where == place]

    def _grant(self, queue: QueueConfig) -> None:
        for side in SIDES:
            if (queue.name, side) not in self._daemon.sockets.adopted:
                for listener in self._daemon.device(queue.name).side(side).listeners:
                    listener.grant(access(queue))


def _guard(device: Device, side: str, gate: Gate) -> list[Row]:
    """Let this gate decide from now on; the changes of its files of keys."""
    old, before = device.gates[side], _peers(device, side)
    device.guard(side, gate)
    return [
        {"key": f"queues.{device.queue.name}.{side}_{end}", "old": was, "new": now, "applied": True}
        for end, was, now in key_changes(old, gate, closed=before - _peers(device, side))
    ]


def _peers(device: Device, side: str) -> int:
    return len(device.queue.clients if side == "frontend" else device.queue.workers)
