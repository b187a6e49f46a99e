"""Handlers in Python: how `MODULE:NAME` is found, how it is called, and what it may give back.

A handler is a callable from bytes to bytes, or, where its parameter's annotation is a list or it has an attribute `frames`
that is true (or the setting says so), from a list of frames to a list of frames. `async def` makes it a task. A class is called
without arguments, once; its `setup` and `close`, where it has them, come before its first and after its last request.

Called by: `program`, `library`, `pool`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

from zqd.errors import ConfigError
from zqd.worker.job import Failed, Job, told

_EXPECTED = "expected MODULE:NAME of a callable, such as zqd.handlers:hello"
_LIST = re.compile(r"(?:\w+\.)*(?:list|List|Sequence|tuple|Tuple)\[")


class Handler(Protocol):
    """What the pool runs for each job."""

    label: str
    """What zqctl shows."""
    is_async: bool
    """`call`, `setup` and `close` belong into the thread of asyncio; `call` is awaited."""
    ends_itself: bool
    """It fails at `handler_timeout` by itself. A function in a thread cannot: nothing can interrupt it."""

    def call(self, job: Job) -> list[bytes] | Awaitable[list[bytes]]:
        """The frames of the reply; raises Failed, or whatever the handler raises."""
        ...

    def setup(self) -> Any:
        """Load what lasts; may be awaitable."""
        ...

    def close(self) -> Any:
        """Give it back, after the last call; may be awaitable."""
        ...

    def abort(self) -> None:
        """End at once what runs, as far as that can be done: the process ends."""
        ...


class PythonHandler:
    """A callable as a Handler. `target` is a function, an object that can be called, or a class of such objects."""

    def __init__(self, target: Callable[..., Any], label: str, *, frames: bool, max_reply_size: int) -> None:
        if not callable(target):
            raise TypeError(f"{label} is {_kind(target)}, which cannot be called")
        self.label = label
        self._object: Any = target() if inspect.isclass(target) else target
        self._frames = frames or bool(getattr(target, "frames", False)) or _takes_frames(self._object)
        self._limit = max_reply_size
        self.is_async = inspect.iscoroutinefunction(self._object) or inspect.iscoroutinefunction(
            getattr(self._object, "__call__", None)  # noqa: B004 - not whether it can be called, but how
        )
        self.ends_itself = self.is_async

    def call(self, job: Job) -> list[bytes] | Awaitable[list[bytes]]:
        """Call it with the body, or with the frames."""
        if not self._frames and len(job.body) != 1:
            raise Failed(f"a request of {len(job.body)} frames, and the handler takes one")
        argument = job.body if self._frames else job.body[0]
        return self._await(argument) if self.is_async else self._checked(self._object(argument))

    async def _await(self, argument: object) -> list[bytes]:
        return self._checked(await self._object(argument))

    def _checked(self, reply: object) -> list[bytes]:
        frames = reply if self._frames else [reply]
        if not isinstance(frames, list | tuple) or not frames:
            raise Failed("the handler returned no reply", returned=_kind(reply), expected="a list of bytes")
        for frame in frames:
            if not isinstance(frame, bytes | bytearray | memoryview):
                raise Failed("the handler returned no reply", returned=_kind(frame), expected="bytes")
        return bounded([bytes(frame) for frame in frames], self._limit)

    def setup(self) -> Any:
        """Of the object, if it has one."""
        return getattr(self._object, "setup", _nothing)()

    def close(self) -> Any:
        """Of the object, if it has one."""
        return getattr(self._object, "close", _nothing)()

    def abort(self) -> None:
        """Nothing can be done about a function that runs."""


def load(spec: str, *, frames: bool = False, max_reply_size: int, fresh: bool = False) -> PythonHandler:
    """The handler that `MODULE:NAME` names; `fresh` imports the module once more (but not what that imports).

    Raises ConfigError where there is none, or where its module or its class raises.
    """
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise ConfigError([f'handler: "{spec}" names nothing; {_EXPECTED}'])
    before = sys.modules.pop(module_name, None) if fresh else None
    importlib.invalidate_caches()
    try:
        target: Any = importlib.import_module(module_name)
        for part in name.split("."):
            target = getattr(target, part)
        return PythonHandler(target, spec, frames=frames, max_reply_size=max_reply_size)
    except BaseException as error:
        if before is not None:
            _put_back(module_name, before)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError([f"handler: {spec} cannot be had ({told(error)}); {_EXPECTED}"]) from error


def bounded(frames: list[bytes], limit: int) -> list[bytes]:
    """`frames`, unless they have more than `limit` bytes together (0: no bound)."""
    size = sum(map(len, frames))
    if limit and size > limit:
        raise Failed(f"the reply is larger than {limit} bytes", size=size)
    return frames


def _put_back(name: str, module: ModuleType) -> None:
    """As it was before an import that failed; a package also holds its modules as attributes."""
    sys.modules[name] = module
    package, _, last = name.rpartition(".")
    if package in sys.modules:
        setattr(sys.modules[package], last, module)


def _takes_frames(target: Any) -> bool:
    """Its first parameter is annotated as a list or sequence; what the others are is nothing to us."""
    try:
        first = next(iter(inspect.signature(target).parameters.values()), None)
    except Exception:  # noqa: BLE001 - built in, or with a signature of its own making
        return False
    hint = None if first is None else first.annotation
    if isinstance(hint, str):  # from __future__ import annotations
        text = hint.strip("'\"")  # a text it may have been before that, too
        try:
            hint = eval(text, _globals(target))  # noqa: S307 - the handler's own code, as good as what it imports
        except Exception:  # noqa: BLE001 - not even Python, or a name that only type checkers know
            return _LIST.match(text) is not None
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    origin = typing.get_origin(hint) or hint
    return (
        inspect.isclass(origin)
        and issubclass(origin, Sequence)
        and not issubclass(origin, bytes | bytearray | str)
    )


def _globals(target: Any) -> dict[str, Any]:
    """Where the annotations of what is called were written."""
    function = target.func if isinstance(target, functools.partial) else target
    function = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return dict(getattr(inspect.unwrap(function), "__globals__", {}))


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _nothing() -> None:
    """What a handler without `setup` or `close` does there."""
