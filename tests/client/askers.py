"""Both clients behind one face, so that a test of what they promise holds for either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import zqd

Outcome = tuple[bytes, bytes | Exception]
"""A body, and its answer or why there is none."""


class Threads:
    """Requests from threads through one `zqd.Client`."""

    name = "threads"

    @staticmethod
    def ask(endpoints: str | Iterable[str], *messages: Any, **options: Any) -> list[Any]:
        """The answers, one after the other; an exception stands for itself."""
        with zqd.Client(endpoints, **options) as client:
            return [_caught(client.request, message) for message in messages]

    @staticmethod
    def crowd(endpoints: Any, crowd: int, count: int, **options: Any) -> list[Outcome]:
        """`crowd` threads at a time send `count` requests each, all different."""
        outcomes: list[Outcome] = []

        def one(number: int) -> None:
            for turn in range(count):
                body = b"%d of %d" % (turn, number)
                outcomes.append((body, _caught(client.request, body)))

        with zqd.Client(endpoints, **options) as client:
            threads = [threading.Thread(target=one, args=(number,)) for number in range(crowd)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return outcomes


class Tasks:
    """Requests from tasks through one `zqd.AsyncClient`."""

    name = "tasks"

    @staticmethod
    def ask(endpoints: str | Iterable[str], *messages: Any, **options: Any) -> list[Any]:
        """The answers, one after the other; an exception stands for itself."""

        async def main() -> list[Any]:
            async with zqd.AsyncClient(endpoints, **options) as client:
                return [await _awaited(client.request(message)) for message in messages]

        return asyncio.run(main())

    @staticmethod
    def crowd(endpoints: Any, crowd: int, count: int, **options: Any) -> list[Outcome]:
        """`crowd` tasks at a time send `count` requests each, all different."""
        outcomes: list[Outcome] = []

        async def main() -> None:
            async def one(number: int) -> None:
                for turn in range(count):
                    body = b"%d of %d" % (turn, number)
                    outcomes.append((body, await _awaited(client.request(body))))

            async with zqd.AsyncClient(endpoints, **options) as client:
                await asyncio.gather(*map(one, range(crowd)))

        asyncio.run(main())
        return outcomes


Asker = type[Threads] | type[Tasks]


class InBackground:
    """A call in a thread, whose result is waited for."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self._result: Any = None

        def run() -> None:
            self._result = _caught(function, *arguments, **options)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self, patience: float = 60.0) -> Any:
        """What it returned, or the exception that it raised."""
        self._thread.join(patience)
        assert not self._thread.is_alive(), f"it hangs: nothing within {patience:g} s"
        return self._result

    @property
    def over(self) -> bool:
        """It has returned."""
        return not self._thread.is_alive()


def _caught(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error


async def _awaited(request: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await request
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
