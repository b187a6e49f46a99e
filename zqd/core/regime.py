"""What the queue as a whole is doing: running, paused, drained, stopping (rules 22, 23).

    running ⇄ paused            no dispatch; reading goes on to the limits
    running ⇄ draining ▶ drained   clients are not read; what waits and what is in flight finishes
    any ▶ stopping ▶ stopped     what was read is answered, each client goes with its last reply

Layer 1, pure. Called by: `queue`, which asks it about requests in all but the regular states.
"""

from __future__ import annotations

import enum

from zqd.core.admission import Admission
from zqd.core.dispatch import Dispatcher
from zqd.core.outputs import Ending, Outputs
from zqd.core.peers import Client

# Seconds after its last reply in which a client's next request is still expected at a stop: a request that crosses our FIN
# is lost, and a REQ then waits for ever. (With 0.1 some clients that think for 0.1 to 0.5 s were; with 1.0 none.)
GRACE = 1.0


class State(enum.Enum):
    """In the words of zqctl."""

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Verdict(enum.Enum):
    """What becomes of a request that arrives in a state that is not regular."""

    LET_IN = 1
    HOLD = 2
    REFUSE = 3


class Regime:
    """The state of one queue, and the orders that change it. `clients` is the queue's own table."""

    __slots__ = (
        "_admission",
        "_clients",
        "_deadline",
        "_dispatcher",
        "_grace_until",
        "_out",
        "_since",
        "regular",
        "state",
    )

    def __init__(
        self, dispatcher: Dispatcher, admission: Admission, out: Outputs, clients: dict[Client, None]
    ) -> None:
        self.state = State.RUNNING
        self.regular = True
        """Running or paused: requests are let in as far as the limits allow."""
        self._dispatcher = dispatcher
        self._admission = admission
        self._out = out
        self._clients = clients
        self._since = 0.0  # when the stop was ordered
        self._deadline: float | None = None  # when it has to be over
        self._grace_until: float | None = None

    # Orders

    def pause(self) -> None:
        """Dispatch nothing until `resume`; time-outs run on."""
        if self.state is State.RUNNING:
            self._enter(State.PAUSED)

    def drain(self, now: float) -> None:
        """Let nothing in until `resume`, finish the rest."""
        if self.state in {State.RUNNING, State.PAUSED}:
            self._enter(State.DRAINING)
            self._dispatcher.dispatch(now)
            self.request_ended(None)

    def resume(self, now: float) -> None:
        """Undo `pause` and `drain`."""
        if self.state in {State.PAUSED, State.DRAINING, State.DRAINED}:
            self._enter(State.RUNNING)
            self._dispatcher.dispatch(now)
            self._admission.relieve(None)

    def stop(self, now: float, patience: float) -> None:
        """Answer what was read, within `patience` seconds (0: however long it takes), and end each client."""
        self._enter(State.STOPPING, queued=self._dispatcher.line.size, in_flight=self._dispatcher.in_flight)
        self._since = self._grace_until = now
        self._deadline = now + patience if patience else None
        self._admission.lift()
        self._dispatcher.dispatch(now)

    # Facts

    def verdict(self, client: Client, now: float) -> Verdict:
        """About a request that arrives now, in a state that is not regular."""
        if self.state is State.DRAINING or self.state is State.DRAINED:
            return Verdict.HOLD
        # At a stop: what had been read before, and the next request of a client that has nothing outstanding.
        if self.state is State.STOPPED or (client.outstanding and now > self._since):
            return Verdict.REFUSE
        if not len(self._dispatcher.workers):  # nor will there be one
            return Verdict.REFUSE
        return Verdict.LET_IN

    def request_ended(self, client: Client | None) -> None:
        """A request has ended, of this client: a drain or a stop goes on by it."""
        if self.state is State.STOPPING:
            if client is not None and not client.outstanding and not client.gone:
                self._end(client)
        elif self.state is State.DRAINING and not (self._dispatcher.line.size or self._dispatcher.in_flight):
            self._enter(State.DRAINED)

    @property
    def deadline(self) -> float | None:
        """When `elapse` should be called."""
        if self._grace_until is not None and (self._deadline is None or self._grace_until < self._deadline):
            return self._grace_until
        return self._deadline

    def elapse(self, now: float) -> bool:
        """Time has passed; True when the time for a stop is over and what is left has to fail."""
        if self._grace_until is not None and now >= self._grace_until:
            self._end_quiet_clients(now)
        if self._deadline is None or now < self._deadline:
            return False
        self._deadline = self._grace_until = None
        self.state = State.STOPPED
        return True

    def end_all(self) -> None:
        """End every client, whatever it has outstanding."""
        for client in self._clients:
            self._end(client)

    def _enter(self, state: State, **fields: object) -> None:
        self.state = state
        self.regular = state in {State.RUNNING, State.PAUSED}
        self._dispatcher.open = state is not State.PAUSED
        self._admission.frozen = state in {State.DRAINING, State.DRAINED}
        self._out.note(f"queue.{state.value}", **fields)

    def _end(self, client: Client) -> None:
        if not client.ended:
            client.ended = True
            self._out.close(client, Ending.GRACEFUL)

    def _end_quiet_clients(self, now: float) -> None:
        """Clients with nothing outstanding go; those that were just answered a little later."""
        self._grace_until = None
        last = self._since + GRACE
        for client in self._clients:
            if client.outstanding or client.ended:
                continue
            if now >= last or now - client.replied_at >= GRACE:
                self._end(client)
            else:
                self._grace_until = last
