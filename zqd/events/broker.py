"""The events of `zqd`, the broker. Layer 0. Read through `zqd.events`."""

from __future__ import annotations

from zqd.events.event import Event

BROKER: dict[str, Event] = {
    "zqd.started": Event(
        "info",
        "Every endpoint listens.",
        "zqd[ {version}] has started; queues: {queues}[; control socket: {control}]",
        "fc7066ee066d402e8c2136163d07db53",
    ),
    "zqd.stopping": Event(
        "info",
        "A signal or an order has begun the stop.",
        "zqd is stopping[now?, at once]",
        "c7071bbe85cf4628849760c21b405b8b",
    ),
    "zqd.stopped": Event(
        "info",
        "All connections have ended; the process exits.",
        "zqd has stopped",
        "2c32de56f1b54debab199b76bdd430ab",
    ),
    "zqd.status": Event(
        "info",
        "The status of zqd, or of one of its queues, as SIGUSR1 asks for it.",
        "status of[ queue {queue}: {state}][, workers: {workers}][, idle: {idle_workers}][, clients: {clients}][, waiting: {queued}][, in flight: {in_flight}][ zqd {version}: {state}][, up for {uptime_s} s]",
        "ff8c22154e0343f1be4f75e547cb6b4e",
    ),
    "zqd.stalled": Event(
        "warning",
        "Something held up the loop: nobody was served meanwhile.",
        "the loop was held up for {seconds} s: nobody was served meanwhile",
        "f4f1045e30ef40e798e5b18a618e0ae6",
    ),
    "zqd.fault": Event(
        "error",
        "A fault in zqd itself; it went on.",
        "a fault in zqd itself; it goes on[: {reason}]",
        "8a1df42a7f924e7fb5a88049f42d0f96",
    ),
    "config.reloaded": Event(
        "info",
        "The configuration was read again and is in force.",
        "the configuration was reloaded[; changed: {changed}][; queues added: {added}][; queues removed: {removed}][; only after a restart: {pending}]",
        "af25b6930811479a8e5dceb9dc1e2331",
    ),
    "config.rejected": Event(
        "error",
        "The configuration was read again and is wrong; the old one stays in force.",
        "the new configuration is refused, the old one stays in force[: {problems}][: {reason}]",
        "b362aa401172408cb12aed7efcbf597c",
    ),
    "log.level": Event(
        "info",
        "The log level was changed while zqd runs.",
        "the log level is {new} now[, was {old}]",
        "6c7788dce1224873a57d4037179e657a",
    ),
    "log.lost": Event(
        "warning",
        "So many lines could not be written to the log, which was full, slow or gone.",
        "log lines that could not be written: {lines}",
        "efac63c503a14bcda1263c642aad8adb",
    ),
    "events.folded": Event(
        "warning",
        "So many more events like this one were not logged.",
        "… {more} more like this ({of})",
        "5e3ce45eb3bf4dd3832dd5aec5d64d3b",
    ),
    "events.missed": Event(
        "warning",
        "This subscriber of the event stream reads too slowly: events were not sent to it.",
        "events that this subscriber did not get: {count}",
        "55b95e4b0db14feb8b3e8f8e8cd48810",
    ),
    "queue.added": Event(
        "info", "A reload has added a queue.", "queue {queue} was added", "2a459571995a4148acaa0bd401263751"
    ),
    "queue.changed": Event(
        "info",
        "A reload has changed a queue's settings.",
        "queue {queue} has changed[: {changed}]",
        "56aa2c2ab81c4719a852838a892f5eed",
    ),
    "queue.removed": Event(
        "info",
        "A queue that a reload has removed has come to its end.",
        "queue {queue} is removed: it has answered what it had read, and its connections have ended",
        "a302845a80d34c69ab6d820065e6fd21",
    ),
    "queue.listening": Event(
        "info",
        "An endpoint of a queue listens.",
        "[{queue}: ]the {side} listens at {endpoint}",
        "ec9bc515a2cd4c50b43282f81e957a30",
    ),
    "queue.running": Event(
        "info", "The queue was resumed.", "queue {queue} runs again", "afb81cfa68174ed28d5aa57fa4b2ea3b"
    ),
    "queue.paused": Event(
        "info",
        "The queue dispatches nothing until it is resumed.",
        "queue {queue} is paused: it dispatches nothing until it is resumed",
        "7290a0c0c9b840279c113c8c664b3521",
    ),
    "queue.draining": Event(
        "info",
        "The queue lets nothing in and finishes the rest.",
        "queue {queue} is draining: it lets nothing in and finishes the rest",
        "513a89095ed2425fbaf09f96894d3cd8",
    ),
    "queue.drained": Event(
        "info",
        "The queue lets nothing in and holds nothing.",
        "queue {queue} is drained: it holds nothing",
        "7674f209e22d4bf2951e9bd91c23481a",
    ),
    "queue.stopping": Event(
        "info",
        "The queue answers what it has read and ends its clients.",
        "queue {queue} is stopping[; waiting: {queued}][, in flight: {in_flight}]",
        "1d247f9fe9014cb2bf0f13a30c5c4a93",
    ),
    "client.joined": Event(
        "debug",
        "A client has connected.",
        "[{queue}: ]client {client}[ ({name})][ at {address}] has connected",
        "d3c0f0e1ebdc47e19a0189fc35390636",
    ),
    "client.left": Event(
        "debug",
        "A client's connection has ended.",
        "[{queue}: ]client {client}[ ({name})][ at {address}] has left",
        "9905fe1de52a4175a04772911918fec9",
    ),
    "client.paused": Event(
        "debug",
        "A client is not read for now: a limit is reached, or the queue is drained.",
        "[{queue}: ]client {client}[ ({name})][ at {address}] is not read for now",
        "9bc9d9db20ec4f87a22725533ad16aa9",
    ),
    "client.stalled": Event(
        "warning",
        "A client does not read its replies.",
        "[{queue}: ]client {client}[ ({name})][ at {address}] does not read its replies; bytes unsent: {unsent}",
        "592e1fd3bb6f4d2393f25b945414597e",
    ),
    "client.resumed": Event(
        "info",
        "A stalled client reads its replies again.",
        "[{queue}: ]client {client}[ ({name})][ at {address}] reads its replies again",
        "6eb07d06262d4d36884c32ce020588f8",
    ),
    "worker.joined": Event(
        "info",
        "A worker has connected.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] has connected",
        "1950d0788be44a99a4a9327758a890db",
    ),
    "worker.hello": Event(
        "info",
        "A worker has said who it is.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] says who it is: pid {pid}, capacity {capacity}[, held {held}]",
        "3f94ec58ffba43ffbb67282e994e336f",
    ),
    "worker.left": Event(
        "info",
        "A worker's connection has ended while it held nothing.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] has left",
        "585be72168074b36a95bbbed086e4d5b",
    ),
    "worker.lost": Event(
        "warning",
        "A worker's connection has ended while it held requests; others get them.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] is lost; requests that go to others: {in_flight}",
        "f3c87a61ba1748109a42ae0a2214f251",
    ),
    "worker.draining": Event(
        "info",
        "A worker gets nothing more, by order.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] gets nothing more, by order",
        "9e2249cdb17a4c14837f348e09ce2a93",
    ),
    "worker.resumed": Event(
        "info",
        "A drained worker gets requests again, by order.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] gets requests again, by order",
        "af376c03a94446acac2bb9764b290864",
    ),
    "worker.quarantined": Event(
        "warning",
        "A worker let a request time out and gets nothing until it has answered.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] let request {request} time out; it gets nothing until it has answered",
        "617f098b438b454fbaac87f0a6e653e0",
    ),
    "worker.restored": Event(
        "info",
        "A quarantined worker has answered and gets requests again.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] has answered what it owed and gets requests again",
        "0c52bb0df4924579b81d4cd5cb1bedee",
    ),
    "request.retried": Event(
        "info",
        "A request goes to another worker after a loss or a time-out.",
        "[{queue}: ]request {request} of client {client} goes to another worker; attempts so far: {attempts}",
        "02bdcc3c34844245b731bcaa619682b5",
    ),
    "request.slow": Event(
        "warning",
        "A request took `slow_request` or longer from its arrival to its reply.",
        "[{queue}: ]request {request} of client {client} was slow: it waited {wait_ms} ms and ran {run_ms} ms in worker {worker}",
        "2804aeb08ea94691979e5bcff96e31b9",
    ),
    "request.failed": Event(
        "warning",
        "A request has failed; its client is told why.",
        "[{queue}: ]request {request} of client {client} has failed: {code} {reason}",
        "504e90eb9c6743b985130784ad864448",
    ),
    "request.refused": Event(
        "warning",
        "A message failed as it came in.",
        "[{queue}: ]a request of client {client} is refused: {code} {reason}",
        "107bbe3bd0c24b7089494e8fd9d320ed",
    ),
    "request.crossed": Event(
        "warning",
        "A client's request crossed the end of its connection: it is lost, and nobody tells the client.",
        "[{queue}: ]{count} of the requests of a client at {address}[, {peer},] came after its connection had been ended, and are lost",
        "46ef65cafd2b93d8d7d92afa2f736fdd",
    ),
    "reply.orphaned": Event(
        "warning",
        "A worker answered a dispatch that it does not hold; the answer is dropped.",
        "[{queue}: ]worker {worker}[ ({name})][ at {address}] answered request {request}, which it does not hold; the answer is dropped",
        "f9397a360ec4497282005e2e1b87ec51",
    ),
    "message.malformed": Event(
        "warning",
        "A peer sent a message that breaks the protocol.",
        "[{queue}: ]{peer}[ ({name})][ at {address}] sent a message that breaks the protocol: {reason}",
        "cb961e981fab4eaba079ace102e07c6d",
    ),
    "peer.kicked": Event(
        "info",
        "A connection is closed by order.",
        "[{queue}: ]the connection of {peer}[ ({name})][ at {address}] is closed, by order",
        "a4adba1697534d5ab84b9f4b6fe8cd42",
    ),
    "peer.refused": Event(
        "warning",
        "A connection was ended in its handshake, or broke the wire protocol.",
        "[{queue}: ]a connection from {address}[, {peer},] is refused: {reason}",
        "032a1a88875345d5803e5d0cb74e342c",
    ),
    "peer.lost": Event(
        "debug",
        "A connection has broken.",
        "[{queue}: ]a connection from {address}[, {peer},] has broken: {reason}",
        "7e69fe694dd04a818004a37d93f48adc",
    ),
    "peer.silent": Event(
        "warning",
        "A peer gave no sign of life in time; its connection was closed.",
        "[{queue}: ]a peer at {address}[, {peer},] gave no sign of life for {seconds} s; its connection is closed",
        "17f649fb7c934ee8a22ed4ad07a55842",
    ),
    "accept.failed": Event(
        "error",
        "Connections cannot be accepted for now; tried again every second.",
        "[{queue}: ]no connection can be accepted at {endpoint} for now: {reason}",
        "475a1d5bbd794a1180e2981caf3bda6a",
    ),
    "accept.full": Event(
        "warning",
        "As many connections as allowed: new ones wait until one ends.",
        "[{queue}: ]{endpoint} has as many connections as allowed[ ({limit})]: new ones wait",
        "29ea05b096854010bc4c1271d01c968f",
    ),
    "accept.evicted": Event(
        "debug",
        "The connection that was quiet for longest was ended to make room for another.",
        "[{queue}: ]a quiet connection from {address}[ to the {side} socket] is ended to make room for another",
        "bd1db5fbc54245968fd35a915e3e2ac3",
    ),
}
