from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.serving import Sockets
from tests.support.processes import PATIENCE
from zqd import AsyncClient, ClosedError, TimedOut

NOBODY = "tcp://127.0.0.1:9"


def descriptors() -> int:
    """This process's."""
    return len(os.listdir("/proc/self/fd"))


async def pending(client: AsyncClient, count: int) -> None:
    """Wait until so many requests are on their way."""
    async with asyncio.timeout(PATIENCE):
        while client._driver is None or client._driver._session.pending != count:
            await asyncio.sleep(0.01)


def test_close_ends_what_waits() -> None:
    """At once, with an exception; after it nothing starts."""

    async def main() -> None:
        client = AsyncClient(NOBODY, timeout=None)
        asked = [asyncio.create_task(client.request(b"x")) for _ in range(5)]
        await pending(client, 5)
        await client.close()
        await client.close()
        assert {type(error) for error in await asyncio.gather(*asked, return_exceptions=True)} == {
            ClosedError
        }
        with pytest.raises(ClosedError, match="the client is closed"):
            await client.request(b"x")

    asyncio.run(main())


def test_closed_before_it_was_used() -> None:
    """There is nothing to close, and it stays closed."""

    async def main() -> None:
        client = AsyncClient(NOBODY)
        await client.close()
        with pytest.raises(ClosedError):
            await client.request(b"x")

    asyncio.run(main())


def test_a_cancelled_task_takes_its_request_back(sockets: Sockets) -> None:
    """The session forgets it, a late answer is dropped, and the client stays usable."""

    async def main() -> None:
        async with AsyncClient([sockets.silent_router(), sockets.server()], timeout=None) as client:
            asked = asyncio.create_task(client.request(b"x"))
            await pending(client, 1)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await pending(client, 0)
            with pytest.raises(TimedOut):
                await client.request(b"x", attempts=1, timeout=0.1)

    asyncio.run(main())


def test_tasks_that_are_cancelled_while_answers_come(sockets: Sockets) -> None:
    """In any round of the loop: the others have their own answers."""
    place = sockets.server()

    async def main() -> None:
        async with AsyncClient(place) as client:
            for turn in range(200):
                asked = [asyncio.create_task(client.request(b"%d" % number)) for number in range(4)]
                await asyncio.sleep(turn * 1e-5)
                asked[0].cancel()
                answers = await asyncio.gather(*asked, return_exceptions=True)
                assert answers[1:] == [b"1", b"2", b"3"]
                assert answers[0] == b"0" or isinstance(answers[0], asyncio.CancelledError)

    asyncio.run(main())


def test_a_loop_of_its_own() -> None:
    """It says so in another one; made outside of any, it belongs to the first that uses it."""
    client = AsyncClient(NOBODY)

    async def ask() -> None:
        await client.request(b"x", timeout=0.01)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        with pytest.raises(TimedOut):
            first.run(ask())
        with pytest.raises(RuntimeError, match="the client belongs to another event loop: make one in each"):
            second.run(ask())
        first.run(client.close())


def test_a_loop_does_not_close_what_is_anothers() -> None:
    """It says so and changes nothing: the request goes on, and the client's own loop can close it."""
    client = AsyncClient(NOBODY, timeout=None)

    async def main() -> None:
        asked = asyncio.create_task(client.request(b"x"))
        await pending(client, 1)
        with pytest.raises(RuntimeError, match="the client belongs to another event loop: make one in each"):
            await asyncio.to_thread(asyncio.run, client.close())
        await pending(client, 1)
        await client.close()
        with pytest.raises(ClosedError):
            await asked

    asyncio.run(main())
    asyncio.run(client.close())


def test_a_loop_that_was_closed_with_a_request() -> None:
    """Then any other can close the client: nothing is left of it."""
    client = AsyncClient(NOBODY, timeout=None)
    before = descriptors()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would tell of the task, which never ends
    asked = loop.create_task(client.request(b"x"))
    loop.run_until_complete(pending(client, 1))
    loop.close()
    with asyncio.Runner() as other:
        other.run(client.close())
        with pytest.raises(ClosedError):
            other.run(client.request(b"x"))
    assert descriptors() == before
    assert not asked.done()


def test_the_program_ends_after_a_loop_that_was_closed_with_a_request() -> None:
    """Nobody closed the client: that is no fault at the end."""
    program = (
        "import asyncio, zqd\n"
        f"client = zqd.AsyncClient({NOBODY!r}, timeout=None)\n"
        "loop = asyncio.new_event_loop()\n"
        "asked = loop.create_task(client.request(b'x'))\n"
        "loop.run_until_complete(asyncio.sleep(0))\n"
        "loop.close()\n"
        "print(client._driver._session.pending)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (run.returncode, run.stdout) == (0, "1\n")
    assert "Traceback" not in run.stderr


def test_a_fault_of_its_own_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should there be one: nobody hangs, the fault is shown, and the client is closed."""

    def fail(now: float) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        shown: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: shown.append(context["exception"])
        )
        client = AsyncClient(NOBODY, timeout=None)
        asked = asyncio.create_task(client.request(b"1"))
        await pending(client, 1)
        assert client._driver is not None
        monkeypatch.setattr(client._driver._carrier, "turn", fail)
        second = asyncio.create_task(client.request(b"2"))
        outcomes = await asyncio.gather(asked, second, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ClosedError}
        assert [type(fault) for fault in shown] == [ZeroDivisionError]
        with pytest.raises(ClosedError):
            await client.request(b"3")
        await client.close()

    asyncio.run(main())


def test_nothing_is_left_of_a_client(sockets: Sockets) -> None:
    """Whether it was closed or forgotten, before the loop's end or after it."""
    place = sockets.server()

    async def main(*, close: bool) -> AsyncClient:
        forgotten = AsyncClient(place)
        assert await forgotten.request(b"x") == b"x"
        del forgotten
        client = AsyncClient(place)
        assert await client.request(b"x") == b"x"
        if close:
            await client.close()
        gc.collect()
        await asyncio.sleep(0)
        return client

    asyncio.run(main(close=True))
    before = descriptors()
    asyncio.run(main(close=False))
    gc.collect()
    assert descriptors() == before


def test_timers_go_off_in_their_order() -> None:
    """A shorter timeout that is said later ends earlier."""

    async def main() -> list[str]:
        ended: list[str] = []

        async def ask(name: str, timeout: float) -> None:
            with pytest.raises(TimedOut):
                await client.request(b"x", timeout=timeout)
            ended.append(name)

        async with AsyncClient(NOBODY) as client:
            await asyncio.gather(ask("long", 0.6), ask("short", 0.1), ask("middle", 0.3))
        return ended

    assert asyncio.run(main()) == ["short", "middle", "long"]
