from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.client.askers import InBackground
from tests.client.serving import Sockets
from tests.support.processes import wait_for
from zqd import Client, ClosedError, TimedOut

NOBODY = "tcp://127.0.0.1:9"


def client_threads() -> int:
    """How many clients have a thread."""
    return sum(thread.name == "zqd-client" for thread in threading.enumerate())


def descriptors() -> int:
    """This process's."""
    return len(os.listdir("/proc/self/fd"))


def test_close_ends_what_waits() -> None:
    """At once, with an exception."""
    client = Client(NOBODY, timeout=None)
    asked = [InBackground(client.request, b"x") for _ in range(5)]
    wait_for(lambda: client._engine._session.pending == 5, "the requests")
    client.close()
    assert {type(ask.result()) for ask in asked} == {ClosedError}
    client.close()


def test_a_closed_client_refuses() -> None:
    """Also one that was a context manager."""
    with Client(NOBODY) as client:
        pass
    with pytest.raises(ClosedError, match="the client is closed"):
        client.request(b"x")


def test_nothing_is_left_of_a_client(sockets: Sockets) -> None:
    """Neither threads nor descriptors, whether it was closed or forgotten."""
    place = sockets.server()
    Client(place).close()  # what the first one leaves in the process for good
    before = client_threads(), descriptors()
    with Client(place) as client:
        client.request(b"x")
        assert client_threads() == before[0] + 1
    for _ in range(3):
        Client(place).request(b"x")
    del client
    gc.collect()
    wait_for(lambda: (client_threads(), descriptors()) == before, "threads and descriptors to go")


def test_the_program_ends_without_close(sockets: Sockets) -> None:
    """A client that nobody closed holds up no exit, not even with a request in flight."""
    program = (
        "import threading, zqd\n"
        f"client = zqd.Client({sockets.server()!r}, timeout=None)\n"
        "print(client.request(b'x'))\n"
        f"other = zqd.Client({NOBODY!r}, timeout=None)\n"
        "def ask():\n"
        "    try: other.request(b'x')\n"
        "    except zqd.ClosedError: pass\n"
        "threading.Thread(target=ask, daemon=True).start()\n"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "b'x'\n", "")


def test_an_interrupt_takes_the_request_back(sockets: Sockets) -> None:
    """Ctrl-C ends the wait, the session forgets the request, and the client stays usable."""

    def interrupt() -> None:
        wait_for(lambda: client._engine._session.pending, "the request")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with Client([sockets.silent_router(), sockets.server()], timeout=None) as client:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client.request(b"x")
        wait_for(lambda: not client._engine._session.pending, "the request to be forgotten")
        with pytest.raises(TimedOut):
            client.request(b"x", attempts=1, timeout=0.1)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from 3.12 on: forking with threads
def test_a_child_after_fork_is_told(sockets: Sockets) -> None:
    """Its thread is not there: a request would hang. The parent's client is not disturbed."""
    with Client(sockets.server()) as client:
        child = os.fork()
        if not child:
            try:
                client.request(b"x")
            except ClosedError as error:
                client.close()
                os._exit(0 if "before a fork: make one in each process" in error.reason else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert client.request(b"x") == b"x"


def test_a_fault_of_its_own_thread_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should there be one: nobody hangs, and the fault is shown."""
    faults: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: faults.append(args.exc_type))
    client = Client(NOBODY, timeout=None)
    asked = InBackground(client.request, b"1")
    wait_for(lambda: client._engine._session.pending, "the request")

    def fail(now: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client._engine._carrier, "turn", fail)
    second = InBackground(client.request, b"2")
    assert {type(asked.result()), type(second.result())} == {ClosedError}
    client.close()
    assert faults == [ZeroDivisionError]


def test_it_sleeps_while_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a request that waits for ever, and nobody to connect to: libzmq's attempts wake nobody."""
    turns: list[float] = []
    with Client(NOBODY, timeout=None) as client:
        carrier = client._engine._carrier
        turn = carrier.turn

        def counted(now: float) -> None:
            turns.append(now)
            turn(now)

        monkeypatch.setattr(carrier, "turn", counted)
        asked = InBackground(client.request, b"x")
        wait_for(lambda: client._engine._session.pending, "the request")
        time.sleep(1)
        assert len(turns) <= 3
        client.close()
        asked.result()
