"""`zqd.Worker`: a worker in a program of one's own.

    from zqd import Worker

    def answer(body: bytes) -> bytes:
        return b"World, " + body

    Worker("tcp://127.0.0.1:5560", answer).run()

The same loop as zqd-worker's, without its files and its systemd. What happens is logged by the standard library's logger
`zqd.worker`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from zqd.errors import ConfigError
from zqd.events import EVENTS, message
from zqd.keys.z85 import looks_like_key
from zqd.worker.handler import PythonHandler, load
from zqd.worker.instance import Instance
from zqd.worker.keys import load_keys
from zqd.worker.settings import SETTINGS, WorkerSettings
from zqd.worker.signals import signals_to

_LOGGER = logging.getLogger("zqd.worker")


LONGEST_NAME = 255
"""Bytes: a routing id has no more."""


class Worker:
    """Serves one broker, or several, with a handler.

    `handler` is a callable from bytes to bytes (or from a list of frames to one, see zqd-worker(8)), plain or async, a class of
    such objects, or "MODULE:NAME". `settings` are those of zqd-worker.toml(5), in Python's terms: seconds, bytes, numbers. The
    name is what zqctl shows, at most 255 bytes of it as UTF-8. ValueError where a setting makes no sense, or a file of keys cannot
    be had.

    A broker that uses CURVE needs `server_key`: its key, of 40 characters, or the path of its certificate, or a list of them,
    one for each broker, "" for one without CURVE. `curve_secret` is the path of our own `.key_secret` certificate; without it
    we are anonymous. A broker that refuses us is tried again every second, and the log says why it does.

    `run` works in the calling thread until `stop`; as a context manager it works in a thread of its own.
    """

    def __init__(
        self,
        backend: str | Sequence[str],
        handler: Callable[..., Any] | str,
        *,
        name: str | None = None,
        concurrency: int = 1,
        server_key: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "",
        curve_secret: str | os.PathLike[str] = "",
        **settings: Any,
    ) -> None:
        called = f"zqd-worker@{os.getpid()}" if name is None else _checked_name(name)
        settings["backend"] = [backend] if isinstance(backend, str) else list(backend)
        settings |= {
            "concurrency": concurrency,
            "server_key": [_text(key) for key in server_key]
            if isinstance(server_key, list | tuple)
            else _text(server_key),
            "curve_secret": _secret_file(curve_secret),
        }
        chosen = _checked(settings)
        try:
            keys = load_keys(chosen)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        limits: dict[str, Any] = {"frames": chosen.frames, "max_reply_size": chosen.max_reply_size}
        if isinstance(handler, str):
            loaded = load(handler, **limits)
        else:
            loaded = PythonHandler(handler, _label(handler), **limits)
        self._instance = Instance(chosen, loaded, keys, name=called, note=_log)
        self._begun = False
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def run(self, *, signals: bool = False) -> None:
        """Work until stopped, once: RuntimeError where it has begun before.

        Raises ZqdError where the handler's `setup` fails, or a handler hangs past `handler_timeout`. With `signals`, in the main
        thread only, SIGTERM and SIGINT stop it: the first lets it finish, the second does not.
        """
        self._begin()
        self._work(signals=signals)

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("a Worker runs once: make another one")
        self._begun = True

    def _work(self, *, signals: bool = False) -> None:
        try:
            with signals_to(self._instance, reload=False) if signals else contextlib.nullcontext():
                self._instance.run()
        finally:
            self._instance.close()

    def stop(self) -> None:
        """Leave the broker, finish what is held within `drain_timeout`, and let `run` return. From any thread; does not wait."""
        self._instance.stop()

    def __enter__(self) -> Self:
        self._begin()
        self._thread = threading.Thread(target=self._run, name="zqd-worker", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._work()
        except Exception as fault:  # noqa: BLE001 - raised again where the block ends
            self._fault = fault

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self.stop()
        self._thread.join()
        if self._fault is not None and error is None:
            raise self._fault


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name is str, not {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"name: {name!r} cannot be written as UTF-8") from None
    if not 0 < size <= LONGEST_NAME:
        raise ValueError(f"name: {size} bytes; expected 1 to {LONGEST_NAME}")
    return name


def _text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _secret_file(value: object) -> object:
    """Its absolute path, for a bare name would be a credential's; what is no file's name is left to be refused."""
    text = _text(value)
    return os.path.abspath(text) if isinstance(text, str) and text and not looks_like_key(text) else text


def _checked(settings: dict[str, Any]) -> WorkerSettings:
    rows = {
        row.key: row
        for row in SETTINGS
        if not row.key.startswith(("log_", "python_path", "handler", "command"))
    }
    rows |= {row.key: row for row in SETTINGS if row.key == "handler_timeout"}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in rows:
            raise ValueError(f"{key}: no setting of a Worker; expected one of {', '.join(rows)}")
        try:
            values[key] = rows[key].parse(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return WorkerSettings(**values)


def _label(handler: Callable[..., Any]) -> str:
    module = getattr(handler, "__module__", type(handler).__module__)
    return f"{module}:{getattr(handler, '__qualname__', type(handler).__qualname__)}"


def _log(name: str, fields: dict[str, object]) -> None:
    level = logging.getLevelNamesMapping()[EVENTS[name].level.upper()] if name in EVENTS else logging.INFO
    fault = fields.get("exc_info")
    _LOGGER.log(
        level, "%s", message(name, fields), exc_info=fault if isinstance(fault, BaseException) else None
    )
