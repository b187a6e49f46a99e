"""What clients of these tests talk to: plain libzmq workers and servers in threads, and brokers that misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import zmq

Socket = zmq.Socket[bytes]
Handler = Callable[[list[bytes]], list[bytes] | None]


def echo(frames: list[bytes]) -> list[bytes]:
    """The request is the answer."""
    return frames


class Sockets:
    """Sockets in threads of their own; a context manager that ends them all."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._context.term()

    def worker(self, endpoint: str, handler: Handler = echo) -> None:
        """A REP that connects to a broker and answers with `handler`'s frames."""
        socket = self._context.socket(zmq.REP)
        socket.connect(endpoint)
        self._start(self._serve, socket, handler)

    def server(self, handler: Handler = echo, endpoint: str = "tcp://127.0.0.1:*") -> str:
        """A bound REP without any broker; returns its endpoint."""
        socket = self._context.socket(zmq.REP)
        socket.bind(endpoint)
        place = _place(socket)
        self._start(self._serve, socket, handler)
        return place

    def proxy(self, broker: str | None = None) -> tuple[str, str]:
        """libzmq's own queue device, ROUTER and DEALER; returns where clients and workers connect.

        With `broker` it stands between clients and that one.
        """
        frontend, backend = self._context.socket(zmq.ROUTER), self._context.socket(zmq.DEALER)
        frontend.bind("tcp://127.0.0.1:*")
        if broker is None:
            backend.bind("tcp://127.0.0.1:*")
        else:
            backend.connect(broker)
        places = _place(frontend), _place(backend)
        self._start(self._forward, frontend, backend)
        return places

    def silent_router(self) -> str:
        """A broker that takes everything and answers nothing; returns its endpoint."""
        router = self._context.socket(zmq.ROUTER)
        router.bind("tcp://127.0.0.1:*")
        place = _place(router)
        self._start(self._swallow, router)
        return place

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, socket: Socket, handler: Handler) -> None:
        while not self._ending.is_set():
            if socket.poll(20):
                reply = handler(socket.recv_multipart())
                if reply is None:
                    break
                socket.send_multipart(reply)
        socket.close(linger=0)

    def _forward(self, frontend: Socket, backend: Socket) -> None:
        poller = zmq.Poller()
        poller.register(frontend, zmq.POLLIN)
        poller.register(backend, zmq.POLLIN)
        while not self._ending.is_set():
            for socket, _ in poller.poll(20):
                other = backend if socket is frontend else frontend
                other.send_multipart(socket.recv_multipart())
        frontend.close(linger=0)
        backend.close(linger=0)

    def _swallow(self, router: Socket) -> None:
        while not self._ending.is_set():
            if router.poll(20):
                router.recv_multipart()
        router.close(linger=0)


def _place(socket: Socket) -> str:
    """Where it is bound."""
    place = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(place, bytes)
    return place.rstrip(b"\0").decode()
