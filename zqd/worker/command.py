"""A program as handler: started once a request, the body on its standard input, its standard output is the reply.

No shell. The program leads a process group of its own, which is killed where it takes too long or writes too much. Called by
`pool` in a thread, through the interface of `handler.Handler`.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO

from zqd.worker.job import Failed, Job

CHUNK = 65536  # bytes of one read or write; what a pipe holds
STDERR_KEPT = 2048  # bytes of the end of standard error that a failure's log line shows


class CommandHandler:
    """`command` as a Handler: PROGRAM and its arguments. `timeout` in seconds, 0 for none; `max_reply_size` in bytes, likewise."""

    is_async = False
    ends_itself = True

    def __init__(self, command: Sequence[str], *, timeout: float, max_reply_size: int) -> None:
        self.label = shlex.join(command)
        self._command = tuple(command)
        self._timeout = timeout
        self._limit = max_reply_size
        self._lock = threading.Lock()
        self._running: set[_Run] = set()

    def call(self, job: Job) -> list[bytes]:
        """Run it for one request; raises Failed."""
        if len(job.body) != 1:
            raise Failed(f"a request of {len(job.body)} frames, and a command takes one")
        environment = os.environ | {"ZQD_REQUEST_ID": job.request_id}
        try:
            process = subprocess.Popen(  # noqa: S603 - what the operator wrote, and nothing that a client sent
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            raise Failed(
                "the command cannot be started", command=self._command[0], error=error.strerror or str(error)
            ) from None
        with process:
            run = _Run(process, self._limit)
            with self._lock:
                self._running.add(run)
            try:
                return run.reply(job.body[0], self._timeout)
            finally:
                with self._lock:
                    self._running.discard(run)

    def setup(self) -> None:
        """Nothing lasts."""

    def close(self) -> None:
        """Nothing lasts."""

    def abort(self) -> None:
        """Kill every program that runs."""
        with self._lock:
            for run in self._running:
                run.kill()


class _Run:
    """One process of the command, from its start to its end; the selector has its three pipes and its end."""

    def __init__(self, process: subprocess.Popen[bytes], limit: int) -> None:
        self._process = process
        self._limit = limit or math.inf
        self._output = bytearray()
        self._errors = bytearray()

    def kill(self) -> None:
        """End it and whatever it has started, now; it is not reaped yet, so the number is still its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def reply(self, body: bytes, timeout: float) -> list[bytes]:
        """Feed it and hear it out."""
        deadline = time.monotonic() + timeout if timeout else None
        over = os.pidfd_open(self._process.pid)
        try:
            failure = self._talk(body, over, deadline)
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(over)
        if failure is not None:
            self.kill()
        status = self._process.wait()
        if failure is None and status:
            failure = (
                f"the command died by {_signal(-status)}"
                if status < 0
                else f"the command ended with {status}"
            )
        if failure is not None:
            raise Failed(failure, stderr=self._errors.decode("utf-8", "replace").strip())
        return [bytes(self._output)]

    def _talk(self, body: bytes, over: int, deadline: float | None) -> str | None:
        """Until it has ended; what is wrong where it has to be ended."""
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        unsent = memoryview(body)
        with selectors.DefaultSelector() as selector:
            for pipe in (stdin, stdout, stderr):
                os.set_blocking(pipe.fileno(), False)
            selector.register(over, selectors.EVENT_READ)
            selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stdout, selectors.EVENT_READ, self._output)
            selector.register(stderr, selectors.EVENT_READ, self._errors)
            ended = False
            while not ended:
                patience = None if deadline is None else deadline - time.monotonic()
                if patience is not None and patience <= 0:
                    return "the command took too long"
                # Its end is looked at last: what it wrote before lies in the pipes.
                for key, _ in sorted(selector.select(patience), key=lambda ready: ready[0].fd == over):
                    if key.fd == over:
                        ended = True
                        self._drain(stdout, self._output)
                        self._drain(stderr, self._errors)
                    elif key.fileobj is stdin:
                        unsent = _feed(stdin, unsent)
                        if not unsent:
                            selector.unregister(stdin)
                            stdin.close()
                    elif not self._read(key.fd, key.data):
                        selector.unregister(key.fileobj)
                    if len(self._output) > self._limit:
                        return f"the reply is larger than {self._limit} bytes"
        return None

    def _drain(self, pipe: IO[bytes], buffer: bytearray) -> None:
        """What is left in a pipe; one that it left to a child may never come to its end, and is not waited for."""
        with contextlib.suppress(BlockingIOError):
            while len(self._output) <= self._limit and self._read(pipe.fileno(), buffer):
                pass

    def _read(self, fd: int, buffer: bytearray) -> bool:
        """False at the end of the pipe."""
        chunk = os.read(fd, CHUNK)
        buffer += chunk
        if buffer is self._errors:
            del buffer[:-STDERR_KEPT]
        return bool(chunk)


def _feed(stdin: IO[bytes], unsent: memoryview) -> memoryview:
    """What is still to be written; nothing where the program does not want it."""
    try:
        return unsent[os.write(stdin.fileno(), unsent[:CHUNK]) :]
    except BrokenPipeError:
        return memoryview(b"")
    except BlockingIOError:
        return unsent


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time ones
        return f"signal {number}"
