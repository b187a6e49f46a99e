"""The events of `zqd-worker`, each an instance of a handler. Layer 0. Read through `zqd.events`.

`worker.…` here is what a worker tells of itself; the broker has names of its own for what it sees of it.
"""

from __future__ import annotations

from zqd.events.event import Event

INSTANCE: dict[str, Event] = {
    "instance.started": Event(
        "info",
        "The handler is set up; zqd-worker connects to its brokers.",
        "zqd-worker[ {version}] has started[; handler: {handler}][; brokers: {backend}]",
        "c53fe6d22f094a8ebe295538085039ca",
    ),
    "instance.ready": Event(
        "info",
        "A broker is connected and sends requests.",
        "zqd-worker is ready[; handler: {handler}]",
        "e05d549726574320bd1591a769f41a09",
    ),
    "instance.default": Event(
        "info",
        "No handler is configured: the built-in one answers, as an example.",
        "no handler is configured: the built-in one answers[ ({handler})]",
        "96e1e4b16b3348c19c7f02fc8613a3c0",
    ),
    "instance.retiring": Event(
        "info",
        "The instance leaves its brokers and exits, to be started afresh.",
        "zqd-worker is retiring[: {reason}][; requests that it holds: {held}]",
        "2d3e819eb20e43e0931bc20d098180d5",
    ),
    "instance.stopping": Event(
        "info",
        "A signal has ordered the stop: the running requests are finished.",
        "zqd-worker is stopping[now?, at once][; requests that it holds: {held}]",
        "570cbb0dc95649ecb24d8d58be7f15b9",
    ),
    "instance.stopped": Event(
        "info",
        "The process of zqd-worker exits.",
        "zqd-worker has stopped[; requests answered: {replied}][, failed: {failed}]",
        "97d240f785e84fc795daebe07bc85711",
    ),
    "worker.connected": Event(
        "info",
        "This zqd-worker is connected to a broker.",
        "connected to the broker at {endpoint}",
        "ea0149fabe304eaca966b9e464443f7c",
    ),
    "worker.waiting": Event(
        "warning",
        "This zqd-worker has not reached any broker yet; it goes on trying.",
        "no broker is connected yet; tried: {backend}",
        "2d507607355d42a2a8e3610670892b2f",
    ),
    "worker.refused": Event(
        "warning",
        "A broker refuses this zqd-worker in the handshake; it tries again.",
        "the broker at {endpoint} refuses the connection: {reason}",
        "44f264c4c09a42a6bb109a7de76220e9",
    ),
    "worker.disconnected": Event(
        "info",
        "The connection of this zqd-worker to a broker has ended.",
        "the connection to the broker at {endpoint} has ended[: {reason}]",
        "31f1f8bf9ac942fab2dd696af2e82396",
    ),
    "worker.retired": Event(
        "info",
        "This zqd-worker has left a broker in good order and gets nothing more from it.",
        "the broker[ at {endpoint}] sends nothing more: this worker has left in good order",
        "85e32f2523394a079a118fbd52e3eb7d",
    ),
    "handler.failed": Event(
        "error",
        "A handler or command gave no reply; a client that waits for it gets 500.",
        "the handler[ {handler}] has failed[ in its {step}][ with request {request}][: {reason}]",
        "0fa6a5423ccc4b29b4976af1dd460d0e",
    ),
    "handler.timeout": Event(
        "error",
        "A request's handler, or a handler's setup or close, takes longer than it should.",
        "the handler[ {handler}] has not returned[ from its {step}][ from request {request}] after {seconds} s",
        "769832c6fc8a4a8b82d1ab610817dff2",
    ),
    "handler.returned": Event(
        "info",
        "A handler that had taken too long has returned after all.",
        "the handler has returned from request {request} after {seconds} s",
        "7f4c36fa8514467a8c5756b0bf0aa628",
    ),
    "handler.reloaded": Event(
        "info",
        "The handler's code was loaded again.",
        "the handler[ {handler}] was loaded again",
        "db9c58ae63f44aa1867d75085cf4aaa1",
    ),
    "reply.undelivered": Event(
        "warning",
        "The connection that a request came by has ended: its reply could not be sent.",
        "the reply to request {request} could not be sent: the connection to {endpoint} has ended",
        "ff94a933d35845db94b91c22842d93a7",
    ),
}
